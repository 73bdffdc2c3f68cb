"""Which images a classifier is evaluated on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from deepscope.checks import held_out
from deepscope.errors import DataError
from deepscope.session import Session
from networks import tiny_model
from painted import CLASSES, paint_folder


def test_the_images_come_with_their_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = dataclasses.replace(tiny_model(classes=5), categories=(*CLASSES, "cat", "dog"))
    monkeypatch.setattr(held_out, "load_model", lambda name, session: model)
    data = paint_folder(tmp_path / "pictures", train=2, test=3)
    held = held_out.held_out("tiny", str(data), Session(cache=tmp_path, quiet=True))
    assert len(held.images) == 9
    for item, answer in zip(held.images.items, held.answers, strict=True):
        assert {model.categories[label] for label in answer} == {item.path.parent.name}


def test_folders_of_other_classes_are_a_typed_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "load_model", lambda name, session: tiny_model())
    data = paint_folder(tmp_path / "pictures", train=2, test=2)
    with pytest.raises(DataError, match="no folder is named like a class of tiny") as caught:
        held_out.held_out("tiny", str(data), Session(cache=tmp_path, quiet=True))
    assert caught.value.data == data

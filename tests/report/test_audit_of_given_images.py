"""An audit of images that the caller holds finds what an audit of the same images in a folder finds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

import deepscope
from deepscope.checks import class_images
from deepscope.errors import SettingError
from deepscope.report.audit import Audit
from deepscope.session import Session
from deepscope.visualization import preset
from networks import tiny_model

CLASSES = ("bright", "dark", "grey")
MODEL = dataclasses.replace(tiny_model(classes=3, size=32, seed=3), categories=CLASSES)
Pair = tuple[Path, str]


def _paint(folder: Path) -> list[Pair]:
    """Images of 32 x 32 pixels, which preprocessing leaves as they are; one of them twice, in two classes."""
    rng = np.random.default_rng(0)
    pairs: list[Pair] = []
    for name, low in zip(CLASSES, (150, 0, 80)):
        (folder / name).mkdir(parents=True)
        for row in range(4):
            path = folder / name / f"{row}.png"
            Image.fromarray(rng.integers(low, low + 100, (32, 32, 3), dtype=np.uint8)).save(path)
            pairs.append((path, name))
    (folder / "grey" / "3.png").write_bytes((folder / "dark" / "0.png").read_bytes())
    return pairs


def _audit(data: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Audit:
    few = dataclasses.replace(preset("default"), view=32)
    monkeypatch.setattr(class_images, "preset", lambda name: few)
    return deepscope.audit(MODEL, data, session=Session(cache=folder / "cache", quiet=True), **settings)


FORMS: dict[str, Callable[[list[Pair]], Any]] = {
    "files": lambda pairs: pairs,
    "pictures": lambda pairs: [(Image.open(path), name) for path, name in pairs],
    "arrays and numbers": lambda pairs: ((np.asarray(Image.open(path)), CLASSES.index(name)) for path, name in pairs),
    "dataset of pixels": lambda pairs: TensorDataset(
        MODEL.read([path for path, _ in pairs]), torch.tensor([CLASSES.index(name) for _, name in pairs])
    ),
}


def test_every_form_gives_the_metrics_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = _paint(tmp_path / "images")
    expected = _audit(tmp_path / "images", tmp_path, monkeypatch)
    assert {outcome.section.name for outcome in expected.outcomes} == set(deepscope.checks.Check.members())
    silent = [outcome.section.name for outcome in expected.outcomes if not outcome.result.metrics]
    assert silent == ["slices"], "which need more images, and say so"
    assert 0 < expected.metrics["accuracy/accuracy/top1"] < 1
    assert expected.metrics["leaks/duplicates/exact-across-classes"] == 1
    for form, make in FORMS.items():
        checks = () if form == "files" else ["accuracy", "leaks", "explanations"]  # not all, to save time
        found = _audit(make(pairs), tmp_path / form, monkeypatch, checks=checks)
        ran = {outcome.section.name for outcome in found.outcomes}
        named = {name: value for name, value in expected.metrics.items() if name.partition("/")[0] in ran}
        assert found.metrics == named, form
        assert found.title == "tiny on images"
        assert "any of them, it looks better here than it is" in found.page()


def test_what_is_kept_belongs_to_exactly_these_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(np.asarray(Image.open(path)), name) for path, name in _paint(tmp_path / "images")]

    def accuracy(data: Any) -> Audit:
        return _audit(data, tmp_path, monkeypatch, checks=["accuracy"])

    assert [accuracy(pairs).outcomes[0].kept for _ in range(2)] == [False, True]
    relabelled = [(pixels, CLASSES[0]) for pixels, _ in pairs]
    assert not accuracy(relabelled).outcomes[0].kept
    changed = [(255 - pixels, name) for pixels, name in pairs]
    assert not accuracy(changed).outcomes[0].kept


def test_copies_of_training_images_are_leaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(Image.open(path), name) for path, name in _paint(tmp_path / "images")]
    test, train = pairs[::2], [*pairs[1::2], pairs[0]]
    found = _audit(test, tmp_path, monkeypatch, train=train, checks=["leaks", "accuracy"])
    assert found.metrics["leaks/images"] == len(pairs) + 1
    assert found.metrics["leaks/duplicates/exact-across-splits"] == 2, "one was added, one is there in two classes"
    assert found.metrics["accuracy/images"] == len(test), "training images are compared and not evaluated"
    assert "looks better here than it is" not in found.page()

    (tmp_path / "divided").mkdir()
    for part in ("train", "test"):
        _paint(tmp_path / "divided" / part)
    with pytest.raises(SettingError, match="train must be left out"):
        _audit(tmp_path / "divided", tmp_path, monkeypatch, train=train)


def test_pictures_of_mistakes_open_no_file_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from deepscope import images

    _paint(tmp_path / "images")
    opened: list[Path] = []
    content = images.content

    def counting(path: Any, *limits: Any) -> bytes:
        opened.append(Path(path))
        return content(path, *limits)

    monkeypatch.setattr(images, "content", counting)
    monkeypatch.setattr("deepscope.images.decoding.content", counting)
    found = _audit(tmp_path / "images", tmp_path, monkeypatch, checks=["accuracy"])
    blocks = {block.title: block for block in found.outcomes[0].result.blocks if hasattr(block, "title")}
    rows = blocks["Most confident mistakes"].rows  # type: ignore[union-attr]
    wrong = round((1 - found.metrics["accuracy/accuracy/top1"]) * found.metrics["accuracy/images"])
    assert sum(map(len, rows)) == min(12, wrong) > 0
    assert len(opened) == len(set(opened)) == 12

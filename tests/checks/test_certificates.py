"""Certificates in the check of robustness: a network that answers one class whatever it sees is always certain."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from deepscope.checks import held_out
from deepscope.checks.robustness import Robustness
from deepscope.session import Session
from networks import tiny_model
from planted import CLASSES, folder


def test_images_of_the_only_answer_are_certified_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = dataclasses.replace(tiny_model(classes=3, size=32), categories=CLASSES)
    last = model.network[-1]  # type: ignore[index]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([5.0, -1.0, -2.0]))
    monkeypatch.setattr(held_out, "load_model", lambda name, session: model)
    data = str(folder(tmp_path / "data", 0, each=2))
    session = Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True)
    plain, certain = (Robustness(data, levels=(2,), steps=2, certified=count) for count in (0, 6))
    found = certain.run(session)
    assert found.metrics["certified/images"] == 6
    assert found.metrics["certified/0.1"] == pytest.approx(1 / 3)
    assert list(certain.left_out(found)) == ["worst case of several attacks"]
    without = plain.run(session)
    assert "certified/images" not in without.metrics
    assert "attack certify" in plain.left_out(without)["certified robustness"]

"""The metrics that checks declare as shares are shares, and so is every figure that a headline writes in per cent."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from deepscope.checks import class_images, held_out, labels
from deepscope.checks.accuracy import Accuracy
from deepscope.checks.check import Check
from deepscope.checks.class_images import ClassImages
from deepscope.checks.corruptions import Corruptions
from deepscope.checks.image_map import ImageMap
from deepscope.checks.labels import Labels
from deepscope.checks.leaks import Leaks
from deepscope.checks.robustness import Robustness
from deepscope.session import Session
from deepscope.visualization import preset
from networks import tiny_model
from planted import CLASSES, folder

RUN: dict[str, Check] = {
    "accuracy": Accuracy(""),
    "class-images": ClassImages("", classes=2, iterations=2),
    "corruptions": Corruptions("", severities=(3,), limit=4),
    "image-map": ImageMap("", projection="pca"),
    "labels": Labels(""),
    "leaks": Leaks(""),
    "robustness": Robustness("", levels=(8, 64), limit=12, steps=3, certified=2),
}


def test_every_check_with_shares_is_run_here() -> None:
    assert {name for name, check in Check.members().items() if check.shares} <= RUN.keys()


@pytest.mark.parametrize("name", RUN)
def test_shares_lie_between_0_and_1(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = dataclasses.replace(tiny_model(classes=3, size=32), categories=CLASSES)
    for module in (held_out, labels):
        monkeypatch.setattr(module, "load_model", lambda name, session: model)
    monkeypatch.setattr(class_images, "preset", lambda name: dataclasses.replace(preset(name), view=32))
    data = folder(tmp_path / "data", 0, each=8)
    with torch.no_grad():  # so that each class is answered now and then
        logits = model(model.read(sorted(data.rglob("*.jpg"))))
        model.network[-1].bias -= logits.median(0).values  # type: ignore[operator, index]
    check = dataclasses.replace(RUN[name], data=str(data))
    result = check.run(Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True))
    declared = {key: value for key, value in result.metrics.items() if check.is_share(key)}
    assert bool(declared) == bool(check.shares)
    assert not {key: value for key, value in declared.items() if not 0 <= value <= 1}
    beyond = {key for key, value in result.metrics.items() if value > 1 and not key.endswith("/high")}
    assert beyond and not any(check.is_share(key) for key in beyond)
    headline = check.headline(result)
    if headline is not None and headline.estimate is not None:
        assert (headline.form == "share") == check.is_share("")
        assert not check.is_share("") or 0 <= headline.estimate.value <= 1

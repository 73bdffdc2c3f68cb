"""The work that checks expect to do is what they do, and the time left follows from it and the model's pace."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest
import torch

from deepscope.checks import held_out as held
from deepscope.checks import pace
from deepscope.checks.accuracy import Accuracy
from deepscope.checks.check import Check
from deepscope.checks.concepts import Concepts
from deepscope.checks.corruptions import Corruptions
from deepscope.checks.pace import Pace, Work
from deepscope.checks.robustness import Robustness
from deepscope.report.running import estimate
from deepscope.session import Session
from networks import tiny_model
from planted import CLASSES, folder

KNOWN = Pace(images=36, train=0, classes=3, forward=0.5, gradient=1.5)
CHECKS: dict[str, Check] = {
    "accuracy": Accuracy("", limit=20),
    "concepts": Concepts("", classes=1, concepts=3, limit=20, each=12, evaluated=3),
    "corruptions": Corruptions("", severities=(3,), limit=4, reference="none"),
    "robustness": Robustness("", levels=(64, 128), limit=12, steps=10),
    "certificates": Robustness("", levels=(64, 128), limit=12, steps=10, certified=4),
}


def test_the_estimate_is_work_at_the_pace_of_the_model() -> None:
    assert KNOWN.minutes(Work(passes=60, gradients=20, seconds=30)) == pytest.approx(1.5)
    check = Accuracy("", limit=20)
    assert estimate(check, "quick", KNOWN) == pytest.approx(KNOWN.minutes(check.work(KNOWN)))
    assert estimate(check, "quick", None) == check.minutes["quick"]
    few = dataclasses.replace(KNOWN, images=10)
    assert check.work(few).passes == 10 and check.work(KNOWN).passes == 20


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_does_the_work_that_it_expects(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a factor of 1.5, with a gradient as three forward passes."""
    model = dataclasses.replace(tiny_model(classes=3, size=32), categories=CLASSES)
    monkeypatch.setattr(held, "load_model", lambda name, session: model)
    data = folder(tmp_path / "data", 0, each=12)
    paths = sorted(data.rglob("*.jpg"))
    with torch.no_grad():
        model.network[-1].bias -= model(model.read(paths)).median(0).values  # type: ignore[operator, index]
        for path, seen in zip(paths, model(model.read(paths)).argmax(1).tolist()):  # so that most are right
            path.rename(data / CLASSES[seen] / f"{path.parent.name}-{path.name}")
    for path in data.iterdir():
        if not any(path.iterdir()):
            path.rmdir()
    done = {True: 0, False: 0}

    def count(_: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        done[torch.is_grad_enabled() and inputs[0].requires_grad] += len(inputs[0])

    model.network.register_forward_pre_hook(count)
    check = dataclasses.replace(CHECKS[name], data=str(data))
    work = check.work(KNOWN)
    session = Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True)
    check.run(session)  # what is found out of a network once, with a few passes
    done.update({True: 0, False: 0})
    check.run(session)
    found, wanted = done[False] + 3 * done[True], work.passes + 3 * work.gradients
    assert wanted / 1.5 <= found <= wanted * 1.5, (found, wanted, done)


def test_a_pass_that_waited_for_other_programs_does_not_count() -> None:
    waits = iter((0.0, 1.0, 0.0, 0.0))
    assert pace._seconds(lambda: time.sleep(next(waits))) < 0.5
    assert next(waits, None) is None

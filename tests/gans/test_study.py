"""The studies, on digits enough for every branch and trainings of a few steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from deepscope.data import Digits, DigitSplit
from deepscope.data.mnist import MnistExtract
from deepscope.errors import DeepscopeError
from deepscope.results import Result, Table
from deepscope.session import Session
from deepscope.statistics import Estimate
from deepscope.studies import generation_questions, generation_runs
from deepscope.studies.generation import Generation
from deepscope.studies.generation_questions import GenerationQuestions
from deepscope.studies.stacked_digits import StackedDigits
from deepscope.studies.study import ANSWERS

LONG = Generation(seeds=2, epochs=1, width=2, discriminator_width=2, clusters=3, clusters_per_class=2, samples=40)
QUESTIONS = GenerationQuestions(seeds=2, epochs=1, width=2, images=None, samples=40, thorough=False)
STACKED = StackedDigits(seeds=1, epochs=1, width=2, samples=40)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = MnistExtract.load(Path())
    rows = np.arange(0, 5000, 16)
    small = DigitSplit(
        *(Digits(part.images[r], part.labels[r]) for part, r in ((whole.train, rows), (whole.test, rows[:33])))
    )
    monkeypatch.setattr(MnistExtract, "load", lambda home: small)
    for name, count in (("_STYLED", 40), ("_EVALUATOR_EPOCHS", 1)):
        monkeypatch.setattr(generation_runs, name, count)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(quiet=True, out=tmp_path, home=Path("/nowhere"))


def answers(result: Result) -> dict[str, tuple[object, ...]]:
    """Rows of the table of answers by the question's first character."""
    table = next(block for block in result.blocks if isinstance(block, Table) and block.title == ANSWERS)
    return {str(row[0])[0]: row for row in table.rows}


def test_the_long_trainings_are_answered_and_a_second_run_only_reads(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = LONG.run(session)
    assert set(answers(result)) == set("24689b")
    assert "into 2 clusters" in str(answers(result)["b"][-1])
    assert result.metrics["fidelity/conditional/low"] <= result.metrics["fidelity/conditional"]
    assert {"style/slant/conditional", "arithmetic/moved/conditional", "kl/clusters"} <= result.metrics.keys()
    assert "classification-accuracy-score/conditional-clusters" in result.metrics
    assert "classification-accuracy-score/unconditional" not in result.metrics

    monkeypatch.setattr(generation_runs, "_figures", None)  # nothing is measured twice
    assert LONG.run(session).metrics == result.metrics


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"{}", lambda content: b""])
def test_a_damaged_measurement_is_made_again(session: Session, damage: Callable[[bytes], bytes]) -> None:
    measured = STACKED.run(session).metrics
    path = min(Path(session.out or "").rglob("*.kept"))
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert STACKED.run(session).metrics == measured
    assert path.read_bytes() == whole


def test_every_choice_is_answered(session: Session) -> None:
    found = answers(QUESTIONS.run(session))
    assert set(found) == set("1357")
    assert found["7"][3] == "answered"
    assert found["5"][3] == "not measured here"  # the experiments were left out


def test_stacked_digits_are_counted_and_few_of_them_are_compared_with_nobody(session: Session) -> None:
    result = STACKED.run(session)
    assert 1 <= result.metrics["modes/stacked"] <= 40
    assert answers(result)["5"][1] == "1000" and answers(result)["5"][3] == "differs"
    assert [answer.verdict for answer in STACKED.answered(_Counted(990))] == ["differs", "reproduced"]  # type: ignore[arg-type]
    few = replace(STACKED, images=1000).answered(_Counted(990))  # type: ignore[arg-type]
    assert {answer.verdict for answer in few} == {"not measured here"}


@dataclass
class _Counted:
    modes: float

    def mean(self, arm: str, figure: str) -> Estimate:
        return Estimate(self.modes, self.modes, self.modes)


def test_every_experiment_of_the_source_is_planned() -> None:
    planned = GenerationQuestions().arms
    names = [arm.name for arm in planned]
    assert len(set(names)) == len(names)
    suggested = {name for group in generation_questions._SUGGESTED.values() for name in group}
    assert suggested | set(generation_questions._NEEDED) <= set(names)
    for arm in [*planned, *Generation().arms, *StackedDigits().arms]:
        arm.architecture.require_buildable(conditional=arm.conditional)
        arm.recipe.require_trainable(arm.architecture)


def test_trainings_with_other_settings_are_kept_apart() -> None:
    """They would refuse each other's checkpoints."""
    plain = Session(quiet=True)
    others = [replace(LONG, r1=5.0), replace(LONG, discriminator_width=3), replace(LONG, batch_size=16)]
    found = {study.arms[0].identity(plain) for study in [LONG, *others]}
    found |= {LONG.arms[0].identity(replace(plain, precision="bfloat16")), LONG.arms[1].identity(plain)}
    assert len(found) == 6 and LONG.arms[0].identity(plain) in found


@pytest.mark.parametrize("weight", [1e-6, 0.01, 2.0])
def test_a_low_weight_of_r1_does_not_fall_below_itself(weight: float) -> None:
    for arm in replace(LONG, r1=weight).arms:
        arm.recipe.require_trainable(arm.architecture)
        assert arm.recipe.r1 == weight and arm.recipe.r1_last == min(weight, 0.05)


@pytest.mark.parametrize("study", [LONG, QUESTIONS, STACKED])
def test_refusals(study: Generation | GenerationQuestions | StackedDigits) -> None:
    with pytest.raises(DeepscopeError, match="images must be at least 1000"):
        replace(study, images=5).run(Session(quiet=True))
    with pytest.raises(DeepscopeError, match="epochs must be at least 1"):
        replace(study, epochs=0).run(Session(quiet=True))

"""The study, on digits enough for every branch and trainings of a few steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepscope.data import Digits, DigitSplit
from deepscope.data.mnist import MnistExtract
from deepscope.errors import InputError
from deepscope.gans import Architecture, Recipe
from deepscope.results import Table
from deepscope.session import Session
from deepscope.studies import generation, generation_runs
from deepscope.studies.generation import Generation
from deepscope.studies.generation_runs import arms

STUDY = Generation(seeds=2, epochs=1, width=2, samples=40, thorough=False)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = MnistExtract.load(Path())
    rows = np.arange(0, 5000, 30)
    small = DigitSplit(
        *(Digits(part.images[r], part.labels[r]) for part, r in ((whole.train, rows), (whole.test, rows[:33])))
    )
    monkeypatch.setattr(MnistExtract, "load", lambda home: small)
    monkeypatch.setattr(generation, "_JUDGE_EPOCHS", 1)
    for name, count in (("_STACKED_SAMPLES", 40), ("_STYLED", 40)):
        monkeypatch.setattr(generation_runs, name, count)


def test_every_question_is_answered_and_a_second_run_only_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(quiet=True, out=tmp_path, home=Path("/nowhere"))
    result = STUDY.run(session)
    table = next(block for block in result.blocks if isinstance(block, Table) and block.title == "Answers")
    assert {str(row[0])[0] for row in table.rows} == set("123456789")
    verdicts = {row[3] for row in table.rows}
    assert verdicts == {"answered", "not measured here"}
    assert result.metrics["fidelity/conditional/low"] <= result.metrics["fidelity/conditional"]
    assert {"style/slant/conditional", "arithmetic/moved/conditional"} <= result.metrics.keys()

    monkeypatch.setattr(generation_runs, "_figures", None)  # nothing is measured twice
    assert STUDY.run(session).metrics == result.metrics


def test_every_experiment_of_the_source_is_planned() -> None:
    planned = arms(Architecture(), Recipe(), thorough=True)
    names = [arm.name for arm in planned]
    assert len(set(names)) == len(names)
    assert {name for group in generation._SUGGESTED.values() for name in group} | set(generation._NEEDED) <= set(names)
    for arm in planned:
        arm.architecture.require_buildable(conditional=arm.conditional)
        arm.recipe.require_trainable(arm.architecture)


def test_refusals() -> None:
    with pytest.raises(InputError, match="at least 1000"):
        replace(STUDY, images=5).run(Session(quiet=True))

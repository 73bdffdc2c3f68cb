from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepscope.adaptation import PAPER, Adaptation, Recipe
from deepscope.adaptation.validators import Validator
from deepscope.data.mnist import MnistMExtract
from deepscope.results import Curves, Table
from deepscope.session import Session
from deepscope.studies.adaptation_runs import FACTORS, arms
from deepscope.studies.domain_adaptation import DomainAdaptation
from deepscope.training import History


@pytest.mark.usefixtures("small_extracts")
def test_the_study_trains_answers_and_resumes(tmp_path: Path) -> None:
    session = Session(quiet=True, out=tmp_path, home=tmp_path)
    study = DomainAdaptation(seeds=1, epochs=2, paper_epochs=2, images=200, thorough=False)
    result = study.run(session)
    names = [arm.name for arm in arms(PAPER, Recipe(), thorough=False)]
    files = {name: tmp_path / "domain-adaptation" / "200-images" / name / "seed-0" for name in names}
    chosen, scores = [], []
    for name, folder in files.items():
        history = History.read(folder / "history.jsonl")
        accuracy = history.column("accuracy/target")[1]
        assert result.metrics[f"accuracy/{name}/target"] in accuracy
        assert result.metrics[f"a-distance/{name}"] == history.column("a-distance")[1][-1]
        if "only" not in name:
            chosen.extend(accuracy)
            scores.extend(history.column("validator/entropy")[1])
    regret = max(chosen) - chosen[int(np.argmax(scores))]
    assert result.metrics["validator/entropy/regret"] == pytest.approx(regret)
    for name in Validator.members():
        assert -1 <= result.metrics.get(f"validator/{name}/correlation", 0) <= 1
        assert result.metrics[f"validator/{name}/regret"] >= 0
    answers = result.blocks[0]
    assert isinstance(answers, Table) and len(answers.rows) == 8
    assert "not measured here" in str(answers.rows[5])  # the factors belong to the thorough study
    assert all("not measured here" in str(row) for row in answers.rows[:3])  # nor are 200 images what the paper took
    count = len(MnistMExtract.load(tmp_path).test.labels)
    right = count * result.metrics["accuracy/modern/adversarial-teacher/target/ten-views"]
    assert right == pytest.approx(round(right)) and 0 < right <= count
    titles = [block.title for block in result.blocks if isinstance(block, Curves)]
    assert {"Target accuracy", "Domain classifier", "Proxy A-distance"} <= set(titles)
    assert sum(title.startswith("Features of") for title in titles) == 6

    times = {name: (folder / "history.jsonl").read_bytes() for name, folder in files.items()}
    again = study.run(session)  # everything was trained already: it is read, not trained again
    assert dict(again.metrics) == pytest.approx(dict(result.metrics), nan_ok=True)
    assert times == {name: (folder / "history.jsonl").read_bytes() for name, folder in files.items()}


def test_the_thorough_study_has_every_factor_method_and_ablation() -> None:
    names = [arm.name for arm in arms(PAPER, Recipe(), thorough=True)]
    assert len(set(names)) == len(names)
    assert all(f"paper/factor-{factor:g}" in names for factor in FACTORS if factor != 1)
    for method in Adaptation.concrete():
        assert any(isinstance(arm.method, method) for arm in arms(PAPER, Recipe(), thorough=True))
    assert sum("without" in name for name in names) == 10

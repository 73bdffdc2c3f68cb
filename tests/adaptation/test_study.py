from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepscope.adaptation import Adaptation, Cdan, MaximumClassifierDiscrepancy, MinimumClassConfusion
from deepscope.adaptation.validators import Validator
from deepscope.data.mnist import MnistMExtract
from deepscope.errors import DeepscopeError
from deepscope.results import Curves, Result, Table
from deepscope.session import Session
from deepscope.studies.adaptation_questions import FACTORS, AdaptationQuestions
from deepscope.studies.adaptation_runs import AdaptationArm, run_folder
from deepscope.studies.domain_adaptation import DomainAdaptation
from deepscope.training import History


def _tables(result: Result) -> dict[str, Table]:
    return {block.title: block for block in result.blocks if isinstance(block, Table)}


def _history(folder: Path) -> History:
    return History.read(folder / "history.jsonl")


@pytest.mark.usefixtures("small_extracts")
def test_the_comparison_trains_answers_and_resumes(tmp_path: Path) -> None:
    session = Session(quiet=True, out=tmp_path, home=tmp_path)
    study = DomainAdaptation(seeds=1, epochs=2, paper_epochs=2, images=200)
    result = study.run(session)
    folders = {arm.name: run_folder(session, arm, 0, 200) for arm in study.arms}
    chosen, scores = [], []
    for name, folder in folders.items():
        history = _history(folder)
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
    found = _tables(result)["Answers"].rows
    assert len(found) == 6
    assert all("not measured here" in row for row in (*found[:3], *found[4:]))  # 200 images are not what the paper took
    count = len(MnistMExtract.load(tmp_path).test.labels)
    right = count * result.metrics["accuracy/modern/adversarial-teacher/target/ten-views"]
    assert right == pytest.approx(round(right)) and 0 < right <= count
    titles = [block.title for block in result.blocks if isinstance(block, Curves)]
    assert {"Target accuracy", "Domain classifier", "Proxy A-distance"} <= set(titles)
    assert sum(title.startswith("Features of") for title in titles) == 6

    times = {name: (folder / "history.jsonl").read_bytes() for name, folder in folders.items()}
    again = study.run(session)  # everything was trained already: it is read, not trained again
    assert dict(again.metrics) == pytest.approx(dict(result.metrics), nan_ok=True)
    assert times == {name: (folder / "history.jsonl").read_bytes() for name, folder in folders.items()}


@pytest.mark.usefixtures("small_extracts")
def test_the_questions_are_answered_seed_by_seed(tmp_path: Path) -> None:
    session = Session(quiet=True, out=tmp_path, home=tmp_path)
    study = AdaptationQuestions(seeds=2, epochs=1, images=150)
    result = study.run(session)
    tables = _tables(result)
    answers = tables["Answers"].rows
    assert len(answers) == 4
    assert not any("not measured here" in row for row in answers)
    target = {
        (arm.name, seed): _history(run_folder(session, arm, seed, 150)).column("accuracy/target")[1][-1]
        for arm in study.arms
        for seed in range(2)
    }
    for title, base, prefix, rows in (
        ("Without one ingredient", "adversarial-teacher", "without-", 11),
        ("The paper's network, changed", "paper", "paper-", 6),
    ):
        assert len(tables[title].rows) == rows
        for change, accuracy, difference, low, high in tables[title].rows:
            each = [target[f"{prefix}{change}", seed] - target[base, seed] for seed in range(2)]
            assert difference == pytest.approx(np.mean(each))
            assert accuracy == pytest.approx(np.mean([target[f"{prefix}{change}", seed] for seed in range(2)]))
            # Student's t for two values: the mean, and 12.706 times half their distance.
            half = 12.7062 * abs(each[0] - each[1]) / 2
            assert (low, high) == pytest.approx((np.mean(each) - half, np.mean(each) + half), abs=1e-4)
    curve = next(block for block in result.blocks if getattr(block, "title", "") == "Influence of the factor")
    assert isinstance(curve, Curves)
    assert curve.series[0].y == pytest.approx([result.metrics[f"accuracy/factor-{f:g}/target"] for f in FACTORS])


def test_the_questions_cover_every_factor_method_and_choice() -> None:
    everything, few = AdaptationQuestions().arms, AdaptationQuestions(thorough=False).arms
    names = [arm.name for arm in everything]
    assert len(set(names)) == len(names)
    assert {arm.name for arm in few} < set(names)
    assert all(f"factor-{factor:g}" in names for factor in FACTORS)
    later = {Cdan, MaximumClassifierDiscrepancy, MinimumClassConfusion}  # than the kept study
    for method in set(Adaptation.concrete()) - later:
        assert any(isinstance(arm.method, method) for arm in everything)


@pytest.mark.parametrize("study", [DomainAdaptation(batch_size=1), AdaptationQuestions(batch_size=0)])
def test_a_step_takes_two_images_or_more(study: DomainAdaptation | AdaptationQuestions, tmp_path: Path) -> None:
    assert {arm.recipe.batch_size for arm in study.arms} == {study.batch_size}
    with pytest.raises(DeepscopeError, match="batch_size must be at least 2"):
        replace(study, images=150).run(Session(home=tmp_path, cache=tmp_path / "cache", quiet=True))


def test_the_quick_comparison_leaves_out_the_bound_that_it_is_too_short_to_reach() -> None:
    quick, full = DomainAdaptation.within("quick"), DomainAdaptation.within("full")
    missing = {arm.name for arm in full.arms} - {arm.name for arm in quick.arms}
    assert missing == {"paper/target-only"}
    names = ("paper/dann", "paper/source-only", "modern/adversarial-teacher")
    result = Result("", metrics={f"accuracy/{name}/target": 0.5 for name in names})
    assert "labels" not in quick.headline(result).finding.removeprefix("Without target labels")
    with_bound = Result("", metrics={**result.metrics, "accuracy/paper/target-only/target": 0.96})
    assert "training with the target's labels 96" in full.headline(with_bound).finding


def test_both_studies_take_the_same_training_from_the_same_folder(tmp_path: Path) -> None:
    session = Session(quiet=True, cache=tmp_path, home=tmp_path)
    comparison, questions = DomainAdaptation.within("quick").arms, AdaptationQuestions.within("quick").arms

    def folders(arms: list[AdaptationArm]) -> dict[str, Path]:
        return {arm.name: run_folder(session, arm, 0, 1500) for arm in arms}

    one, other = folders(comparison), folders(questions)
    assert len(set(one.values())) == len(one) and len(set(other.values())) == len(other)
    assert one["modern/source-only"] == other["source-only"]
    assert one["modern/adversarial-teacher"] == other["adversarial-teacher"]
    assert len({*one.values(), *other.values()}) == len(one) + len(other) - 2
    assert folders(DomainAdaptation.within("full").arms)["paper/dann"] != one["paper/dann"], "other epochs"

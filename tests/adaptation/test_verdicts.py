"""Verdicts of the study of domain adaptation, from figures that are given seed by seed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from deepscope.results import Result
from deepscope.statistics import Estimate
from deepscope.studies.adaptation_questions import AdaptationQuestions
from deepscope.studies.adaptation_runs import AdaptationsTrained
from deepscope.studies.arms import Outcome, Trained
from deepscope.studies.claims import minor_decrease
from deepscope.training import History

STUDY = AdaptationQuestions()


def trained(
    target: dict[str, list[float]],
    source: dict[str, list[float]] | None = None,
    domain: dict[str, list[float]] | None = None,
) -> AdaptationsTrained:
    """Every arm of the study with its accuracy by seed: 0.8, 0.81, 0.83 where nothing is given."""
    base = [0.80, 0.81, 0.83]
    outcomes: dict[str, list[Any]] = {}
    for arm in STUDY.arms:
        outcomes[arm.name] = [
            Outcome(
                arm,
                seed,
                {"accuracy/target": right, "accuracy/source": (source or {}).get(arm.name, base)[seed]},
                History(
                    [
                        {
                            "step": 1,
                            "domain/accuracy": (domain or {}).get(arm.name, base)[seed],
                            "confident/coverage": 0.5,
                        }
                    ]
                ),
                SimpleNamespace(),
            )
            for seed, right in enumerate(target.get(arm.name, base))
        ]
    return AdaptationsTrained(Trained(outcomes, (), ""), SimpleNamespace())  # type: ignore[arg-type]


def verdicts(*given: dict[str, list[float]]) -> list[str]:
    return [answer.verdict for answer in STUDY._answers(trained(*given))]


def test_what_could_be_chance_is_not_decided() -> None:
    """Every claim holds on average, and none on each seed."""
    target = {
        "no-reversal": [0.85, 0.79, 0.74],
        "adversarial-teacher": [0.90, 0.78, 0.83],
        "factor-1": [0.95, 0.78, 0.8],
    }
    source = {"factor-0.3": [0.78, 0.82, 0.83]}
    domain = {"no-reversal": [0.99, 0.98, 0.99]}
    assert verdicts(target, source, domain) == ["not decided"] * 4


def test_what_every_seed_shows_is_decided() -> None:
    more, less = [0.90, 0.911, 0.929], [0.70, 0.709, 0.731]
    found = verdicts(
        {"no-reversal": less, "adversarial-teacher": more, "factor-1": more},
        {"factor-0.3": [0.797, 0.8065, 0.8268]},
        {"no-reversal": more},
    )
    assert found == ["reproduced"] * 4
    found = verdicts(
        {"no-reversal": more, "adversarial-teacher": less, "factor-3": more},
        {"factor-0.3": more},
    )
    assert found == ["differs"] * 4


def test_a_factor_is_compared_with_intervals_for_all_of_them_together() -> None:
    """Above both ends by Student's 95 % interval of three seeds, 4.30 standard errors, and not by that for four."""
    almost = [0.80 + 0.020, 0.81 + 0.014, 0.83 + 0.026]  # 0.020 above, with a standard error of 0.0035: t is 5.8
    assert STUDY._answers(trained({"factor-1": almost}))[2].verdict == "not decided"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.009, -0.001, "reproduced"),
        (-0.02, -0.001, "not decided"),
        (-0.03, -0.02, "differs"),
        (0.001, 0.002, "differs"),
        (-0.005, 0.002, "not decided"),
    ],
)
def test_a_minor_decrease_is_one_of_at_most_a_point_throughout(low: float, high: float, verdict: str) -> None:
    assert minor_decrease(Estimate((low + high) / 2, low, high)) == verdict


def test_the_headline_claims_what_intervals_show() -> None:
    def said(teacher: Estimate) -> str:
        names = ("source-only", "factor-0.3", "adversarial-teacher")
        found = dict(zip(names, (Estimate(0.6, 0.5, 0.7), Estimate(0.80, 0.75, 0.85), teacher)))
        metrics = {k: v for name, one in found.items() for k, v in one.metrics(f"accuracy/{name}/target").items()}
        return STUDY.headline(Result(title="", metrics=metrics)).verdict

    assert said(Estimate(0.90, 0.86, 0.94)) == "reproduced"
    assert said(Estimate(0.90, 0.82, 0.98)) == ""

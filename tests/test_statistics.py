"""Intervals and tests against formulas written out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepscope import statistics
from deepscope.statistics import (
    Estimate,
    difference,
    gap_over_seeds,
    holm,
    mcnemar,
    mean,
    median,
    over_seeds,
    proportion,
    simultaneous,
    top_shares,
)


@given(st.integers(1, 5000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_proportion_is_wilsons_interval(counts: tuple[int, int]) -> None:
    successes, total = counts
    z, p = 1.959963984540054, successes / total
    centre = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    estimate = proportion(successes, total)
    assert estimate.value == p
    assert estimate.low == pytest.approx(max(0, centre - half), abs=1e-9)
    assert estimate.high == pytest.approx(min(1, centre + half), abs=1e-9)
    assert estimate.low <= p <= estimate.high


@given(st.integers(2, 12).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n - 1), min_size=1))))
def test_the_five_best_are_reported_of_more_than_five_classes(drawn: tuple[int, list[int]]) -> None:
    classes, ranks = drawn
    found = top_shares(ranks, classes, "accuracy")
    assert found["accuracy/top1"] == ranks.count(0) / len(ranks)
    assert ("accuracy/top5" in found) == (classes > 5) == ("accuracy/top5/low" in found)
    if classes > 5:
        assert found["accuracy/top5"] == sum(rank < 5 for rank in ranks) / len(ranks)


def test_proportion_of_nothing_is_nan_and_of_too_much_an_error() -> None:
    assert all(math.isnan(figure) for figure in proportion(0, 0).metrics("x").values())
    with pytest.raises(ValueError):
        proportion(3, 2)


def test_an_estimate_names_its_metrics_and_prints() -> None:
    estimate = Estimate(0.65, 0.55, 0.74)
    assert estimate.metrics("accuracy/top1") == {
        "accuracy/top1": 0.65,
        "accuracy/top1/low": 0.55,
        "accuracy/top1/high": 0.74,
    }
    assert str(estimate) == "0.65 [0.55, 0.74]"
    assert str(Estimate(0.65, -math.inf, math.inf)) == "0.650"


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 20))
def test_mcnemar_is_the_exact_binomial_tail(only_first: int, only_second: int, both: int) -> None:
    first = [True] * only_first + [False] * only_second + [True] * both
    second = [False] * only_first + [True] * only_second + [True] * both
    n, k = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    assert mcnemar(first, second) == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar(first, second) == pytest.approx(mcnemar(second, first))


def test_paired_figures_refuse_different_lengths() -> None:
    with pytest.raises(ValueError, match="same shape"):
        mcnemar([True, False], [True])
    with pytest.raises(ValueError, match="same shape"):
        difference([1.0, 2.0], [1.0])


def test_bootstrap_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """300 samples of 60: 95 % nominal; the percentile bootstrap runs a little under."""
    rng = np.random.default_rng(0)
    covered = {"mean": 0, "median": 0}
    for seed in range(300):
        values = rng.normal(2.0, 1.0, 60)
        for name, function in (("mean", mean), ("median", median)):
            estimate = function(values, resamples=400, seed=seed)
            covered[name] += estimate.low <= 2.0 <= estimate.high
    for count in covered.values():
        assert 0.90 <= count / 300 <= 0.985


def test_bootstrap_width_is_that_of_the_normal_theory() -> None:
    values = np.random.default_rng(1).normal(0, 1, 400)
    estimate = mean(values, resamples=4000)
    half = 1.96 * values.std() / math.sqrt(400)
    assert estimate.value == pytest.approx(values.mean())
    assert (estimate.high - estimate.low) / 2 == pytest.approx(half, rel=0.06)


def test_bootstrap_is_reproducible_and_needs_no_more_memory_for_more_data(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).random(101)
    whole = mean(values, seed=3)
    assert mean(values, seed=3) == whole
    assert mean(values, seed=4) != whole
    monkeypatch.setattr(statistics, "_DRAWS", 1000)
    assert mean(values, seed=3) == whole  # drawn in pieces, the same draws
    monkeypatch.setattr(statistics, "_DRAWS", 1)
    assert mean(values, seed=3) == whole


def test_bootstrap_leaves_nan_out_and_survives_little_data() -> None:
    assert mean([1.0, math.nan, 3.0]).value == 2.0
    for one in (mean([5.0]), median([5.0]), mean([math.nan, 5.0]), difference([7.0], [2.0])):
        assert one == Estimate(5.0, -math.inf, math.inf)
        assert not one.known and str(one) == "5.000"
    assert math.isnan(mean([]).value)
    assert math.isnan(mean([math.nan]).low)


def test_difference_is_paired() -> None:
    """Items differ wildly, the two methods by a constant: a paired comparison sees it exactly."""
    items = np.random.default_rng(0).normal(0, 100, 50)
    estimate = difference(items + 0.5, items)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.5, 0.5, 0.5))
    same = difference([True, False, True], [True, False, True])
    assert same == Estimate(0.0, 0.0, 0.0)


def test_gaps_over_seeds_are_paired_and_equal_ones_decide_nothing() -> None:
    first, second = [0.90, 0.80, 0.95], [0.88, 0.77, 0.91]
    assert gap_over_seeds(first, second) == over_seeds(np.subtract(first, second))
    assert gap_over_seeds([0.9, 0.8], [0.8, 0.7]).low == -math.inf  # both 0.1, up to rounding
    assert gap_over_seeds([0.9, 0.8], [0.9, 0.8]) == Estimate(0.0, 0.0, 0.0)
    assert gap_over_seeds([0.9], [0.8]).high == math.inf


def test_holm_adjusts_as_r_does() -> None:
    """`p.adjust(p, "holm")` of R 4.3."""
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.04, 0.001, 0.03]) == pytest.approx([0.06, 0.003, 0.06])
    assert holm([0.9, 0.5]) == [1.0, 1.0] and holm([0.2]) == [0.2] and holm([]) == []


def test_intervals_that_hold_together_share_the_error() -> None:
    assert simultaneous(1) == 0.95 and simultaneous(0) == 0.95
    assert simultaneous(5) == pytest.approx(0.99) and simultaneous(2, confidence=0.9) == pytest.approx(0.95)


def test_over_seeds_is_students_interval() -> None:
    estimate = over_seeds([0.70, 0.72, 0.77])
    centre = (0.70 + 0.72 + 0.77) / 3
    deviation = math.sqrt(sum((x - centre) ** 2 for x in (0.70, 0.72, 0.77)) / 2)
    half = 4.302652729911275 * deviation / math.sqrt(3)  # t of 2 degrees of freedom, 97.5 %
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((centre, centre - half, centre + half))
    assert over_seeds([0.7]) == Estimate(0.7, -math.inf, math.inf)
    assert math.isnan(over_seeds([]).value)

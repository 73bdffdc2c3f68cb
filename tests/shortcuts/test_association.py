"""The permutation test: against SciPy's statistics, and its false alarms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from deepscope.shortcuts.association import associations


def test_the_auroc_is_that_of_the_mann_whitney_test_and_leaves_unknown_values_out() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 3))
    values[:10, 1] = np.nan
    values[:, 2] = values[:, 2].round()  # ties
    group = rng.random(40) < 0.4
    found = associations(values, group[:, None], np.zeros(40, int), draws=10, rng=rng)
    for column in range(3):
        inside, outside = (values[rows, column] for rows in (group, ~group))
        inside, outside = inside[~np.isnan(inside)], outside[~np.isnan(outside)]
        wanted = stats.mannwhitneyu(inside, outside).statistic / len(inside) / len(outside)
        assert found.auroc[column, 0] == pytest.approx(wanted)


def test_one_comparison_has_the_p_value_of_the_rank_sum_test() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(60, 1))
    group = np.arange(60) < 25
    values[group] += 0.5
    found = associations(values, group[:, None], np.zeros(60, int), draws=4000, rng=rng)
    assert found.p_values[0, 0] == pytest.approx(
        stats.mannwhitneyu(values[group, 0], values[~group, 0]).pvalue, abs=0.02
    )


def test_differences_between_strata_are_none_within_them() -> None:
    """A property that differs between classes only, and errors that are more frequent in one class."""
    rng = np.random.default_rng(2)
    strata = np.repeat([0, 1], 200)
    wrong = rng.random(400) < np.where(strata == 1, 0.5, 0.1)
    values = rng.normal(size=(400, 1)) + 3 * strata[:, None]
    within = associations(values, wrong[:, None], strata, draws=500, rng=rng)
    pooled = associations(values, wrong[:, None], np.zeros(400, int), draws=500, rng=rng)
    assert within.p_values[0, 0] > 0.05 > pooled.p_values[0, 0]
    assert abs(within.auroc[0, 0] - 0.5) < 0.1


def test_false_alarms_stay_at_5_percent_over_all_comparisons() -> None:
    """Twelve dependent properties, four groups, random labels: 48 comparisons in each of 300 data sets."""
    alarms = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        shared = rng.normal(size=(60, 1))
        values = np.exp(rng.normal(size=(60, 12)) + shared)
        groups = rng.integers(4, size=60)[:, None] == np.arange(4)
        found = associations(values, groups, np.zeros(60, int), draws=99, rng=rng)
        alarms += bool((found.p_values <= 0.05).any())
    assert stats.binomtest(alarms, 300, 0.05).pvalue > 0.001 and alarms > 0


def test_a_constant_property_differs_nowhere() -> None:
    groups = (np.arange(20) < 10)[:, None]
    found = associations(np.ones((20, 1)), groups, np.zeros(20, int), draws=20, rng=np.random.default_rng(0))
    assert found.p_values.min() == 1 and found.auroc[0, 0] == 0.5

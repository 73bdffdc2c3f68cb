"""p-values of recipes that were measured on the same splits, against formulas written out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from deepscope.statistics import Estimate
from deepscope.transfer import Recipe
from deepscope.transfer.heads import Head
from deepscope.transfer.measuring import Row, p_value, p_values

NONE = Estimate(0, 0, 0)
ONE = Row(Recipe.parse("efficientnet_lite0"), Head.named("ridge"), "", 1, 0.0, 300, (), NONE, NONE, 0)


def of_counts(*right: int, images: int = 100) -> Row:
    """A row that is right on these numbers of test images, one per split."""
    return replace(ONE, correct=tuple(np.arange(images) < count for count in right))


def corrected(differences: list[float], images: int = 100) -> float:
    """Nadeau and Bengio's test, with the variance of rounding as the least."""
    variance: Any = max(np.var(differences, ddof=1), 1 / 12 / images**2)
    t = np.mean(differences) / math.sqrt((1 / len(differences) + images / 300) * variance)
    return 2 * float(stats.t.sf(abs(t), len(differences) - 1))


def test_several_splits_are_compared_with_the_variance_of_overlapping_training_sets() -> None:
    found = p_value(of_counts(80, 85, 90), of_counts(70, 80, 82))
    assert found == pytest.approx(corrected([0.10, 0.05, 0.08]))


@pytest.mark.parametrize("better", [0.01, 0.1, 0.5])
def test_equal_differences_are_no_proof(better: float) -> None:
    base, more = [40, 45], [40 + round(100 * better), 45 + round(100 * better)]
    found = p_value(of_counts(*more), of_counts(*base))
    assert found == pytest.approx(corrected([better, better])) and found > 0.001
    assert p_value(of_counts(*base), of_counts(*base)) == 1


def test_p_values_are_adjusted_for_all_rows_together() -> None:
    rows = [of_counts(60), of_counts(50), of_counts(45), of_counts(57)]
    one, two, three = (min(1, 2 * 0.5**lost) for lost in (10, 15, 3))  # McNemar: all discordant images on one side
    found = p_values(rows, 0)
    assert found[0] is None
    assert found[1:] == pytest.approx((2 * one, 3 * two, max(three, 2 * one)))

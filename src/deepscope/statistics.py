"""Statistics: intervals for proportions and means, paired comparisons.

SciPy's statistics are imported where they are needed: they take longer to load than most commands to start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_DRAWS = 2**22
"""Values that a bootstrap draws at a time: 32 MB."""


@dataclass(frozen=True)
class Estimate:
    """A figure with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def metrics(self, name: str) -> dict[str, float]:
        """The three entries that a result's metrics hold for this figure."""
        return {name: self.value, f"{name}/low": self.low, f"{name}/high": self.high}

    @classmethod
    def of(cls, metrics: Mapping[str, float], name: str, tail: str = "") -> Estimate:
        """The figure that `metrics` wrote, NaN where it is missing; TAIL stands behind all three names."""
        return cls(*(metrics.get(f"{name}{end}{tail}", math.nan) for end in ("", "/low", "/high")))

    @property
    def known(self) -> bool:
        """Whether the interval has two ends."""
        return math.isfinite(self.high - self.low)

    def decimals(self, scale: float = 1) -> int:
        """Digits after the point that the interval supports: two of its half-width below 2, else one.

        Args:
            scale: of the unit that the figure is written in: 100 for per cent.
        """
        half = (self.high - self.low) / 2 * scale
        if not math.isfinite(half) or half <= 0:  # one seed, or exact
            return 3 if scale == 1 else 0 if math.isinf(half) else 1
        place = math.floor(math.log10(half))
        return min(6, max(0, -place + (half < 2 * 10.0**place)))

    def __str__(self) -> str:
        places = self.decimals()
        ends = f" [{self.low:.{places}f}, {self.high:.{places}f}]" if self.known else ""
        return f"{self.value:.{places}f}{ends}"


def proportion(successes: int, total: int, *, confidence: float = 0.95) -> Estimate:
    """A proportion with its Wilson score interval (Wilson 1927). NaN throughout where total is 0."""
    if total == 0:
        return Estimate(math.nan, math.nan, math.nan)
    if not 0 <= successes <= total:
        raise ValueError(f"{successes} successes out of {total}")
    share, z = successes / total, NormalDist().inv_cdf((1 + confidence) / 2)
    centre = share + z**2 / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    low, high = ((centre + end) / (1 + z**2 / total) for end in (-half, half))
    return Estimate(share, low if successes else 0.0, high if successes < total else 1.0)


def lower_bound(successes: int, total: int, *, error: float) -> float:
    """The one-sided lower bound of a proportion, wrong with a probability of at most `error` (Clopper-Pearson 1934)."""
    from scipy import stats

    return float(stats.beta.ppf(error, successes, total - successes + 1)) if successes else 0.0


def upper_bound(successes: int, total: int, *, error: float) -> float:
    """The one-sided upper bound of a proportion, wrong with a probability of at most `error` (Clopper-Pearson 1934)."""
    return 1 - lower_bound(total - successes, total, error=error)


def top_shares(ranks: ArrayLike, classes: int, name: str) -> dict[str, float]:
    """Metrics NAME/top1 and NAME/top5 with their intervals; the five best of five or fewer classes say nothing.

    Args:
        ranks: (N,) classes that were preferred to the right one.
        classes: that there are to choose from.
        name: what is measured.
    """
    array = np.asarray(ranks)
    return {
        key: value
        for most in (1, 5)
        if most == 1 or most < classes
        for key, value in proportion(int((array < most).sum()), array.size).metrics(f"{name}/top{most}").items()
    }


def mean(values: ArrayLike, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> Estimate:
    """A mean with its percentile bootstrap interval; NaN values are left out.

    The interval of a single value is infinite: there is no spread to see.
    """
    return _bootstrap(values, np.mean, confidence, resamples, seed)


def median(values: ArrayLike, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> Estimate:
    """A median with its percentile bootstrap interval, infinite for a single value; NaN values are left out."""
    return _bootstrap(values, np.median, confidence, resamples, seed)


def over_seeds(values: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """The mean of a few training runs with its Student t interval, infinite for a single run."""
    array = np.asarray(values, dtype=float)
    if array.size == 0:
        return Estimate(math.nan, math.nan, math.nan)
    centre = float(array.mean())
    if array.size == 1:
        return Estimate(centre, -math.inf, math.inf)
    from scipy import stats

    half = float(stats.t.ppf((1 + confidence) / 2, array.size - 1) * array.std(ddof=1) / math.sqrt(array.size))
    return Estimate(centre, centre - half, centre + half)


def gap_over_seeds(first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """Mean of first - second over a few training runs of the same seeds, with its Student t interval.

    Infinite where every gap is the same and not 0: figures are rounded, and a few equal ones have no spread to see.
    """
    a, b = _paired(first, second)
    gaps = a - b
    if gaps.size > 1 and np.allclose(gaps, gaps[0], rtol=1e-9, atol=1e-12) and not np.allclose(gaps, 0, atol=1e-12):
        return Estimate(float(gaps.mean()), -math.inf, math.inf)
    return over_seeds(gaps, confidence=confidence)


def mcnemar(first: ArrayLike, second: ArrayLike) -> float:
    """Two-sided exact p-value that two classifiers, right or wrong on the same items, differ (McNemar 1947).

    Args:
        first, second: (N,) booleans, whether each item was classified correctly.
    """
    a, b = _paired(first, second)
    a, b = a.astype(bool), b.astype(bool)
    only_first, only_second = int((a & ~b).sum()), int((~a & b).sum())
    if only_first + only_second == 0:
        return 1.0
    from scipy import stats

    return float(stats.binomtest(only_first, only_first + only_second).pvalue)


def difference(first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95, seed: int = 0) -> Estimate:
    """Mean of first - second over paired items, with its bootstrap interval: it differs where 0 lies outside."""
    a, b = _paired(first, second)
    return mean(a - b, confidence=confidence, seed=seed)


def simultaneous(intervals: int, *, confidence: float = 0.95) -> float:
    """The confidence of each of several intervals that hold together with the given one (Bonferroni)."""
    return 1 - (1 - confidence) / max(intervals, 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being several: those below 0.05 are jointly significant at 5 % (Holm 1979)."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(np.asarray(p_values)[order] * np.arange(len(order), 0, -1))
    return np.minimum(adjusted, 1).tolist()


def _paired(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.shape != b.shape:  # NumPy would repeat the shorter one
        raise ValueError(f"paired items need the same shape, not {a.shape} and {b.shape}")
    return a, b


def _bootstrap(
    values: ArrayLike, statistic: Callable[..., Any], confidence: float, resamples: int, seed: int
) -> Estimate:
    array = np.asarray(values, dtype=float).ravel()
    array = array[~np.isnan(array)]
    if array.size == 0:
        return Estimate(math.nan, math.nan, math.nan)
    if array.size == 1:
        return Estimate(float(array[0]), -math.inf, math.inf)
    rng = np.random.default_rng(seed)
    at_once = max(1, _DRAWS // array.size)  # resamples, so that memory does not grow with the data
    drawn = np.concatenate(
        [
            statistic(array[rng.integers(0, array.size, size=(min(at_once, resamples - start), array.size))], axis=1)
            for start in range(0, resamples, at_once)
        ]
    )
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(float(statistic(array)), float(low), float(high))

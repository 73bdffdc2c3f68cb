"""Claims of the report (Delefosse & Vin) and the figures behind them, each with its interval and verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deepscope.results import Column, Table
from deepscope.statistics import Estimate
from deepscope.studies.study import Answer, Verdict, decided

_DRAWS = 10_000
"""Of the bootstrap: intervals that hold for several figures together end far out."""
FEWEST = 6
"""Images below which nothing is decided, and an interval over images says nothing."""


@dataclass(frozen=True)
class Row:
    """One figure, and its sign if the claim holds: positive (1) or negative (-1); 0 where nothing is claimed.

    Attributes:
        name, text: of the figure, for programs and for readers.
        estimate: the figure.
        claimed: the side of 0.
        images: that it was measured on; fewer than 6 decide nothing, whatever the interval.
    """

    name: str
    text: str
    estimate: Estimate
    claimed: int
    images: int

    @property
    def said(self) -> str:
        """The figure in words; of too few images without an interval, which would be narrow by chance."""
        few = self.images < FEWEST
        return f"{self.text} {f'{self.estimate.value:.2f}' if few else self.estimate}"

    @property
    def answer(self) -> Literal["measured", "reproduced", "differs", "not decided"]:
        """Decided where the whole interval lies on one side of 0, and rests on enough images to be believed."""
        if self.claimed == 0:  # never negative: its sign would say nothing
            return "measured"
        if self.images < FEWEST:
            return "not decided"
        near, far = sorted(self.claimed * end for end in (self.estimate.low, self.estimate.high))
        return "reproduced" if near > 0 else "differs" if far < 0 else "not decided"


@dataclass(frozen=True)
class Question:
    """A claim of the report and the figures behind it."""

    title: str
    claim: str
    rows: tuple[Row, ...]

    def table(self) -> Table:
        """The figures with their intervals, and what each says of the claim."""
        rows = tuple((row.text, *_cells(row), row.answer) for row in self.rows)
        columns = (Column("measured"), *(Column(name, "+.3f") for name in ("value", "low", "high")), Column("claim"))
        return Table(columns, rows, title=self.title, caption=f"Claim: {self.claim}.")

    def answer(self) -> Answer:
        """Reproduced or different where every decided row says so; else answered. What decides nothing is left out."""
        known = [row for row in self.rows if not np.isnan(row.estimate.value)]
        if not known:
            return Answer(self.title, self.claim, "—", "not measured here", "too few images of one kind to compare")
        found = {row.answer for row in known if row.claimed and row.answer != "not decided"}
        verdict = "reproduced" if found == {"reproduced"} else "differs" if found == {"differs"} else "answered"
        said = [f"{row.said}{f': {row.answer}' * bool(row.claimed)}" for row in known if row.answer != "not decided"]
        if not said:
            few = f"{max(row.images for row in known)} images do not decide it"
            return Answer(self.title, self.claim, "; ".join(row.said for row in known), "not decided", few)
        return Answer(self.title, self.claim, "; ".join(said), verdict)


def minor_decrease(change: Estimate) -> Verdict:
    """Whether the whole interval of a change in accuracy is a decrease, of at most one point."""
    return decided(change.low >= -0.01 and change.high < 0, change.low > 0 or change.high < -0.01)


def _cells(row: Row) -> tuple[float | None, ...]:
    """Value and interval, empty where there is none."""
    ends = (row.estimate.low, row.estimate.high) if row.images >= FEWEST else (np.nan, np.nan)
    return tuple(x if np.isfinite(x) else None for x in (row.estimate.value, *ends))


def unpaired(first: NDArray[np.float64], second: NDArray[np.float64], *, confidence: float = 0.95) -> Estimate:
    """Difference of two groups' means with its bootstrap interval, without NaN values; NaN where a group is empty."""
    first, second = (group[~np.isnan(group)] for group in (first, second))
    if not len(first) or not len(second):
        return Estimate(float("nan"), float("nan"), float("nan"))
    rng = np.random.default_rng(0)
    drawn = [group[rng.integers(0, len(group), (_DRAWS, len(group)))].mean(1) for group in (first, second)]
    low, high = np.quantile(drawn[0] - drawn[1], [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(float(first.mean() - second.mean()), float(low), float(high))


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> Estimate:
    """Spearman's rank correlation with its bootstrap interval over images.

    Images of which either value is NaN are left out. NaN where none is left, or one is the same everywhere.
    """
    from scipy.stats import rankdata

    known = ~(np.isnan(first) | np.isnan(second))
    first, second = first[known], second[known]
    if not len(first):
        return Estimate(float("nan"), float("nan"), float("nan"))
    drawn = np.random.default_rng(0).integers(0, len(first), (2000, len(first)))
    rows = np.concatenate([np.arange(len(first))[None], drawn])
    a, b = (
        ranks - ranks.mean(1, keepdims=True)
        for ranks in (rankdata(first[rows], axis=1), rankdata(second[rows], axis=1))
    )
    scale = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    values = np.divide((a * b).sum(1), scale, out=np.full(len(rows), np.nan), where=scale > 0)
    if np.isnan(values).all():
        return Estimate(float("nan"), float("nan"), float("nan"))
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return Estimate(float(values[0]), float(low), float(high))

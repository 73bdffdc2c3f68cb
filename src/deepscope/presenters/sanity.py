"""The presenter of the sanity check, for `explain evaluate` and the study of saliency maps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deepscope.attributions import SanityCheck
from deepscope.names import counted
from deepscope.results import Block, Column, Curves, Note, Series, Table
from deepscope.statistics import mean

SURVIVAL = (
    "Correlation of each map with that of the trained network, mean over images with its 95 % interval. At the "
    "right end the network is an unrelated one: a map that explains a network falls to that level as soon as the "
    "upper layers are shuffled (Adebayo et al. 2018)."
)
"""What the curves show."""
_TOGETHER = 8
"""Methods in one figure."""


def sanity_metrics(check: SanityCheck, suffix: str = "") -> dict[str, float]:
    """`survival/METHOD`, `unrelated/METHOD` and `sanity-margin/METHOD` with intervals, `sanity/METHOD` 1 or 0."""
    metrics: dict[str, float] = {}
    for name, found in check.found.items():
        metrics |= found.upper.metrics(f"survival/{name}{suffix}")
        metrics |= found.unrelated.metrics(f"unrelated/{name}{suffix}")
        metrics |= found.margin.metrics(f"sanity-margin/{name}{suffix}")
        metrics[f"sanity/{name}{suffix}"] = float(found.verdict == "passes")
    return metrics


def sanity_blocks(check: SanityCheck) -> list[Block]:
    """A table of verdicts, and the curves behind them."""
    columns = tuple(Column(text) for text in ("method", "upper half shuffled", "all shuffled", "margin", "verdict"))
    rows = tuple(
        (name, str(found.upper), str(found.unrelated), str(found.margin), found.verdict)
        for name, found in check.found.items()
    )
    left_out = [
        Note(reason, f"Sanity check, {check.model.name}: {name} does not apply")
        for name, reason in check.refused.items()
    ]
    caption = (
        f"Spearman's rank correlation of a map with the trained network's, on {counted(check.images, 'image')}, each "
        "with its own shuffling. Margin: how far the maps stay above the middle between an unrelated network's map "
        "and the same map while the upper half of the layers is shuffled. Below 0 passes, above fails."
    )
    return [
        Table(columns, rows, title=f"Sanity check, {check.model.name}", caption=caption),
        *_curves(check),
        *left_out,
    ]


def _curves(check: SanityCheck) -> list[Curves]:
    """Few methods in one figure, in the given order; many in several, in that of their margins."""
    methods = list(check.survived)
    count = -(-len(methods) // _TOGETHER)
    size = -(-len(methods) // count)
    if count > 1:
        margins = {name: one.margin.value for name, one in check.found.items()}
        methods.sort(key=lambda name: (math.isnan(margins[name]), margins[name]))
    order = " Methods in the order of their margins in the table: those that pass come first."
    return [
        Curves(
            tuple(_series(name, check.survived[name], check.depths) for name in methods[first : first + size]),
            x_title="fraction of layers with shuffled weights, from the output down",
            y_title="Spearman rank correlation",
            title=f"Survival of the maps, {check.model.name}{f', {number} of {count}' * (count > 1)}",
            caption=SURVIVAL + order * (count > 1),
        )
        for number, first in enumerate(range(0, len(methods), size), 1)
    ]


def _series(name: str, survived: NDArray[np.float64], depths: Sequence[float]) -> Series:
    estimates = [mean(numbers) for numbers in survived]
    value, low, high = (np.array([1.0, *(getattr(one, end) for one in estimates)]) for end in ("value", "low", "high"))
    return Series(name, np.array([0.0, *depths]), value, low, high)

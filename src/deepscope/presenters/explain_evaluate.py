"""How the result of `deepscope explain evaluate` is shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deepscope.attributions import Evaluation, Measurements
from deepscope.attributions.measuring import POINTING, RANK
from deepscope.names import counted
from deepscope.presenters.explained import refused_table
from deepscope.presenters.sanity import sanity_blocks, sanity_metrics
from deepscope.presenters.shown import origin, skipped_blocks
from deepscope.render import presents
from deepscope.results import Block, Cell, Column, Note, Result, Table
from deepscope.statistics import difference, mean


@presents(Evaluation)
def present(found: Evaluation) -> Result:
    """Tables of the measures, the methods in pairs, the sanity check, and the networks in pairs."""
    metrics: dict[str, float] = {}
    blocks: list[Block] = []
    for place, (called, network) in enumerate(zip(found.names, found.networks)):
        prefix = f"{called}/" if place else ""
        metrics[f"{prefix}images"] = len(network.paths)
        for method, of_method in network.values.items():
            for name, numbers in of_method.items():
                metrics |= mean(numbers).metrics(f"{prefix}{name}/{method}")
            metrics[f"{prefix}constant/{method}"] = network.constant[method]
        blocks += [_measures_table(found, network, called), *refused_table(network.model, network.refused)]
        blocks += _left_out_table(network, called)
        blocks.append(_pairs_table(found, network, called))
        if network.sanity:
            metrics |= {f"{prefix}{name}": value for name, value in sanity_metrics(network.sanity).items()}
            blocks += sanity_blocks(network.sanity)
        elif network.unchecked:
            blocks.append(Note(network.unchecked, "The sanity check is left out", "warning"))
    if len(found.networks) == 2:
        compared, table = _networks_table(found)
        metrics |= compared
        blocks.append(table)
    first = found.networks[0]
    models = [network.model for network in found.networks]
    return Result(
        title=f"How far maps of {' and '.join(found.names)} can be trusted",
        metrics=metrics,
        blocks=(*blocks, *skipped_blocks(first.skipped)),
        arrays={
            f"{called}/{name}/{method}": numbers
            for called, network in zip(found.names, found.networks)
            for method, of_method in network.values.items()
            for name, numbers in of_method.items()
        },
        provenance=origin(models, first.paths, first.digests),
    )


def _sign(found: Evaluation, measure: str) -> int:
    """1 where larger values of a measure are better, -1 where smaller ones are."""
    return 1 if measure in (POINTING, RANK) or found.measures[measure].higher_is_better else -1


def _measures_table(found: Evaluation, network: Measurements, called: str) -> Table:
    """Methods by measures, each with its interval."""
    names = list(next(iter(network.values.values())))
    rows: list[tuple[Cell, ...]] = [
        (method, *(str(mean(values[name])) for name in names)) for method, values in network.values.items()
    ]
    rows += [(method, *("not applicable" for _ in names)) for method in network.refused]
    columns = (Column("method"), *(Column(f"{name} {'↑' if _sign(found, name) > 0 else '↓'}") for name in names))
    caption = "Means over images with 95 % bootstrap intervals; ↑ larger is better, ↓ smaller."
    return Table(columns, tuple(rows), title=f"Measures, {called}", caption=caption)


def _left_out_table(network: Measurements, called: str) -> list[Block]:
    """How many images a measure says nothing of; nothing where it applies to all."""
    images = len(network.paths)
    rows: list[tuple[Cell, ...]] = [
        (method, "all measures", count, f"{'the' if count == 1 else 'each'} map is the same everywhere, or not finite")
        for method, count in network.constant.items()
        if count
    ]
    for method, values in network.values.items():
        for name, numbers in values.items():
            count = int(np.isnan(numbers).sum()) - network.constant[method]
            if count:
                rows.append((method, name, count, "it does not apply to these maps or images"))
    if not rows:
        return []
    columns = (Column("method"), Column("measure"), Column("images", "d"), Column("why"))
    caption = f"Of {counted(images, 'image')}. These values are in no mean and no comparison."
    return [Table(columns, tuple(rows), title=f"Left out, {called}", caption=caption)]


def _pairs_table(found: Evaluation, network: Measurements, called: str) -> Table:
    """For each measure, the best method against each other one, image by image."""
    rows: list[tuple[Cell, ...]] = []
    for name in next(iter(network.values.values())):
        numbers = {method: values[name] for method, values in network.values.items()}
        methods = [method for method in found.methods if method in numbers]
        best = max(methods, key=lambda method: _sign(found, name) * mean(numbers[method]).value)
        rows += [(name, best, other, *_difference(numbers[best], numbers[other])) for other in numbers if other != best]
    caption = "Best minus other on the same images; they differ where the interval leaves 0 out."
    columns = (*(Column(text) for text in ("measure", "best", "other")), *_DIFFERENCE)
    return Table(columns, tuple(rows), title=f"In pairs, {called}", caption=caption)


def _networks_table(found: Evaluation) -> tuple[dict[str, float], Table]:
    """The first network minus the second, image by image."""
    first, second = found.networks
    metrics: dict[str, float] = {}
    rows: list[tuple[Cell, ...]] = []
    for method, values in first.values.items():
        for name, numbers in values.items() if method in second.values else ():
            other = second.values[method][name]
            metrics |= difference(numbers, other).metrics(f"difference/{name}/{method}")
            rows.append((method, name, *_difference(numbers, other)))
    columns = (Column("method"), Column("measure"), *_DIFFERENCE)
    title = f"{' minus '.join(found.names)}, image by image"
    return metrics, Table(columns, tuple(rows), title=title)


_DIFFERENCE = (*(Column(text, "+.3f") for text in ("difference", "low", "high")), Column("differs"))


def _difference(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, float, float, str]:
    """The cells of `_DIFFERENCE`."""
    gap = difference(first, second)
    return gap.value, gap.low, gap.high, "yes" if gap.low > 0 or gap.high < 0 else "no"

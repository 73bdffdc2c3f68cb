"""`deepscope explain evaluate`: which maps can be trusted, in numbers."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from deepscope.attributions import Evaluation, Measurements, evaluate
from deepscope.attributions.evaluate import EVALUATED
from deepscope.attributions.measuring import POINTING
from deepscope.commands.command import Command
from deepscope.commands.explained import refused_table
from deepscope.commands.sanity import sanity_blocks, sanity_metrics
from deepscope.commands.shown import origin, skipped_blocks
from deepscope.models import DEFAULT, load_model
from deepscope.render import presents
from deepscope.results import Block, Cell, Column, Result, Table
from deepscope.session import Session
from deepscope.settings import Count
from deepscope.statistics import difference, mean


@dataclass(frozen=True)
class ExplainEvaluate(Command):
    """Measure how far attribution maps can be trusted: faithfulness, stability, and a sanity check.

    Maps are of the predicted class. Random maps are measured alongside: what does not beat them shows nothing. In the
    sanity check a map has to change when the network's upper layers are shuffled.

    Attributes:
        folder: images; or one image file.
        methods: names of methods to measure.
        measures: names of measures, by default all of them.
        boxes: CSV of the objects' boxes (file,left,top,right,bottom, in pixels), for the pointing game.
        model: the classifier; `deepscope models` lists them.
        against: another classifier, measured on the same images and compared in pairs.
        sanity: images of the sanity check; 0 leaves it out.
        limit: images to use, at most, drawn at random.
        batch_size: images at a time; the figures do not depend on it.
    """

    name: ClassVar[str] = "evaluate"
    area: ClassVar[str] = "explain"
    example: ClassVar[str] = "deepscope explain evaluate photos/ --methods saliency,grad-cam --against squeezenet1_0"

    folder: Path
    _: KW_ONLY
    methods: tuple[str, ...] = EVALUATED
    measures: tuple[str, ...] = ()
    boxes: Path | None = None
    model: str = DEFAULT
    against: str | None = None
    sanity: int = 16
    limit: Count | None = None
    batch_size: Count = 16

    def run(self, session: Session) -> Result:
        """Measure every method on every image."""
        return present(
            evaluate(
                load_model(self.model, session),
                self.folder,
                self.methods,
                measures=self.measures,
                boxes=self.boxes,
                against=None if self.against is None else load_model(self.against, session),
                sanity=self.sanity,
                limit=self.limit,
                batch_size=self.batch_size,
                session=session,
            )
        )


@presents(Evaluation)
def present(found: Evaluation) -> Result:
    """Tables of the measures, the methods in pairs, the sanity check, and the networks in pairs."""
    metrics: dict[str, float] = {}
    blocks: list[Block] = []
    for place, network in enumerate(found.networks):
        prefix = f"{network.model.name}/" if place else ""
        metrics[f"{prefix}images"] = len(network.paths)
        for method, of_method in network.values.items():
            for name, numbers in of_method.items():
                metrics |= mean(numbers).metrics(f"{prefix}{name}/{method}")
        blocks += [_measures_table(found, network), *refused_table(network.model, network.refused)]
        blocks.append(_pairs_table(found, network))
        if network.sanity:
            metrics |= {f"{prefix}{name}": value for name, value in sanity_metrics(network.sanity).items()}
            blocks += sanity_blocks(network.sanity)
    if len(found.networks) == 2:
        compared, table = _networks_table(*found.networks)
        metrics |= compared
        blocks.append(table)
    first = found.networks[0]
    models = [network.model for network in found.networks]
    return Result(
        title=f"How far maps of {' and '.join(model.name for model in models)} can be trusted",
        metrics=metrics,
        blocks=(*blocks, *skipped_blocks(first.skipped)),
        arrays={
            f"{network.model.name}/{name}/{method}": numbers
            for network in found.networks
            for method, of_method in network.values.items()
            for name, numbers in of_method.items()
        },
        provenance=origin(models, first.paths, first.digests),
    )


def _sign(found: Evaluation, measure: str) -> int:
    """1 where larger values of a measure are better, -1 where smaller ones are."""
    return 1 if measure == POINTING or found.measures[measure].higher_is_better else -1


def _measures_table(found: Evaluation, network: Measurements) -> Table:
    """Methods by measures, each with its interval."""
    names = list(next(iter(network.values.values())))
    rows: list[tuple[Cell, ...]] = [
        (method, *(str(mean(values[name])) for name in names)) for method, values in network.values.items()
    ]
    rows += [(method, *("not applicable" for _ in names)) for method in network.refused]
    columns = (Column("method"), *(Column(f"{name} {'↑' if _sign(found, name) > 0 else '↓'}") for name in names))
    caption = "Means over images with 95 % bootstrap intervals; ↑ larger is better, ↓ smaller."
    return Table(columns, tuple(rows), title=f"Measures, {network.model.name}", caption=caption)


def _pairs_table(found: Evaluation, network: Measurements) -> Table:
    """For each measure, the best method against each other one, image by image."""
    rows: list[tuple[Cell, ...]] = []
    for name in next(iter(network.values.values())):
        numbers = {method: values[name] for method, values in network.values.items()}
        best = max(
            (method for method in found.methods if method in numbers),
            key=lambda method: _sign(found, name) * mean(numbers[method]).value,
        )
        rows += [(name, best, other, *_difference(numbers[best], numbers[other])) for other in numbers if other != best]
    caption = "Best minus other on the same images; they differ where the interval leaves 0 out."
    columns = (*(Column(text) for text in ("measure", "best", "other")), *_DIFFERENCE)
    return Table(columns, tuple(rows), title=f"In pairs, {network.model.name}", caption=caption)


def _networks_table(first: Measurements, second: Measurements) -> tuple[dict[str, float], Table]:
    """The first network minus the second, image by image."""
    metrics: dict[str, float] = {}
    rows: list[tuple[Cell, ...]] = []
    for method, values in first.values.items():
        for name, numbers in values.items() if method in second.values else ():
            other = second.values[method][name]
            metrics |= difference(numbers, other).metrics(f"difference/{name}/{method}")
            rows.append((method, name, *_difference(numbers, other)))
    columns = (Column("method"), Column("measure"), *_DIFFERENCE)
    title = f"{first.model.name} minus {second.model.name}, image by image"
    return metrics, Table(columns, tuple(rows), title=title)


_DIFFERENCE = (*(Column(text, "+.3f") for text in ("difference", "low", "high")), Column("differs"))


def _difference(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, float, float, str]:
    """The cells of `_DIFFERENCE`."""
    gap = difference(first, second)
    return gap.value, gap.low, gap.high, "yes" if gap.low > 0 or gap.high < 0 else "no"

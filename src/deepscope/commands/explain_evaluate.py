"""`deepscope explain evaluate`: which maps can be trusted, in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from deepscope.attributions import Attribution
from deepscope.attributions.faithfulness import Measure
from deepscope.commands.command import Command
from deepscope.commands.explain_compare import named_methods
from deepscope.commands.explained import Photos, read_photos
from deepscope.commands.faithfulness import CHANCE, POINTING, measure, read_boxes
from deepscope.commands.sanity import check_sanity
from deepscope.commands.shown import provenance, skipped_blocks
from deepscope.errors import DeepscopeError
from deepscope.models import DEFAULT, VisionModel, load_model
from deepscope.results import Block, Cell, Column, Result, Table
from deepscope.session import Session
from deepscope.settings import Count
from deepscope.statistics import difference, mean

Values = Mapping[str, Mapping[str, NDArray[np.float64]]]
"""Method -> measure -> (N,) values."""


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
    methods: tuple[str, ...] = ("saliency", "smooth-grad", "integrated-gradients", "guided-backpropagation", "grad-cam")
    measures: tuple[str, ...] = ()
    boxes: Path | None = None
    model: str = DEFAULT
    against: str | None = None
    sanity: int = 16
    limit: Count | None = None
    batch_size: Count = 16

    def run(self, session: Session) -> Result:
        """Measure every method on every image."""
        methods, measures = named_methods(self.methods), named_measures(self.measures)
        if self.sanity < 0:
            raise DeepscopeError("--sanity is a number of images, or 0")
        models = [load_model(name, session) for name in (self.model, *([self.against] if self.against else []))]
        metrics: dict[str, float] = {}
        blocks: list[Block] = []
        found: list[Values] = []
        seen = [read_photos(m, [self.folder], session, batch_size=self.batch_size, limit=self.limit) for m in models]
        for model, photos in zip(models, seen):
            prefix = "" if model is models[0] else f"{model.name}/"
            values = self._measured(model, photos, methods, measures, session)
            found.append(values)
            metrics |= {f"{prefix}images": len(photos.paths)}
            for method, of_method in values.items():
                for name, numbers in of_method.items():
                    metrics |= mean(numbers).metrics(f"{prefix}{name}/{method}")
            blocks += [measures_table(model, values), pairs_table(model, values)]
            if self.sanity:
                few = photos[range(min(self.sanity, len(photos.paths)))]
                checked = check_sanity(methods, model, few, session)
                metrics |= {f"{prefix}{name}": value for name, value in checked.metrics().items()}
                blocks += checked.blocks()
        if len(models) == 2:
            compared, table = networks_table(models, found)
            metrics |= compared
            blocks.append(table)
        blocks += skipped_blocks(seen[0].skipped)
        return Result(
            title=f"How far maps of {' and '.join(model.name for model in models)} can be trusted",
            metrics=metrics,
            blocks=tuple(blocks),
            arrays={
                f"{model.name}/{name}/{method}": numbers
                for model, values in zip(models, found)
                for method, of_method in values.items()
                for name, numbers in of_method.items()
            },
            provenance=provenance(models, seen[0].paths),
        )

    def _measured(
        self,
        model: VisionModel,
        photos: Photos,
        methods: Sequence[Attribution],
        measures: Sequence[Measure],
        session: Session,
    ) -> Values:
        inside = None if self.boxes is None else read_boxes(self.boxes, model, photos)
        found: dict[str, dict[str, NDArray[np.float64]]] = {}
        for method in (*methods, None):
            values = measure(method, model, photos, measures, session, batch_size=self.batch_size, inside=inside)
            found[CHANCE if method is None else method.name] = values
        return found


def named_measures(names: Sequence[str]) -> list[Measure]:
    """Measures by name, with their default settings; all where none is named.

    Raises:
        DeepscopeError: no measure has that name.
    """
    wanted = [part for text in names for part in text.replace(",", " ").split()]
    return list(dict.fromkeys(Measure.named(name) for name in wanted or Measure.members()))


def better(name: str) -> int:
    """1 where larger values of a measure are better, -1 where smaller ones are."""
    return 1 if name == POINTING or Measure.member(name).higher_is_better else -1


def measures_table(model: VisionModel, values: Values) -> Table:
    """Methods by measures, each with its interval."""
    names = list(next(iter(values.values())))
    rows = tuple((method, *(str(mean(found[name])) for name in names)) for method, found in values.items())
    columns = (Column("method"), *(Column(f"{name} {'↑' if better(name) > 0 else '↓'}") for name in names))
    caption = "Means over images with 95 % bootstrap intervals; ↑ larger is better, ↓ smaller."
    return Table(columns, rows, title=f"Measures, {model.name}", caption=caption)


def pairs_table(model: VisionModel, values: Values) -> Table:
    """For each measure, the best method against each other one, image by image."""
    rows: list[tuple[Cell, ...]] = []
    for name in next(iter(values.values())):
        methods = [method for method in values if method != CHANCE]
        best = max(methods, key=lambda method: better(name) * mean(values[method][name]).value)
        for other in values:
            if other != best:
                gap = difference(values[best][name], values[other][name])
                differs = gap.low > 0 or gap.high < 0
                rows.append((name, best, other, gap.value, gap.low, gap.high, "yes" if differs else "no"))
    columns = (
        *(Column(text) for text in ("measure", "best", "other")),
        *(Column(text, "+.3f") for text in ("difference", "low", "high")),
        Column("differs"),
    )
    caption = "Best minus other on the same images; they differ where the interval leaves 0 out."
    return Table(columns, tuple(rows), title=f"In pairs, {model.name}", caption=caption)


def networks_table(models: Sequence[VisionModel], found: Sequence[Values]) -> tuple[dict[str, float], Table]:
    """The first network minus the second, image by image."""
    first, second = found
    metrics: dict[str, float] = {}
    rows: list[tuple[Cell, ...]] = []
    for method, values in first.items():
        for name, numbers in values.items():
            gap = difference(numbers, second[method][name])
            metrics |= gap.metrics(f"difference/{name}/{method}")
            rows.append((method, name, gap.value, gap.low, gap.high, "yes" if gap.low > 0 or gap.high < 0 else "no"))
    columns = (
        *(Column(text) for text in ("method", "measure")),
        *(Column(text, "+.3f") for text in ("difference", "low", "high")),
        Column("differs"),
    )
    return metrics, Table(columns, tuple(rows), title=f"{models[0].name} minus {models[1].name}, image by image")

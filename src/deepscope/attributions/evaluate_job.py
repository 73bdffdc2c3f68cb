"""`explain evaluate` as a job in parts: measures of the maps of any number of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from deepscope.attributions.attribution import Attribution
from deepscope.attributions.evaluate import EVALUATED
from deepscope.attributions.faithfulness import Measure
from deepscope.attributions.measuring import CHANCE, NOTHING, Batch, measured
from deepscope.attributions.naming import as_measures, as_methods, labels
from deepscope.batch import Job, Rows, Tally, alone, rng_of, scored, together
from deepscope.batch.job import Columns, Run
from deepscope.inputs import Photos, Read
from deepscope.models import VisionModel
from deepscope.models.capabilities import SCORES, require
from deepscope.session import Session


@dataclass(frozen=True)
class ExplainEvaluateJob(Job):
    """One row per image and method, with a column per measure; the method "random" is the baseline.

    Attributes:
        methods: attribution methods, by name or with their settings; all must apply to the model.
        measures: of their maps of the predicted class; all where none is named.
    """

    name: ClassVar[str] = "explain evaluate"
    usual: ClassVar[int] = 16

    methods: tuple[Attribution | str, ...] = EVALUATED
    measures: tuple[Measure | str, ...] = ()

    def columns(self) -> Columns:
        """A value is empty where the map is the same everywhere, or not finite."""
        measures = labels(as_measures(self.measures))
        return {"method": "string", "class": "string", **dict.fromkeys(measures, "float64"), "constant": "bool"}

    def open(self, model: VisionModel, session: Session) -> Run:
        """Single images on a CPU, some at once elsewhere."""
        require(model, "explain evaluate", SCORES)
        chosen, measures = as_methods(self.methods), as_measures(self.measures)
        for method in chosen:
            method.require(model)
        methods = {**dict(zip(labels(chosen), chosen)), CHANCE: None}
        size = alone(session, self.batch_size)

        def run(batch: Read) -> Rows:
            photos = scored(model, batch, session, size)
            found, tally = list[tuple[int, dict[str, Any]]](), Tally()
            for some in together(
                range(len(photos)), size, lambda own: _some(methods, measures, photos[own], session, tally)
            ):
                found += some
            return Rows.of(self.columns(), found, tally)

        return run

    def metrics(self, tally: Tally) -> Mapping[str, float]:
        """The mean of each measure and method, and how many maps show nothing."""
        found = {key: value for name in tally.sums for key, value in tally.mean(name).metrics(name).items()}
        return {**found, **{name: number for name, number in tally.counts.items() if name.startswith("constant/")}}


def _some(
    methods: Mapping[str, Attribution | None],
    measures: Sequence[Measure],
    photos: Photos,
    session: Session,
    tally: Tally,
) -> list[tuple[int, dict[str, Any]]]:
    """The rows of images that are measured together, image by image."""
    batch = Batch(photos, draws=partial(rng_of, session, photos.digests))
    values = {label: measured(method, batch, measures, session) for label, method in methods.items()}
    rows: list[tuple[int, dict[str, Any]]] = []
    for place, image in enumerate(photos.rows):
        for label, own in values.items():
            constant = bool(own[NOTHING][place])
            tally.count(f"constant/{label}", constant)
            said = {name: None if constant else float(own[name][place]) for name in own if name != NOTHING}
            for name, value in said.items():
                if value is not None:
                    tally.measure(f"{name}/{label}", value)
            predicted = photos.model.categories[int(photos.predicted[place])]
            rows.append((image, {"method": label, "class": predicted, "constant": constant, **said}))
    return rows

"""What slices are found by, as a job in parts: features, properties and the answer of each of any number of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from deepscope.batch import Job, Rows, Tally, alone, scored
from deepscope.batch.job import Columns, Run
from deepscope.features.job import FeaturesJob
from deepscope.inputs import Read
from deepscope.models import VisionModel
from deepscope.models.capabilities import RGB, require, require_one_class
from deepscope.session import Session
from deepscope.shortcuts.properties import MEASURED, measured
from deepscope.statistics import proportion


@dataclass(frozen=True)
class SlicesJob(Job):
    """One row per image: features, properties, the class that it shows, and whether the prediction is right."""

    name: ClassVar[str] = "slices"
    usual: ClassVar[int] = 256

    def columns(self) -> Columns:
        """`corners` are grey levels of the windows that are compared between images."""
        return {
            "class": "string",
            "right": "bool",
            "features": "list<float32>",
            "properties": "list<float64>",
            "corners": "list<uint8>",
        }

    def open(self, model: VisionModel, session: Session) -> Run:
        """Two forward passes, up to the layer and to the scores: single images on a CPU, equal batches elsewhere."""
        require_one_class(model, "slices")
        require(model, "slices", RGB)
        features, size = FeaturesJob(self.model, self.batch_size).open(model, session), alone(session, self.batch_size)

        def run(batch: Read) -> Rows:
            photos, tally = scored(model, batch, session, size), Tally()
            vectors = features(batch).columns["features"]
            found = list[tuple[int, Mapping[str, Any]]]()
            for row, (answer, right) in enumerate(zip(photos.answers, photos.correct, strict=True)):
                own = measured(batch.sources[row])
                found.append(
                    (
                        row,
                        {
                            "class": model.categories[min(answer)] if answer else None,
                            "right": right,
                            "features": vectors[row],
                            "properties": own[: len(MEASURED)].numpy(),
                            "corners": own[len(MEASURED) :].to(torch.uint8).numpy(),
                        },
                    )
                )
                if right is not None:
                    tally.count("known")
                    tally.count("right", right)
            return Rows.of(self.columns(), found, tally)

        return run

    def metrics(self, tally: Tally) -> Mapping[str, float]:
        """The accuracy."""
        return proportion(tally["right"], tally["known"]).metrics("accuracy") if tally["known"] else {}

"""`explain` as a job in parts: attribution maps of any number of images, and what can be said of each map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from deepscope.attributions.attribution import Attribution, per_pixel
from deepscope.attributions.explain import asked, attribute, classes_of
from deepscope.attributions.naming import as_method
from deepscope.attributions.targets import Question, Target
from deepscope.batch import Job, Rows, Tally, alone, rng_of, scored, together
from deepscope.batch.job import Columns, Run
from deepscope.inputs import Photos, Read
from deepscope.models import VisionModel
from deepscope.session import Session


@dataclass(frozen=True)
class ExplainJob(Job):
    """One row per image and class: the class, its probability, and what the map shows.

    Attributes:
        method: the attribution method.
        target, versus, top: as `explain`.
    """

    name: ClassVar[str] = "explain"
    usual: ClassVar[int] = 64

    method: Attribution | str = "grad-cam"
    target: Target | None = None
    versus: Target | None = None
    top: int | None = None

    def columns(self) -> Columns:
        """With `keep_arrays` also the maps, row by row, with their sides; of three channels their sum."""
        return {
            "class": "string",
            "probability": "float32",
            "predicted": "bool",
            "versus": "string",
            "total": "float32",
            "smallest": "float32",
            "largest": "float32",
            "peak_row": "int32",
            "peak_column": "int32",
            "concentration": "float32",
            **({"map": "list<float32>", "height": "int32", "width": "int32"} if self.keep_arrays else {}),
        }

    def open(self, model: VisionModel, session: Session) -> Run:
        """Maps of single images on a CPU, of some at once elsewhere; the scores are computed as `classify` does."""
        method = as_method(self.method)
        question = asked(model, method, session, target=self.target, versus=self.versus, top=self.top)
        size = alone(session, self.batch_size)

        def run(batch: Read) -> Rows:
            photos = scored(model, batch, session, size)
            rows = range(len(photos))
            parts = together(rows, size, lambda own: self._some(method, question, photos[own], session))
            return Rows.joined(self.columns(), list(parts))

        return run

    def _some(self, method: Attribution, question: Question | None, photos: Photos, session: Session) -> Rows:
        """The rows of images that are explained together."""
        model, tally, against = photos.model, Tally(), None
        if question is None:
            chosen = classes_of(photos, self.top)
        else:
            photos, ones, against = question.ask(photos)
            chosen = [[label] for label in ones]
            tally.count("unexplained", len(photos.skipped))
        rows = [row for row, labels in enumerate(chosen) for _ in labels]
        labels = [label for own in chosen for label in own]
        if not rows:
            return Rows([], {name: [] for name in self.columns()}, tally)
        rng = rng_of(session, [photos.digests[row] for row in rows], "explain", method.name)
        other = None if against is None else torch.tensor(against)
        maps = attribute(
            method, model, photos.pixels[rows], torch.tensor(labels), versus=other, rng=rng, batch_size=len(rows)
        )
        columns: dict[str, list[Any]] = {
            "class": [model.categories[label] for label in labels],
            "probability": [float(photos.probabilities[row, label]) for row, label in zip(rows, labels)],
            "predicted": [bool(photos.predictions[row, label]) for row, label in zip(rows, labels)],
            "versus": [None] * len(rows) if against is None else [model.categories[label] for label in against],
        }
        said = [_said(one, keep=self.keep_arrays) for one in per_pixel(maps)]
        columns |= {name: [one[name] for one in said] for name in said[0]}
        for place, row in enumerate(rows):
            tally.count("maps")
            tally.count("constant", said[place]["smallest"] == said[place]["largest"])
            tally.measure("concentration", said[place]["concentration"])
            score, name = said[place]["concentration"], columns["class"][place]
            tally.example(
                score, photos.digests[row], photos.paths[row], f"{name}: {score:.3f} in a tenth of the pixels"
            )
        return Rows([photos.rows[row] for row in rows], columns, tally)

    def metrics(self, tally: Tally) -> Mapping[str, float]:
        """How many maps there are, and how concentrated they are."""
        counts = {name: tally[name] for name in ("maps", "constant", "unexplained")}
        return {**counts, **tally.mean("concentration").metrics("concentration")}

    def telling(self) -> str:
        """The most concentrated maps."""
        return "Most concentrated maps"


def _said(one: Tensor, *, keep: bool) -> dict[str, Any]:
    """What an (H, W) map shows: sum, extremes, and the share of its mass in the strongest tenth of its pixels."""
    flat, width = one.double().flatten(), one.shape[1]
    place, mass = int(flat.argmax()), flat.abs()
    tenth = mass.topk(max(1, len(flat) // 10)).values.sum() / mass.sum() if float(mass.sum()) > 0 else torch.nan
    found: dict[str, Any] = {
        "total": float(flat.sum()),
        "smallest": float(flat.min()),
        "largest": float(flat.max()),
        "peak_row": place // width,
        "peak_column": place % width,
        "concentration": float(tenth),
    }
    if keep:
        found |= {"map": one.float().flatten().numpy(), "height": one.shape[0], "width": width}
    return found

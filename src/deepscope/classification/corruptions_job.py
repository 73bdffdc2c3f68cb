"""Accuracy on corrupted images as a job in parts, of any number of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image

from deepscope import images
from deepscope.batch import Job, Rows, Tally, alone, scored
from deepscope.batch.job import Columns, Run
from deepscope.data.corruptions import SIDE, Corruption, shrunk
from deepscope.errors import SettingError
from deepscope.inputs import Photos, Read
from deepscope.models import VisionModel
from deepscope.models.capabilities import RGB, SCORES, require
from deepscope.session import Session
from deepscope.statistics import proportion

CLEAN = "none"
"""Name of the rows of images as they are, their shorter side at most 256 pixels; their severity is 0."""


@dataclass(frozen=True)
class CorruptionsJob(Job):
    """One row per image, corruption and severity: the predicted class, and whether the prediction is right.

    What is drawn for an image follows from the seed, the corruption, the severity and the image's pixels.

    Attributes:
        severities: from 1 to 5.
    """

    name: ClassVar[str] = "corruptions"
    usual: ClassVar[int] = 32

    severities: tuple[int, ...] = (1, 2, 3, 4, 5)

    def columns(self) -> Columns:
        """The severity of the image as it is is 0."""
        return {
            "corruption": "string",
            "severity": "int32",
            "label": "string",
            "probability": "float32",
            "right": "bool",
        }

    def open(self, model: VisionModel, session: Session) -> Run:
        """Every corruption of single images on a CPU, of equal batches elsewhere."""
        require(model, "corruptions", RGB)
        require(model, "corruptions", SCORES)
        if not self.severities:
            raise SettingError("severities", "must hold at least one number from 1 to 5")
        grades = [
            replace(Corruption.named(name), severity=severity)
            for name in Corruption.members()
            for severity in sorted(set(self.severities))
        ]
        size = alone(session, self.batch_size)

        def run(batch: Read) -> Rows:
            originals = [shrunk(images.decode(source, at_least=SIDE)) for source in _sources(batch)]
            seen = [(CLEAN, 0, _seen(model, batch, originals, session, size))]
            for grade in grades:
                damaged = [grade.applied(image, session) for image in originals]
                seen.append((grade.name, grade.severity, _seen(model, batch, damaged, session, size)))
            return Rows.of(self.columns(), _rows(seen), _tally(seen))

        return run

    def metrics(self, tally: Tally) -> Mapping[str, float]:
        """As `check corruptions`: the accuracy by corruption and severity, and the mean over all of them."""
        known, found = tally["known"], dict[str, float]()
        for name, number in tally.counts.items():
            if name.startswith("right/"):
                found |= proportion(number, known).metrics(f"accuracy/{name.removeprefix('right/')}")
        return {**found, **tally.mean("corrupted").metrics("accuracy/corrupted")} if known else {}

    def telling(self) -> str:
        """Images that are right until they are damaged."""
        return "Images that are classified correctly as they are, and most often not when they are damaged"


def _sources(batch: Read) -> list[images.Source]:
    """The images themselves: corruptions are applied before they are resized for the network."""
    return [source for source in batch.sources if not isinstance(source, torch.Tensor)]


def _seen(model: VisionModel, batch: Read, shown: list[Image.Image], session: Session, size: int) -> Photos:
    pixels = torch.stack([model.preprocessing(image) for image in shown])
    return scored(model, replace(batch, pixels=pixels), session, size)


def _rows(seen: list[tuple[str, int, Photos]]) -> list[tuple[int, dict[str, Any]]]:
    rows: list[tuple[int, dict[str, Any]]] = []
    for name, severity, photos in seen:
        best = photos.probabilities.max(1)
        for row, (label, probability, right) in enumerate(zip(best.indices, best.values, photos.correct, strict=True)):
            said = {"label": photos.model.categories[int(label)], "probability": float(probability), "right": right}
            rows.append((row, {"corruption": name, "severity": severity, **said}))
    return rows


def _tally(seen: list[tuple[str, int, Photos]]) -> Tally:
    tally, (clean, *damaged) = Tally(), [photos.correct for _, _, photos in seen]
    photos = seen[0][2]
    for row, right in enumerate(clean):
        if right is None:
            continue
        tally.count("known")
        tally.count("right/clean", right)
        for (name, severity, _), correct in zip(seen[1:], damaged, strict=True):
            tally.count(f"right/{name}/{severity}", bool(correct[row]))
        left = float(np.mean([bool(correct[row]) for correct in damaged]))
        tally.measure("corrupted", left)
        if right:
            text = f"right in {100 * left:.0f} % of its {len(damaged)} damaged states"
            tally.example(1 - left, photos.digests[row], photos.paths[row], text)
    return tally

"""Images read and classified for the explain commands, and how their maps are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deepscope import images
from deepscope.attributions import Attribution, per_pixel
from deepscope.commands.shown import picture
from deepscope.errors import DeepscopeError
from deepscope.inputs import right_answers
from deepscope.models import VisionModel
from deepscope.models.prediction import forward, nothing_readable
from deepscope.results import GridCell, Heatmap
from deepscope.session import Session


@dataclass(frozen=True)
class Photos:
    """N images as a model sees them, and what it says about them.

    Attributes:
        paths: their files.
        pixels: (N, 3, H, W) in [0, 1], on the CPU.
        probabilities: (N, C), on the CPU.
        answers: the right classes of each; empty where nothing says what it shows.
        skipped: what could not be read.
    """

    paths: tuple[Path, ...]
    pixels: Tensor
    probabilities: Tensor
    answers: tuple[frozenset[int], ...]
    skipped: tuple[images.Skipped, ...] = ()

    def __getitem__(self, rows: Sequence[int]) -> Photos:
        """Some of them, without what was skipped."""
        at = torch.tensor(rows, dtype=torch.long)
        paths, answers = tuple(self.paths[row] for row in rows), tuple(self.answers[row] for row in rows)
        return Photos(paths, self.pixels[at], self.probabilities[at], answers)

    @property
    def predicted(self) -> Tensor:
        """(N,) most probable classes."""
        return self.probabilities.argmax(1)

    @property
    def correct(self) -> list[bool | None]:
        """Whether each prediction is right; None where the truth is not known."""
        return [label in answer if answer else None for label, answer in zip(self.predicted.tolist(), self.answers)]

    def true_class(self, index: int) -> int | None:
        """The right class, the most probable one where several are right; None where it is not known."""
        return max(self.answers[index], key=lambda label: float(self.probabilities[index, label]), default=None)

    def said(self, model: VisionModel, index: int) -> str:
        """The true class, where known, and the predicted one with its probability."""
        label, true = int(self.predicted[index]), self.true_class(index)
        predicted = f"{model.categories[label]} ({float(self.probabilities[index, label]):.2f})"
        return f"predicted {predicted}" if true is None else f"{model.categories[true]} · predicted {predicted}"


def read_photos(
    model: VisionModel,
    named: Sequence[str | Path],
    session: Session,
    *,
    batch_size: int,
    limit: int | None = None,
    below: Sequence[str | Path] = (),
) -> Photos:
    """Read and classify the images below the named files and folders, or `limit` of them drawn at random.

    Args:
        model: a classifier.
        named: image files and folders.
        session: precision, and the seed of the draw.
        batch_size: images per forward pass.
        limit: how many, at most.
        below: folders of class folders that named files come from.

    Raises:
        DeepscopeError: the model has no class layer, a setting is out of range, or no image could be read.
    """
    model.require_classes()
    if batch_size < 1 or (limit is not None and limit < 1):
        raise DeepscopeError("--batch-size and --limit are at least 1")
    found = images.find(named)
    files = session.some(found.paths, limit)
    rows, pixels, probabilities, skipped = [], [], [], list(found.skipped)
    for batch in images.stream(files, model.preprocessing, batch_size=batch_size):
        skipped.extend(batch.skipped)
        if batch.rows:
            rows.extend(batch.rows)
            pixels.append(batch.pixels)
            probabilities.append(forward(model, batch.pixels, session).softmax(1))
    if not rows:
        raise DeepscopeError(nothing_readable(skipped))
    paths = tuple(files[row] for row in rows)
    answers = tuple(right_answers(model, paths, [*named, *below]))
    return Photos(paths, torch.cat(pixels), torch.cat(probabilities), answers, tuple(skipped))


def explain(
    method: Attribution,
    model: VisionModel,
    pixels: Tensor,
    target: Tensor,
    session: Session,
    *,
    batch_size: int,
    text: str = "",
) -> Tensor:
    """A method's maps of many images, on the CPU, in batches that do not change them.

    Args:
        pixels: (N, 3, H, W) on any device.
        target: (N,) class indices.
        text: names the progress bar.
    """
    rng, maps = session.rng("explain", method.name), []
    with session.progress(text or method.name, total=len(pixels)) as advance:
        for part, classes in zip(pixels.split(batch_size), target.split(batch_size)):
            maps.append(method(model, part.to(model.device), classes.to(model.device), rng=rng).cpu())
            advance(len(part))
    return torch.cat(maps)


def heat(method: Attribution, attribution: Tensor, *, over: Tensor | None = None, caption: str = "") -> Heatmap:
    """One image's (H, W) or (3, H, W) attribution as a heatmap, its scale from the 99th percentile.

    Args:
        over: (3, H, W) pixels to lay the map over.
    """
    values = per_pixel(attribution[None])[0].double().numpy()
    if not values.any():
        caption = f"{caption}: 0 everywhere" if caption else "0 everywhere"
    top = float(np.quantile(np.abs(values), 0.99)) or float(np.abs(values).max()) or 1.0
    return Heatmap(
        values,
        caption=caption,
        over=None if over is None else picture(over).pixels,
        signed=method.signed,
        low=-top if method.signed else 0.0,
        high=top,
    )


def image_cell(model: VisionModel, photos: Photos, index: int) -> GridCell:
    """The image with its file's name, its true and its predicted class."""
    return picture(photos.pixels[index], caption=f"{photos.paths[index].name} · {photos.said(model, index)}")

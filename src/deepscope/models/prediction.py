"""Classifying many images: streamed, in batches that shrink where memory is short."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepscope import images
from deepscope.errors import DeepscopeError, out_of_memory
from deepscope.models.vision_model import VisionModel
from deepscope.session import Session


@dataclass(frozen=True)
class Predictions:
    """What a model says about a list of images.

    Attributes:
        rows: (n,) places in the list of the images that could be read.
        logits: (n, C) float32, on the CPU.
        pixels: (3, H, W) in [0, 1] of the first of these images, as many as were to be kept.
        skipped: the images that could not be read, and why.
    """

    rows: tuple[int, ...]
    logits: Tensor
    pixels: tuple[Tensor, ...]
    skipped: tuple[images.Skipped, ...]

    @property
    def probabilities(self) -> Tensor:
        """(n, C), softmax of the logits."""
        return self.logits.softmax(1)


def predict(
    model: VisionModel, sources: Sequence[images.Source], session: Session, *, batch_size: int = 32, keep: int = 0
) -> Predictions:
    """Classify images in one pass over them. Memory does not grow with their number, but for the logits.

    Args:
        model: a classifier.
        sources: images.
        session: precision and progress.
        batch_size: images per forward pass.
        keep: images whose pixels are kept, for a figure: by then a file may be gone.

    Raises:
        DeepscopeError: the model has no class layer, or no image could be read.
    """
    model.require_classes()
    rows: list[int] = []
    logits: list[Tensor] = []
    pixels: list[Tensor] = []
    skipped: list[images.Skipped] = []
    with session.progress("classifying", total=len(sources)) as advance:
        for batch in images.stream(sources, model.preprocessing, batch_size=batch_size):
            skipped.extend(batch.skipped)
            advance(len(batch.rows) + len(batch.skipped))
            if batch.rows:
                rows.extend(batch.rows)
                pixels.extend(image.clone() for image in batch.pixels[: max(keep - len(pixels), 0)])
                logits.append(forward(model, batch.pixels, session))
    if not rows:
        raise DeepscopeError(nothing_readable(skipped))
    return Predictions(tuple(rows), torch.cat(logits), tuple(pixels), tuple(skipped))


def forward(model: VisionModel, pixels: Tensor, session: Session) -> Tensor:
    """(N, 3, H, W) pixels -> (N, C) float32 logits on the CPU, without a graph, in the session's precision."""
    enabled = session.precision == "bfloat16"

    def run(part: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(model.device.type, torch.bfloat16, enabled=enabled):
            return model(part.to(model.device)).float().cpu()

    return in_parts(run, pixels)


def in_parts(run: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """`run` on the whole batch, or on ever smaller parts of it while memory runs out.

    Raises:
        DeepscopeError: memory does not suffice for a single image.
    """
    size = len(pixels)
    while True:
        try:
            return torch.cat([run(part) for part in pixels.split(max(size, 1))])
        except Exception as error:
            if not out_of_memory(error):
                raise
            size = smaller(size)


def smaller(size: int) -> int:
    """Half a batch for which memory did not suffice.

    Raises:
        DeepscopeError: it was a single image.
    """
    if size <= 1:
        raise DeepscopeError("not even one image fits into memory: choose a smaller model or --device cpu") from None
    return size // 2


def nothing_readable(skipped: Sequence[images.Skipped]) -> str:
    """The one line for when every image was bad: the first reason, and how many share its fate."""
    if not skipped:
        return "no image was given: name at least one file or folder"
    rest = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
    return f"no image could be read: {skipped[0].path}: {skipped[0].reason}{rest}"

"""Patches of images around the positions of a layer, and what the layer holds at each position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.models import VisionModel
from deepscope.models.batching import batches
from deepscope.models.feature_map import as_map
from deepscope.session import Session

_BATCH = 16
_MOST = 10_000
"""Positions that are kept: enough to factorise, and memory does not grow with the size of the map."""


@dataclass(frozen=True)
class Patch:
    """A part of an image.

    Attributes:
        image: the image's row.
        box: left, top, right, bottom in pixels.
    """

    image: int
    box: tuple[int, int, int, int]

    @classmethod
    def at(cls, image: int, values: NDArray[np.float32], size: Sequence[int], share: float) -> Patch:
        """The part of an image around the largest of (h, w) values, inside the image.

        Args:
            image: its row.
            values: of the positions of a layer.
            size: height and width of the image.
            share: side of the patch, as a share of the image's.
        """
        peak = np.unravel_index(int(values.argmax()), values.shape)
        spans = []
        for place, count, whole in zip(peak, values.shape, size):
            own = max(1, round(whole * share))
            start = min(max(round((int(place) + 0.5) * whole / count - own / 2), 0), whole - own)
            spans.append((start, start + own))
        (top, bottom), (left, right) = spans
        return cls(image, (left, top, right, bottom))

    def of(self, pixels: Tensor) -> Tensor:
        """The part of (..., H, W) pixels of the image."""
        left, top, right, bottom = self.box
        return pixels[..., top:bottom, left:right]


def position_vectors(
    model: VisionModel, layer: str, pixels: Tensor, rows: Sequence[int], session: Session
) -> NDArray[np.float32]:
    """(positions, channels) output of a layer at positions of some images, drawn at random where there are many.

    Args:
        model: a network.
        layer: a layer with a feature map.
        pixels: (N, C, H, W) of all images.
        rows: the images to use.
        session: progress, and the seed of the draw.

    Raises:
        SettingError: the layer gives no feature map.
    """
    rng, each = session.rng("positions"), max(1, _MOST // len(rows))

    def run(part: slice) -> Tensor:
        given = pixels[list(rows[part])].to(model.device).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            maps = as_map(model, layer, model.activations(given, [layer])[layer], given).flatten(2).float().cpu()
        kept = [one[:, torch.randperm(one.shape[1], generator=rng)[:each]].T for one in maps]
        return torch.cat(kept)

    found: list[Tensor] = []
    with session.progress("activations", total=len(rows)) as advance:
        for part, vectors in batches(len(rows), run, size=_BATCH):
            found.append(vectors)
            advance(part.stop - part.start)
    return torch.cat(found).numpy()

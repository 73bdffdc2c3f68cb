"""Parts shared by the presenters of `gan`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from deepscope.gans import GAN, sheet
from deepscope.results import Picture, Provenance, Series

_SPIKE = 5
"""The largest value of a curve, in medians, above which it has spikes."""


def cells(images: Tensor, columns: int, *, captions: Sequence[str] | None = None) -> tuple[tuple[Picture, ...], ...]:
    """(N, C, H, W) uint8 as rows of pictures."""
    pictures = [
        Picture(sheet(image[None], columns=1), caption=captions[row] if captions else "")
        for row, image in enumerate(images)
    ]
    return tuple(tuple(pictures[first : first + columns]) for first in range(0, len(pictures), columns))


def scale_of(series: Sequence[Series]) -> Literal["linear", "log"]:
    """The scale on which a few spikes of a loss or of a gradient leave the rest of the curve to be seen."""
    values = np.concatenate([one.y for one in series]).astype(np.float64)
    finite = values[np.isfinite(values)]
    spiky = bool(finite.size) and finite.min() > 0 and finite.max() > _SPIKE * np.median(finite)
    return "log" if spiky else "linear"


def pixel_array(images: Tensor) -> NDArray[np.uint8]:
    """(N, C, H, W) -> (N, H, W, C)."""
    return images.permute(0, 2, 3, 1).contiguous().numpy()


def generated_by(gan: GAN) -> Provenance:
    """The generator's weights and its training data."""
    return Provenance(models={gan.name: gan.fingerprint}, data=f"a generator trained on {gan.data}")

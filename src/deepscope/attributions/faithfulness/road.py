"""ROAD: does the class survive when the most important pixels are removed and filled in from their neighbours?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.attributions.attribution import image_seeds
from deepscope.attributions.engine import batches, scores
from deepscope.attributions.faithfulness.measure import Explanation, Measure
from deepscope.settings import Range

_WEIGHTS = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]]) / 12
"""Of the eight neighbours that a pixel is the mean of."""


@dataclass(frozen=True)
class ROAD(Measure):
    """Share of the steps at which the class is still predicted while the most important pixels are removed.

    It is predicted where the head says so: of classes that exclude each other, the most probable one; of labels that
    an image may have several of, each above its threshold.

    Removed pixels are filled in by noisy linear imputation: each is the weighted mean of its eight neighbours, with a
    little noise. Unlike a constant colour, that hides which pixels are missing. Small is faithful.

    Rong et al. 2022, "A Consistent and Efficient Evaluation Strategy for Attribution Methods".

    Attributes:
        removed: shares of the pixels that are removed, one step each.
        noise: standard deviation of the noise.
    """

    higher_is_better: ClassVar[bool] = False

    removed: tuple[Annotated[float, Range(most=1, above=True, below=True)], ...] = (0.1, 0.3, 0.5, 0.7)
    noise: float = 0.01

    @torch.no_grad()
    def __call__(self, given: Explanation) -> Tensor:
        """(N,) shares in [0, 1]."""
        steps = len(self.removed)
        orders = given.maps.flatten(1).argsort(dim=1, descending=True, stable=True).cpu().numpy()
        seeds = image_seeds(len(given.pixels), steps, given.rng)

        def survives(rows: slice) -> Tensor:
            parts = []
            for row in range(rows.start, rows.stop):
                image, step = divmod(row, steps)
                missing = np.zeros(orders.shape[1], dtype=bool)
                missing[orders[image, : int(orders.shape[1] * self.removed[step])]] = True
                parts.append(self._filled(given.pixels[image], missing, int(seeds[image, step])))
            images = torch.arange(rows.start, rows.stop, device=given.pixels.device) // steps
            predicted = given.model.head.predictions(scores(given.model, torch.stack(parts), given.fast))
            return predicted.gather(1, given.target[images, None])[:, 0]

        found = [part for _, part in batches(len(orders) * steps, given.pixels.device, survives)]
        return torch.cat(found).view(-1, steps).to(given.maps).mean(1)

    def _filled(self, pixels: Tensor, missing: NDArray[np.bool_], seed: int) -> Tensor:
        """A (3, H, W) image whose missing pixels are imputed."""
        hole = missing.reshape(pixels.shape[1:])
        found = torch.from_numpy(impute(pixels.cpu().double().numpy(), hole))
        noise = torch.randn(found.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return (found + self.noise * noise * torch.from_numpy(hole)).to(pixels)


def impute(pixels: NDArray[np.float64], hole: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Fill the hole of a (C, H, W) image: each missing pixel is the weighted mean of its neighbours.

    Args:
        pixels: the image.
        hole: (H, W) where it is missing; at least one pixel is not.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.linalg import splu

    if not hole.any():
        return pixels
    count = int(hole.sum())
    number = np.full(np.add(hole.shape, 2), -1)
    number[1:-1, 1:-1][hole] = np.arange(count)
    padded = np.pad(pixels, ((0, 0), (1, 1), (1, 1)))
    diagonal, known = np.zeros(count), np.zeros((count, len(pixels)))
    entries = [(np.arange(count), np.arange(count), diagonal)]
    for weight, inside, y, x in _neighbours(hole):
        diagonal += weight * inside
        other = number[y, x]
        entries.append((np.flatnonzero(other >= 0), other[other >= 0], np.full((other >= 0).sum(), -weight)))
        known += weight * ((other < 0) & inside)[:, None] * padded[:, y, x].T
    rows, columns, values = (np.concatenate(part) for part in zip(*entries))
    system = coo_array((values, (rows, columns)), shape=(count, count)).tocsc()
    symmetric = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}}
    filled = pixels.copy()
    filled[:, hole] = splu(system, **symmetric).solve(known).T
    return filled


_Neighbour = tuple[float, NDArray[np.bool_], NDArray[np.int_], NDArray[np.int_]]
"""A weight; of each missing pixel, whether it has that neighbour; and where, in an image padded by 1, that is."""


def _neighbours(hole: NDArray[np.bool_]) -> Iterator[_Neighbour]:
    """The eight neighbours of all missing pixels."""
    ys, xs = np.nonzero(hole)
    height, width = hole.shape
    for (row, column), weight in np.ndenumerate(_WEIGHTS):
        if weight:
            y, x = ys + row, xs + column
            yield float(weight), (y > 0) & (y <= height) & (x > 0) & (x <= width), y, x

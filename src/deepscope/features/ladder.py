"""Batches of fewer images than usual, with the bits of whole batches and without padding where that is proven.

Libraries choose their kernels by the size of a batch, so the last bits of an image's features may depend on how many
images are computed with it. Every batch therefore had one size, the last one filled up. The kernels change at a few
sizes only (with EfficientNet-Lite0 in float32: between 1 and 2 images with two threads, between 15 and 16 with one), so
most smaller sizes give the bits of the whole batch. The ladder finds out which.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from deepscope.models.engines import Run
from deepscope.models.measured import Kept


class Ladder:
    """A function whose rows have the bits that they have in a batch of `full` rows, for any number of rows up to it.

    Fewer rows are cut into rungs: a half of the batch, a quarter, and so on to one row. A rung is used once it has
    given the bits of the whole batch, on this machine and network and for this shape of images. Until then the rows
    are computed in a filled-up batch, and the rung is tried on the last rows of it, at least one of which is noise.
    Verdicts are kept in the cache. A rung that differs is never used: the next larger one is filled up.

    Args:
        run: (N, ...) -> (N, K), computed on this machine.
        full: rows of a whole batch.
        kept: verdicts of this network, machine and shape.
        of: what runs the network; verdicts are kept under this name.
    """

    def __init__(self, run: Run, full: int, kept: Kept, *, of: str) -> None:
        self._run, self._full, self._kept, self._of = run, full, kept, f"ladder-{of}-{full}"
        self._same = {int(size): bool(same) for size, same in kept.known(self._of).items()}

    def __call__(self, rows: Tensor) -> Tensor:
        """(N, ...) with N from 1 to `full` -> (N, K)."""
        if len(rows) == self._full:
            return self._run(rows)
        plan = list(self._plan(len(rows)))
        if unproven := {size for size in plan if size not in self._same} - {self._full}:
            return self._proving(rows, unproven)
        found, start = [], 0
        for size in plan:
            part = rows[start : start + size]
            missing = size - len(part)
            filled = functional.pad(part, (0, 0) * (part.ndim - 1) + (0, missing)) if missing else part
            found.append(self._run(filled)[: len(part)])
            start += size
        return torch.cat(found)

    def _plan(self, count: int) -> Iterator[int]:
        """Sizes of the batches that `count` rows are cut into; only the last may be larger than what is left."""
        rungs = [self._full >> half for half in range(1, self._full.bit_length())]
        usable = [self._full, *(size for size in rungs if self._same.get(size, True))]
        while count > 0:
            size = next((size for size in usable if size <= count), usable[-1])
            yield size
            count -= size

    def _proving(self, rows: Tensor, sizes: set[int]) -> Tensor:
        filled = torch.cat([rows, _noise(self._full - len(rows), rows)])
        whole = self._run(filled)
        for size in sizes:
            self._same[size] = torch.equal(self._run(filled[-size:]), whole[-size:])
        self._kept.keep(self._of, {str(size): float(same) for size, same in self._same.items()})
        return whole[: len(rows)]


def _noise(count: int, like: Tensor) -> Tensor:
    """Rows of the same kind, each another one: uint8 levels, or floats from 0 to 1."""
    noise = torch.rand(count, *like.shape[1:], generator=torch.Generator().manual_seed(0))
    return (noise * 255).to(like.dtype) if like.dtype == torch.uint8 else noise.to(like)

"""`Streamed`: features of more images than memory holds, read block by block as often as a head needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from deepscope.batch.rows import BLOCK, regrouped

_SAMPLE = 8192
"""Rows, at most, whose scores without themselves are kept, and on which the SVM's C is chosen."""
_SCORES = 2**24
"""Scores of such rows, at most."""
_EACH = 5
"""Rows of every class that are always among them."""


@dataclass(frozen=True, eq=False)
class Streamed:
    """(N, D) features with their labels.

    Attributes:
        labels: (N,) int64, every class from 0 to C - 1 among them.
        read: gives the features from the first to the last row, in blocks of any size.
        sample: rows that stand for all of them, in order: see `Fitted.out_of_fold`.
    """

    labels: Tensor
    read: Callable[[], Iterator[Tensor]]
    sample: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        """C."""
        return int(self.labels.max()) + 1

    @classmethod
    def of(cls, features: Tensor, labels: Tensor) -> Streamed:
        """Features that are in memory; all rows are the sample."""
        return cls(labels, lambda: iter(features.split(BLOCK)), torch.arange(len(labels)))

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Rows, and their (n, D) float64 features, `BLOCK` at a time."""
        for rows, block in regrouped(part.numpy() for part in self.read()):
            yield rows, torch.from_numpy(block).double()

    def sampled(self) -> Tensor:
        """(n, D) float32 features of the sample.

        They are written to one tensor: small ones that stay between the blocks would keep the memory of the blocks.
        """
        found, start = torch.empty(0, 0), 0
        for rows, x in self.blocks():
            own = self.sample_in(rows)
            found = found if len(found) else torch.empty(len(self.sample), x.shape[1])
            found[start : start + len(own)] = x[own - rows.start]
            start += len(own)
        return found

    def sample_in(self, rows: slice) -> Tensor:
        """Rows of the sample among consecutive rows."""
        first, last = torch.searchsorted(self.sample, torch.tensor([rows.start, rows.stop])).tolist()
        return self.sample[first:last]


def drawn(labels: Tensor) -> Tensor:
    """Rows that stand for all: every k-th of each class, and the first few of each class; all where they are few."""
    classes = int(labels.max()) + 1
    most = max(_EACH * classes, min(_SAMPLE, _SCORES // classes))
    step = -(-len(labels) // most)
    order = labels.argsort(stable=True)
    counts = labels.bincount()
    place = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[order]]
    return order[(place % step == 0) | (place < _EACH)].sort().values if step > 1 else torch.arange(len(labels))

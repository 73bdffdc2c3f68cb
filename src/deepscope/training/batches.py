"""Which rows each step trains on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deepscope.session import Session


@dataclass
class Shuffled:
    """A data set's rows in a new random order each epoch; an incomplete last batch is dropped.

    The rows of a step follow from its number alone: a resumed training needs no state of its data.

    Attributes:
        size: rows of the data set, at least 1.
        batch_size: rows per step; a smaller data set gives all its rows each step.
        session: its seed decides the order.
        stream: data sets with different names are shuffled independently.
    """

    size: int
    batch_size: int
    session: Session
    stream: str = ""

    def __post_init__(self) -> None:
        self.batch_size = min(self.batch_size, self.size)
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return self.size // self.batch_size

    def __call__(self, step: int) -> Tensor:
        """(batch_size,) int64 row numbers of that step of the training."""
        epoch, place = divmod(step, self.steps)
        if epoch != self._epoch:
            rng = self.session.rng("order", self.stream, epoch)
            self._epoch, self._order = epoch, torch.randperm(self.size, generator=rng)
        return self._order[place * self.batch_size : (place + 1) * self.batch_size]

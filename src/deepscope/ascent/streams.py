"""Random numbers that belong to a row, whatever batch it comes in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class RowGenerators(torch.Generator):
    """A generator for each row of a batch, in the place of one that all rows draw from in turn.

    The draws of a row are then its own, whichever rows it is computed with: `rows_of` gives the row its generator.

    Args:
        rows: the generator of each row.
    """

    rows: Sequence[torch.Generator]

    def __new__(cls, rows: Sequence[torch.Generator]) -> RowGenerators:
        """PyTorch's own takes a device."""
        made = super().__new__(cls)
        made.rows = rows
        return made

    def __init__(self, rows: Sequence[torch.Generator]) -> None:
        super().__init__()


def rows_of(rng: torch.Generator, count: int) -> Sequence[torch.Generator]:
    """What each of `count` rows draws its seed from, in order: the same generator, unless each has its own."""
    if not isinstance(rng, RowGenerators):
        return [rng] * count
    if len(rng.rows) == 1:
        return [rng.rows[0]] * count
    if len(rng.rows) != count:
        raise ValueError(f"{count} rows draw from the generators of {len(rng.rows)}")
    return rng.rows


def of_rows(rng: torch.Generator, rows: Iterable[int]) -> torch.Generator:
    """What some of the rows draw from: the same generator, unless each has its own."""
    return RowGenerators([rng.rows[row] for row in rows]) if isinstance(rng, RowGenerators) else rng


@dataclass(frozen=True)
class Streams:
    """One generator per row, so that its draws depend neither on its neighbours nor on which rows have finished.

    The generators live on the CPU: the same seed gives the same numbers on every device.
    """

    generators: tuple[torch.Generator, ...]

    @classmethod
    def split(cls, rng: torch.Generator, count: int) -> Streams:
        """`count` streams from `rng`; two calls for 2 and 3 rows give the streams of one call for 5."""
        seeds = [int(torch.randint(2**62, (), generator=own)) for own in rows_of(rng, count)]
        return cls(tuple(torch.Generator().manual_seed(seed) for seed in seeds))

    @property
    def position(self) -> Tensor:
        """(N, bytes) uint8: the state of every stream, to resume from."""
        return torch.stack([generator.get_state() for generator in self.generators])

    def rewind(self, position: Tensor) -> None:
        """Put every stream where it stood when `position` was read."""
        for generator, state in zip(self.generators, position, strict=True):
            generator.set_state(state.clone())  # it reads from the start of the storage, so a slice would not do

    def uniform(self, rows: Tensor, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(n, *shape) float32 numbers in [low, high), one row for each of `rows` (n,), on its device."""
        drawn = [torch.rand(shape, generator=self.generators[row]) for row in rows.tolist()]
        return torch.stack(drawn).to(rows.device) * (high - low) + low

    def normal(self, rows: Tensor, *shape: int) -> Tensor:
        """(n, *shape) float32 standard normal numbers."""
        drawn = [torch.randn(shape, generator=self.generators[row]) for row in rows.tolist()]
        return torch.stack(drawn).to(rows.device)

    def integers(self, rows: Tensor, high: int, *shape: int) -> Tensor:
        """(n, *shape) int64 numbers from 0 to high - 1."""
        drawn = [torch.randint(high, shape, generator=self.generators[row]) for row in rows.tolist()]
        return torch.stack(drawn).to(rows.device)

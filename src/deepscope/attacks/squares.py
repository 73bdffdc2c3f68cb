"""The random squares of the Square attack: in Linf of extreme values, in L2 and L1 bumps that share the length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from deepscope.ascent import L1Ball, Streams
from deepscope.ascent.loop import State
from deepscope.attacks.base import length
from deepscope.attacks.grid import rounded, rounded_within


class Squares(Protocol):
    """Candidates of a random search."""

    def first(self, pixels: Tensor, rows: Tensor) -> Tensor:
        """(n, 3, H, W) the first candidates for images in some rows (n,)."""
        ...

    def next(self, pixels: Tensor, best: Tensor, rows: Tensor, side: int) -> Tensor:
        """(n, 3, H, W) candidates that differ from the best in a square of that side."""
        ...


@dataclass(frozen=True)
class Extreme:
    """Squares in which each channel changes by the whole radius, up or down.

    Attributes:
        streams: one per image.
        radius: largest change of a channel.
        levels: see `rounded`.
    """

    streams: Streams
    radius: float
    levels: int

    def first(self, pixels: Tensor, rows: Tensor) -> Tensor:
        """Vertical stripes."""
        stripes = self.streams.integers(rows, 2, pixels.shape[1], 1, pixels.shape[3]).to(pixels) * 2 - 1
        return rounded((pixels + self.radius * stripes).clamp(0, 1), self.levels)

    def next(self, pixels: Tensor, best: Tensor, rows: Tensor, side: int) -> Tensor:
        """One square with a random sign per channel."""
        channels, height, width = pixels.shape[1:]
        corner = self.streams.uniform(rows, 2) * torch.tensor([height - side + 1, width - side + 1]).to(pixels)
        signs = self.streams.integers(rows, 2, channels, 1, 1).to(pixels) * 2 - 1
        tried = best.clone()
        for i, (top, left) in enumerate(corner.long().tolist()):
            window = (slice(None), slice(top, top + side), slice(left, left + side))
            tried[i][window] = (pixels[i][window] + self.radius * signs[i]).clamp(0, 1)
        return rounded(tried, self.levels)


@dataclass(frozen=True)
class Bumps:
    """Squares with two bumps of opposite signs, which get the length that another square gives up.

    Attributes:
        streams: one per image.
        radius: length of the whole change.
        levels: see `rounded`.
        norm: in which it is measured.
    """

    streams: Streams
    radius: float
    levels: int
    norm: Literal["l1", "l2"]

    def first(self, pixels: Tensor, rows: Tensor) -> Tensor:
        """Tiles of bumps over the whole image, five to a side."""
        channels, height, width = pixels.shape[1:]
        side = max(1, min(height, width) // 5)
        down, across = height // side, width // side
        signs = self.streams.integers(rows, 2, channels, down, across).to(pixels) * 2 - 1
        tiles = torch.kron(signs, bumps(side).to(pixels))
        change = torch.zeros_like(pixels)
        top, left = (height - down * side) // 2, (width - across * side) // 2
        change[:, :, top : top + down * side, left : left + across * side] = tiles
        return self._within(pixels, change)

    def next(self, pixels: Tensor, best: Tensor, rows: Tensor, side: int) -> Tensor:
        """A square gets new bumps beside what it held, and the length of a second one, which becomes empty."""
        channels, height, width = pixels.shape[1:]
        side = min(max(side, 3) | 1, height, width)
        places = self.streams.uniform(rows, 4).cpu()
        corner = (places * torch.tensor([height - side + 1, width - side + 1] * 2)).long().tolist()
        signs = self.streams.integers(rows, 2, channels, 1, 1).to(pixels) * 2 - 1
        turned = self.streams.integers(rows, 2, 1).flatten().tolist()
        pattern, change = bumps(side).to(pixels), best - pixels
        power = 2 if self.norm == "l2" else 1
        whole = length(change, self.norm)
        for i, (top, left, second_top, second_left) in enumerate(corner):
            here = (slice(None), slice(top, top + side), slice(left, left + side))
            there = (slice(None), slice(second_top, second_top + side), slice(second_left, second_left + side))
            own = change[i]
            both = torch.zeros_like(own)
            both[here], both[there] = own[here], own[there]
            held = both.abs().pow(power).sum((1, 2), keepdim=True)
            old = own[here] / own[here].norm(power).clamp_min(1e-12)
            fresh = signs[i] * (pattern.T if turned[i] else pattern) + old
            spare = (self.radius**power - whole[i] ** power).clamp_min(0) / channels
            size = (held + spare) ** (1 / power)
            fresh = fresh * size / fresh.abs().pow(power).sum((1, 2), keepdim=True).pow(1 / power).clamp_min(1e-12)
            own[there] = 0
            own[here] = fresh
        return self._within(pixels, change)

    def _within(self, pixels: Tensor, change: Tensor) -> Tensor:
        """The images with changes of just that length, as a file holds them."""
        if self.norm == "l1":
            every = torch.arange(len(pixels), device=pixels.device)
            none = torch.zeros_like(pixels[:, 0, 0, 0])
            state = State(0, every, pixels, none, none, none.bool())
            moved = L1Ball(pixels, self.radius)(pixels + change, state)
        else:
            far = length(change, "l2").clamp_min(1e-12).view(-1, 1, 1, 1)
            moved = (pixels + change * self.radius / far).clamp(0, 1)
        return rounded_within(moved, pixels, self.radius, self.levels, self.norm)


def bumps(side: int) -> Tensor:
    """(side, side) two bumps of opposite signs, one above the other, of Euclidean length 1 together."""
    upper = _bump(side // 2, side)
    pattern = torch.cat([upper, -_bump(side - side // 2, side)])
    return pattern / pattern.norm()


def _bump(height: int, width: int) -> Tensor:
    """Nested rectangles around the middle, each of a weight that falls with its size."""
    found = torch.zeros(height, width)
    middle_y, middle_x = height // 2, width // 2
    for ring in range(max(height // 2, width // 2) + 1):
        rows = slice(max(middle_y - ring, 0), min(middle_y + ring + 1, height))
        columns = slice(max(middle_x - ring, 0), min(middle_x + ring + 1, width))
        found[rows, columns] += 1 / (ring + 1) ** 2
    return found

"""From gradient to change: the update rules of `ascend`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from deepscope.ascent.loop import Memory, State, UpdateRule

Size: TypeAlias = "float | Callable[[State], float | Tensor]"
"""How long a step is: a number, or a schedule that gives a number, or one (n,) for each row, from the state."""


def cosine(first: float, steps: int) -> Callable[[State], float]:
    """A schedule that falls from `first` to 0 over `steps` along a cosine."""
    return lambda state: first * (1 + math.cos(math.pi * state.step / steps)) / 2


class _Memoryless:
    def begin(self, _: Tensor, /) -> Memory:
        """No memory."""
        return ()


@dataclass(frozen=True)
class Plain(_Memoryless):
    """size x gradient."""

    size: Size

    def __call__(self, gradient: Tensor, state: State, memory: Memory, /) -> tuple[Tensor, Memory]:
        """The change and the new memory."""
        return _length(self.size, state) * gradient, memory


@dataclass(frozen=True)
class Sign(_Memoryless):
    """size x sign(gradient): the steepest ascent where the largest change of any pixel counts (Linf)."""

    size: Size

    def __call__(self, gradient: Tensor, state: State, memory: Memory, /) -> tuple[Tensor, Memory]:
        """The change and the new memory."""
        return _length(self.size, state) * gradient.sign(), memory


@dataclass(frozen=True)
class Normalised(_Memoryless):
    """size x gradient / its L2 norm, row by row; a row without a gradient stays where it is."""

    size: Size

    def __call__(self, gradient: Tensor, state: State, memory: Memory, /) -> tuple[Tensor, Memory]:
        """The change and the new memory."""
        norm = gradient.flatten(1).norm(dim=1).clamp_min(torch.finfo(gradient.dtype).tiny)
        return _length(self.size, state) * gradient / _as_column(norm, gradient), memory


@dataclass(frozen=True)
class Momentum:
    """Another update rule, given the decayed sum of gradients, each divided by its L1 norm (Dong et al. 2018)."""

    then: UpdateRule
    decay: float = 1.0

    def begin(self, points: Tensor, /) -> Memory:
        """The sum, and the memory of the other rule."""
        return (torch.zeros_like(points), *self.then.begin(points))

    def __call__(self, gradient: Tensor, state: State, memory: Memory, /) -> tuple[Tensor, Memory]:
        """The change and the new memory."""
        total, *rest = memory
        norm = gradient.abs().flatten(1).sum(1).clamp_min(torch.finfo(gradient.dtype).tiny)
        total = self.decay * total + gradient / _as_column(norm, gradient)
        change, rest = self.then(total, state, tuple(rest))
        return change, (total, *rest)


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015), uphill."""

    size: Size
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def begin(self, points: Tensor, /) -> Memory:
        """The running mean of gradients and of their squares."""
        return torch.zeros_like(points), torch.zeros_like(points)

    def __call__(self, gradient: Tensor, state: State, memory: Memory, /) -> tuple[Tensor, Memory]:
        """The change and the new memory."""
        slow, fast = self.betas[1], self.betas[0]
        mean = fast * memory[0] + (1 - fast) * gradient
        square = slow * memory[1] + (1 - slow) * gradient.square()
        count = state.step + 1
        root = (square / (1 - slow**count)).sqrt() + self.epsilon
        return _length(self.size, state) * (mean / (1 - fast**count)) / root, (mean, square)


def _length(size: Size, state: State) -> float | Tensor:
    length = size(state) if callable(size) else size
    return _as_column(length, state.points) if isinstance(length, Tensor) else length


def _as_column(values: Tensor, like: Tensor) -> Tensor:
    """(n,) -> (n, 1, ..., 1), to multiply the rows of `like`."""
    return values.to(like).view(-1, *[1] * (like.ndim - 1))

"""Gradient reversal, and the schedules of its factor and of the learning rate."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return inputs.view_as(inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * -ctx.factor, None


def reverse(inputs: Tensor, factor: float) -> Tensor:
    """The inputs unchanged; on the way back their gradient is multiplied by -factor.

    Ganin and Lempitsky, "Unsupervised Domain Adaptation by Backpropagation", ICML 2015.
    """
    return _Reversal.apply(inputs, factor)  # type: ignore[return-value]


def ramp(progress: float, *, steepness: float = 10.0) -> float:
    """2 / (1 + exp(-10 p)) - 1: the factor of Ganin and Lempitsky, from 0 towards 1 as p goes from 0 to 1."""
    return 2 / (1 + math.exp(-steepness * progress)) - 1


def inverse_decay(progress: float) -> float:
    """1 / (1 + 10 p)^0.75: what the learning rate is multiplied by in Ganin and Lempitsky."""
    return (1 + 10 * progress) ** -0.75

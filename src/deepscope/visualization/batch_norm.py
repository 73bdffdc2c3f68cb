"""The distance of activations from the statistics of batch normalisation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from deepscope.errors import UnsupportedError


class StatisticsDistance:
    """Reads the inputs of every batch normalisation while the network runs (DeepInversion, Yin et al. 2020).

    For each channel of each layer, the mean and the variance over all images of the batch and their positions are
    compared with the running statistics: squared difference of means in units of the running variance, and a quarter
    of the squared difference of the logarithms of variances.
    """

    def __init__(self) -> None:
        self._distances: list[Tensor] = []

    def take(self) -> Tensor:
        """() the distance of the batch that ran last: mean over channels, then weighted mean over layers.

        Weights fall linearly from the first layer to the last: what all photographs share is known early in a
        network, while images of some classes are right to differ from the mean of all classes late in it.
        """
        distances, self._distances = torch.stack(self._distances), []
        weights = torch.arange(len(distances), 0, -1).to(distances)
        return weights @ distances / weights.sum()

    def _read(self, module: _BatchNorm, inputs: tuple[Any, ...]) -> None:
        values = inputs[0].movedim(1, -1).flatten(0, -2)
        values = values.float() if values.dtype == torch.bfloat16 else values
        assert module.running_mean is not None
        assert module.running_var is not None
        mean, variance = _Moments.apply(values)
        usual = module.running_var + module.eps
        shift = (mean - module.running_mean).square() / usual
        spread = ((variance + module.eps) / usual).log().square()
        self._distances.append((shift + spread / 4).mean())


class _Moments(torch.autograd.Function):
    """(n, C) -> mean and variance (C,). `torch.var_mean` costs five times as much, more than the network it watches."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> tuple[Tensor, Tensor]:
        mean = values.mean(0)
        ctx.save_for_backward(values, mean)
        return mean, (values.square().mean(0) - mean.square()).clamp_min(0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (values, mean), (of_mean, of_variance) = ctx.saved_tensors, gradients
        return (values * (2 * of_variance) + (of_mean - 2 * of_variance * mean)) / len(values)


@contextmanager
def statistics_distance(network: nn.Module) -> Iterator[StatisticsDistance]:
    """While the block runs, every forward pass of `network` is read; afterwards its hooks are gone.

    Raises:
        UnsupportedError: the network has no batch normalisation that kept statistics.
    """
    layers = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    if not layers:
        raise UnsupportedError(
            "this network has no batch normalisation, whose statistics the recipe matches: use another recipe",
            what="batch_norm",
        )
    distance = StatisticsDistance()
    handles = [layer.register_forward_pre_hook(distance._read) for layer in layers]
    try:
        yield distance
    finally:
        for handle in handles:
            handle.remove()

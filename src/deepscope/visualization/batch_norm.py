"""How far an image's activations are from what batch normalisation saw in training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from deepscope.errors import InputError


class StatisticsDistance:
    """Reads the inputs of every batch normalisation while the network runs (DeepInversion, Yin et al. 2020).

    For each channel of each layer, the mean and the variance over an image's positions are compared with the running
    statistics: squared difference of means in units of the running variance, and a quarter of the squared difference
    of the logarithms of variances. The paper compares a whole batch; here every image answers for itself, so that it
    does not depend on which others it is made with.
    """

    def __init__(self) -> None:
        self._distances: list[Tensor] = []

    def take(self) -> Tensor:
        """(n,) the distance of the images that ran last: mean over channels, then weighted mean over layers.

        Weights fall linearly from the first layer to the last: what all photographs share is known early in a
        network, while an image of one class is right to differ from the mean of all classes late in it.
        """
        distances, self._distances = torch.stack(self._distances), []
        weights = torch.arange(len(distances), 0, -1).to(distances)
        return weights @ distances / weights.sum()

    def _read(self, module: _BatchNorm, inputs: tuple[Any, ...]) -> None:
        values = inputs[0].flatten(2)
        values = values.float() if values.dtype == torch.bfloat16 else values
        assert module.running_mean is not None
        assert module.running_var is not None
        variance, mean = torch.var_mean(values, 2, correction=0)
        usual = module.running_var + module.eps
        shift = (mean - module.running_mean).square() / usual
        spread = ((variance + module.eps) / usual).log().square()
        self._distances.append((shift + spread / 4).mean(1))


@contextmanager
def statistics_distance(network: nn.Module) -> Iterator[StatisticsDistance]:
    """While the block runs, every forward pass of `network` is read; afterwards its hooks are gone.

    Raises:
        InputError: the network has no batch normalisation that kept statistics.
    """
    layers = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    if not layers:
        raise InputError("this network has no batch normalisation to match statistics of: leave --batch-norm at 0")
    distance = StatisticsDistance()
    handles = [layer.register_forward_pre_hook(distance._read) for layer in layers]
    try:
        yield distance
    finally:
        for handle in handles:
            handle.remove()

"""Batch normalisation of a batch that holds two domains: the source's rows, then the target's."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

Sizes: TypeAlias = "tuple[int, int]"
"""Rows of the source and of the target in a joined batch."""

Statistics: TypeAlias = Literal["none", "batch", "domain"]
"""Whose statistics batch normalisation takes: none is done; the joined batch's; each domain's own."""

SOURCE, TARGET = 0, 1

_EPSILON = 1e-5


class DomainNorm(nn.Module):
    """Batch normalisation whose scale and shift are shared and whose statistics are each domain's own.

    Li et al., "Revisiting Batch Normalization For Practical Domain Adaptation", 2016.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, statistics: Statistics, *, momentum: float = 0.1) -> None:
        super().__init__()
        self.statistics, self.momentum = statistics, momentum
        if statistics != "none":
            self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
            self.register_buffer("mean", torch.zeros(2, channels))
            self.register_buffer("variance", torch.ones(2, channels))

    def forward(self, inputs: Tensor, sizes: Sizes) -> Tensor:
        """(N, C, ...) -> the same shape."""
        if self.statistics == "none":
            return inputs
        if self.statistics == "batch":
            return self._normalise(inputs, SOURCE)
        parts = [self._normalise(part, domain) for domain, part in enumerate(inputs.split(sizes)) if len(part)]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    @torch.no_grad()
    def fold(self, layer: nn.Conv2d | nn.Linear, domain: int) -> None:
        """Put this normalisation, as it is in eval mode for one domain, into the weights of the layer before it."""
        if self.statistics == "none":
            return
        row = domain if self.statistics == "domain" else SOURCE
        scale = self.weight / (self.variance[row] + _EPSILON).sqrt()
        assert layer.bias is not None
        layer.weight.mul_(scale.view(-1, *[1] * (layer.weight.ndim - 1)))
        layer.bias.sub_(self.mean[row]).mul_(scale).add_(self.bias)

    def _normalise(self, inputs: Tensor, domain: int) -> Tensor:
        mean, variance = self.mean[domain], self.variance[domain]
        return functional.batch_norm(
            inputs, mean, variance, self.weight, self.bias, self.training, self.momentum, _EPSILON
        )

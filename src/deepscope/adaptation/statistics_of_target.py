"""Batch statistics of the target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deepscope.adaptation.tuning import (
    Proposal,
    Target,
    Tuning,
    batch_norms,
    batch_statistics,
    copied,
    require_batch_norms,
)
from deepscope.models import VisionModel
from deepscope.settings import PositiveShare


@dataclass(frozen=True)
class Statistics(Tuning):
    """Batch normalisation with the mean and variance of the target's images (Schneider et al. 2020).

    Nothing is trained. A head that was fitted on features with the source's statistics may lose accuracy: a small `mix`
    limits that.

    Attributes:
        mix: share of the target's statistics; the rest are those that the model has.
    """

    mix: PositiveShare = 1.0

    def require(self, model: VisionModel) -> None:
        """It needs batch normalisation."""
        require_batch_norms(model, self.name)

    def propose(self, source: Proposal, target: Target) -> Iterator[Proposal]:
        """One model."""
        made = copied(source.model)
        estimate(made, target, mix=self.mix)
        yield target.proposal(f"{self.name}, mix {self.mix:g}", made)


@torch.no_grad()
def estimate(model: VisionModel, target: Target, *, mix: float = 1.0) -> None:
    """Replace the running statistics of the model's batch normalisation by the means over the target's batches.

    As PyTorch's layers do in train mode with momentum None; all other layers stay in eval mode. Each layer's inputs are
    those that the layers below it give with the statistics of the same batch.
    """
    layers = batch_norms(model.network)
    before = [(*_statistics(layer), layer.momentum) for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    with batch_statistics(model.network):
        for rows in target.session.track(target.parts(), "estimating statistics"):
            model(target.batch(rows))
    for layer, (mean, variance, momentum) in zip(layers, before, strict=True):
        layer.get_buffer("running_mean").lerp_(mean, 1 - mix)
        layer.get_buffer("running_var").lerp_(variance, 1 - mix)
        layer.momentum = momentum


def _statistics(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Copies of a layer's running mean and variance."""
    return layer.get_buffer("running_mean").clone(), layer.get_buffer("running_var").clone()

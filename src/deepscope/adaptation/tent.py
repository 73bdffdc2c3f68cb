"""Test-time entropy minimisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from deepscope.adaptation.statistics_of_target import estimate
from deepscope.adaptation.tuning import (
    Proposal,
    Target,
    Tuning,
    batch_norms,
    batch_statistics,
    copied,
    norms,
    require_gradient,
    require_norms,
)
from deepscope.models import VisionModel
from deepscope.settings import Count, Positive
from deepscope.training import Moment, Update, fit


@dataclass(frozen=True)
class Tent(Tuning):
    """Train the scales and shifts of normalisation layers to make predictions certain (TENT, Wang et al. 2021).

    Batch normalisation uses the statistics of each batch. At the end its running statistics are estimated on the
    target, since the model is then used on images one by one.

    Attributes:
        epochs: passes over the images; the paper has one.
        rate: learning rate of Adam.
    """

    epochs: Count = 1
    rate: Positive = 1e-3

    def require(self, model: VisionModel) -> None:
        """It needs normalisation layers."""
        require_norms(model, self.name)

    def propose(self, source: Proposal, target: Target) -> Iterator[Proposal]:
        """One model."""
        made = copied(source.model)
        step, rows = TentStep(made, self.rate), target.rows()

        def batch(moment: Moment) -> Tensor:
            return target.batch(moment.share(rows(moment.step)))

        fit(step, batch, steps=self.epochs * rows.steps, session=target.session)
        made.network.eval().requires_grad_(False)
        if batch_norms(made.network):
            estimate(made, target)
        yield target.proposal(self.name, made)


class TentStep:
    """One step of TENT, for `training.fit`."""

    def __init__(self, model: VisionModel, rate: float) -> None:
        self._model = model
        parameters = [parameter.requires_grad_(True) for parameter in norms(model.network)]
        self._optimiser = torch.optim.Adam(parameters, rate)

    @property
    def parts(self) -> Mapping[str, nn.Module | Optimizer]:
        """The network and the optimiser."""
        return {"network": self._model.network, "optimiser": self._optimiser}

    def __call__(self, batch: Tensor, moment: Moment, update: Update) -> Mapping[str, Tensor]:
        """Descend the mean entropy of the predictions for (N, C, H, W) pixels."""
        with batch_statistics(self._model.network):
            loss = uncertainty(self._model.probabilities(self._model(batch)))
            require_gradient(loss, self._model)
            update(loss, self._optimiser)
        return {"entropy": loss}


def uncertainty(probabilities: Tensor) -> Tensor:
    """The mean entropy of (N, C) probabilities, in nats."""
    return -torch.xlogy(probabilities, probabilities.clamp(min=1e-12)).sum(1).mean()


def diversity(probabilities: Tensor) -> Tensor:
    """The entropy of the mean of (N, C) probabilities, in nats: 0 where all images get one class."""
    mean = probabilities.mean(0)
    return -torch.xlogy(mean, mean.clamp(min=1e-12)).sum()

"""Pseudo-labels from a moving-average teacher."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import get_ema_multi_avg_fn

from deepscope.adaptation.adaptation import Adaptation, Seen, nothing
from deepscope.adaptation.domain_norm import TARGET
from deepscope.adaptation.networks import DomainNetwork
from deepscope.training import Moment


@dataclass(frozen=True)
class PseudoLabels(Adaptation):
    """Confident predictions of a moving-average teacher become the target's labels.

    Lee, "Pseudo-Label", 2013; Tarvainen and Valpola, "Mean teachers", 2017; French et al., "Self-ensembling for
    visual domain adaptation", 2018. The teacher's input is weakly augmented, the student's strongly.

    Attributes:
        confidence: least probability of a pseudo-label by the teacher.
        decay: of the moving average, per step; less in the first steps.
        warmup: share of the training before pseudo-labels are used.
        weight: of their loss.
    """

    confidence: float = 0.9
    decay: float = 0.999
    warmup: float = 0.1
    weight: float = 1.0

    def begin(self, network: DomainNetwork) -> nn.Module:
        """The teacher."""
        return copy.deepcopy(network).requires_grad_(False)

    def loss(self, seen: Seen, own: nn.Module) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Cross-entropy on the confident targets, divided by all of them; also the share of confident ones."""
        if seen.moment.progress < self.warmup:
            return nothing(seen), {}
        with torch.no_grad():
            _, logits = own.eval()(seen.weak, TARGET)
            confidence, labels = logits.softmax(1).max(1)
        confident = (confidence >= self.confidence).float()
        losses = functional.cross_entropy(seen.target.logits, labels, reduction="none")
        loss = self.weight * (losses * confident).mean()
        return loss, {"loss/pseudo-labels": loss, "pseudo-labels/coverage": confident.mean()}

    @torch.no_grad()
    def after(self, network: DomainNetwork, own: nn.Module, moment: Moment) -> None:
        """The teacher's weights move towards the student's; its statistics, moving averages already, are copied."""
        young = (1 + moment.step) / (
            10 + moment.step
        )  # otherwise it would stay near its random initialisation for long
        average = get_ema_multi_avg_fn(min(self.decay, young))
        average(list(own.parameters()), list(network.parameters()), 0)
        for ours, theirs in zip(own.buffers(), network.buffers(), strict=True):
            ours.copy_(theirs)

    def result(self, network: DomainNetwork, own: nn.Module) -> DomainNetwork:
        """The teacher."""
        del network
        return cast("DomainNetwork", own)

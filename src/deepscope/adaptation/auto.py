"""The choice among statistics, and self-training from the best of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from deepscope.adaptation.collapse import signs
from deepscope.adaptation.self_training import SelfTraining
from deepscope.adaptation.statistics_of_target import Statistics
from deepscope.adaptation.tuning import Proposal, Target, Tuning, batch_norms
from deepscope.models import VisionModel
from deepscope.settings import Count, Positive

_MIXES = (0.3, 1.0)


@dataclass(frozen=True)
class Auto(Tuning):
    """Try the source's, mixed and the target's statistics, self-train from the best of them, and choose.

    Choices are made by the label-free validator (Musgrave et al. 2022), and the source model is one of them. Which
    statistics suit depends on those that the head was fitted with, which a model does not say. Self-training
    does not start from statistics with which predictions collapse, whatever their score: it would learn from those.

    Attributes:
        epochs: passes over the images in self-training.
        rate: learning rate of self-training.
    """

    choose: ClassVar[bool] = True

    epochs: Count = SelfTraining.epochs
    rate: Positive = SelfTraining.rate

    def require(self, model: VisionModel) -> None:
        """It needs what self-training needs."""
        SelfTraining().require(model)

    def propose(self, source: Proposal, target: Target) -> Iterator[Proposal]:
        """Statistics, then self-training."""
        scores = {0.0: source.score}
        for mix in _MIXES if batch_norms(source.model.network) else ():
            for proposal in Statistics(mix).propose(source, target):
                if not signs(source.probabilities, proposal.probabilities).alarm:
                    scores[mix] = proposal.score
                yield proposal
        best = max(scores, key=lambda mix: scores[mix])
        yield from SelfTraining(self.epochs, self.rate, mix=best).propose(source, target)

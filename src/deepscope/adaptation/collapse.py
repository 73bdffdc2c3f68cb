"""The label-free alarm: signs that a tuned classifier collapsed, from its predictions beside the source model's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deepscope.adaptation.tent import diversity

_LEAST_DIVERSITY = 0.7
_MOST_GROWTH = 0.35
_LEAST_KAPPA = 0.05


@dataclass(frozen=True)
class Signs:
    """Predictions of a tuned classifier for the target, beside those of the source model.

    Attributes:
        diversity: entropy of the mean prediction, in nats; `source_diversity` is the source model's.
        largest: share of the images that get the most frequent class; `source_largest` is the source model's.
        agreement: share of the images that both give the same class.
        kappa: Cohen's kappa of this agreement: 0 is what chance would give with these frequencies of classes.
        finite: whether all probabilities are finite numbers.
    """

    diversity: float
    source_diversity: float
    largest: float
    source_largest: float
    agreement: float
    kappa: float
    finite: bool

    @property
    def alarm(self) -> str:
        """What is wrong, as part of a sentence; empty where nothing is."""
        if not self.finite:
            return "its scores are no longer finite"
        if self.largest > self.source_largest + _MOST_GROWTH * (1 - self.source_largest):
            now, before = 100 * self.largest, 100 * self.source_largest
            return f"{now:.0f} % of the images get the same class, instead of {before:.0f} %"
        if self.diversity < _LEAST_DIVERSITY * self.source_diversity:
            fell = f"to {self.diversity:.2f} nats, from {self.source_diversity:.2f}"
            return f"the entropy of its mean prediction fell {fell}"
        if self.kappa < _LEAST_KAPPA:
            return (
                f"it agrees with the source model on {100 * self.agreement:.0f} % of the images, no more than by chance"
            )
        return ""


def signs(source: Tensor, tuned: Tensor) -> Signs:
    """Compare (N, C) probabilities of the source model with those of a tuned one, for the same images."""
    finite = bool(tuned.isfinite().all())
    tuned = tuned.nan_to_num(0.0)
    classes = source.shape[1]
    first, second = source.argmax(1), tuned.argmax(1)
    shares = [torch.bincount(labels, minlength=classes).double() / len(labels) for labels in (first, second)]
    agreement, chance = float((first == second).double().mean()), float(shares[0] @ shares[1])
    kappa = (agreement - chance) / (1 - chance) if chance < 1 else 1.0
    return Signs(
        diversity=max(0.0, float(diversity(tuned))),  # a mean that rounds to above 1 gives less
        source_diversity=max(0.0, float(diversity(source))),
        largest=float(shares[1].max()),
        source_largest=float(shares[0].max()),
        agreement=agreement,
        kappa=kappa,
        finite=finite,
    )

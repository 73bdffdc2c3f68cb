"""Randomised smoothing: a classifier that votes under Gaussian noise, and the radius within which its vote is certain.

Cohen, Rosenfeld and Kolter, "Certified Adversarial Robustness via Randomized Smoothing", ICML 2019.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist

import torch
from torch import Tensor, nn

from deepscope.models import Preprocessing, VisionModel
from deepscope.models.prediction import forward
from deepscope.session import Session
from deepscope.settings import Count, Positive, ProperShare, check
from deepscope.statistics import lower_bound

ABSTAINED = -1
"""The class of an image on which the votes are not certain enough."""


@dataclass(frozen=True)
class Smoothing:
    """Settings of randomised smoothing.

    Attributes:
        sigma: deviation of the noise, pixels in [0, 1]; the network should be trained with such noise.
        samples: votes per image that certify. The largest radius that they can certify grows with their logarithm.
        first: votes that choose the class before.
        alpha: largest probability that a certificate is wrong.
    """

    sigma: Positive = 0.25
    samples: Count = 1000
    first: Count = 100
    alpha: ProperShare = 0.001

    def __post_init__(self) -> None:
        check(self)

    def certify(self, votes: Tensor, choice: int) -> float:
        """The certified L2 radius for a class, of (C,) votes; NaN where they do not certify it."""
        share = lower_bound(int(votes[choice]), int(votes.sum()), error=self.alpha)
        return self.sigma * NormalDist().inv_cdf(share) if share > 0.5 else float("nan")

    def decide(self, votes: Tensor) -> int:
        """The class of (C,) votes; `ABSTAINED` where its lead over the second one may be chance."""
        from scipy import stats

        ranked = votes.topk(min(2, len(votes)))
        first, second = (*ranked.values.tolist(), 0)[:2]
        certain = float(stats.binomtest(first, first + second).pvalue) <= self.alpha
        return int(ranked.indices[0]) if certain else ABSTAINED

    def votes(
        self,
        model: VisionModel,
        pixels: Tensor,
        samples: int,
        rng: torch.Generator,
        *,
        session: Session,
        batch_size: int = 64,
    ) -> Tensor:
        """(C,) how often each class is predicted for (3, H, W) pixels under noise."""
        counts = torch.zeros(len(model.categories), dtype=torch.long)
        exact = replace(session, precision="float32")
        for start in range(0, samples, batch_size):
            count = min(batch_size, samples - start)
            # Copy by copy: what one call draws depends on its size where that is no multiple of 16.
            noise = torch.stack([torch.randn(pixels.shape, generator=rng) for _ in range(count)])
            logits = forward(model, pixels.cpu() + self.sigma * noise, exact)
            counts += logits.argmax(1).bincount(minlength=len(counts))
        return counts

    def averaged(self, model: VisionModel, draws: int, rng: torch.Generator) -> VisionModel:
        """A differentiable stand-in of the smoothed classifier: mean probabilities over fixed draws of the noise.

        Attacks on it follow Salman et al., "Provably Robust Deep Learning via Adversarially Trained Smoothed
        Classifiers", NeurIPS 2019.
        """
        noise = self.sigma * torch.randn(draws, model.planes, *model.preprocessing.size, generator=rng)
        raw: Preprocessing = replace(model.preprocessing, mean=(0.0,) * model.planes, std=(1.0,) * model.planes)
        network = _Averaged(model, noise.to(model.device))
        smoothed = VisionModel(f"{model.name}, smoothed", network, raw, model.categories)
        smoothed.outputs.kind = "logits"
        return smoothed


class _Averaged(nn.Module):
    """Logarithms of mean probabilities under fixed noise."""

    noise: Tensor

    def __init__(self, model: VisionModel, noise: Tensor) -> None:
        super().__init__()
        self.inner, self._model = model.network, model
        self.register_buffer("noise", noise)

    def forward(self, pixels: Tensor) -> Tensor:
        seen = (pixels[:, None] + self.noise).flatten(0, 1)
        probabilities = self._model.probabilities(self._model(seen)).unflatten(0, (len(pixels), -1))
        return probabilities.mean(1).clamp_min(1e-12).log()

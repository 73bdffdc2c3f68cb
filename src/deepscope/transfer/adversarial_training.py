"""What adversarial training of digits trains: the network, its step, and the attack."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam, Optimizer

from deepscope.models import digits
from deepscope.models.classifier import Backbone, BackboneOrigin, Classifier, Normalisation
from deepscope.settings import Count, LinfRadius, Positive, Share, check
from deepscope.training import Moment, Update

CLASSES = tuple(str(digit) for digit in range(10))
ORIGIN = BackboneOrigin("digits", f"deepscope:{digits.STRIDED}", None)
PART = 250
"""Digits per forward pass."""
WARM, _PEAK = 0.2, 0.4
"""Shares of the training after which the radius is full, and the learning rate the highest."""
_STEPS, _STEP = 40, 0.1
"""Steps of the attack that measures, and their size as a share of the radius."""


@dataclass(frozen=True)
class RobustTraining:
    """Settings of adversarial training.

    With one step it is the fast adversarial training of Wong, Rice and Kolter ("Fast is better than free", ICLR 2020),
    with several that of Madry et al. (2018), both from a random start. The radius grows during the first fifth of the
    training; the weights kept are those of the epoch with the best accuracy under attack on held-out digits.

    Attributes:
        radius: Linf radius, pixels in [0, 1].
        epochs: passes over the training digits, at most.
        steps: gradient steps per batch. One is the fastest, but collapsed on MNIST at a radius of 0.3.
        step_size: length of a step as a share of the radius; with one step take 1.25.
        plain: weight of the loss on digits without an attack (Goodfellow et al. 2015); the rest is of attacked ones.
        rate: Adam's highest learning rate.
        batch_size: digits per step.
    """

    radius: LinfRadius = 0.3
    epochs: Count = 8
    steps: Count = 5
    step_size: Positive = 1 / 3
    plain: Share = 0.5
    rate: Positive = 4e-3
    batch_size: Count = 128

    def __post_init__(self) -> None:
        check(self)


class GreyNetwork(nn.Module):
    """The network on one channel: a pixel's channels cannot be played off against each other."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = digits.strided(), nn.Linear(100, len(CLASSES))
        first = self.body.get_submodule("conv1")
        assert isinstance(first, nn.Conv2d)
        self.body.set_submodule("conv1", nn.Conv2d(1, first.out_channels, 4, stride=2, padding=1))

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 1, 28, 28) -> (N, 10) logits."""
        return self.head(self.body(pixels)).float()

    def classifier(self) -> Classifier:
        """The same on the mean of the channels of RGB images."""
        plain, nothing = digits.strided(), torch.empty(0)
        weights = copy.deepcopy(self.body.state_dict())
        weights["conv1.weight"] = weights["conv1.weight"].expand(-1, 3, -1, -1) / 3
        plain.load_state_dict(weights)
        backbone = Backbone(plain, (0.0,) * 3, (1.0,) * 3, [("relu3", "flatten")], origin=ORIGIN)
        raw = Normalisation("raw", nothing, nothing, nothing)
        return Classifier([backbone], [raw], copy.deepcopy(self.head)).eval()


class Best(nn.Module):
    """The weights of the best epoch, and its accuracy under attack. Part of the checkpoint."""

    accuracy: Tensor

    def __init__(self, network: GreyNetwork) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        self.register_buffer("accuracy", torch.tensor(-1.0))

    def consider(self, accuracy: float, network: GreyNetwork) -> None:
        """Take the weights where the accuracy is the best so far."""
        if accuracy >= float(self.accuracy):
            self.network.load_state_dict(network.state_dict())
            self.accuracy.fill_(accuracy)


class AdversarialStep:
    """Cross-entropy of adversarial examples."""

    def __init__(self, network: GreyNetwork, settings: RobustTraining) -> None:
        self.network, self.best, self._settings = network, Best(network), settings
        self._adam = Adam(network.parameters(), settings.rate)

    @property
    def parts(self) -> Mapping[str, nn.Module | Optimizer]:
        """The network, its best state and its optimiser."""
        return {"network": self.network, "best": self.best, "optimiser": self._adam}

    def __call__(self, batch: tuple[Tensor, Tensor], moment: Moment, update: Update) -> Mapping[str, Tensor]:
        """One step on (N, 1, 28, 28) pixels and (N,) labels."""
        pixels, labels = batch
        done, settings = moment.progress, self._settings
        radius = settings.radius * min(1.0, 0.2 + 0.8 * done / WARM)
        for group in self._adam.param_groups:
            group["lr"] = settings.rate * (done / _PEAK if done < _PEAK else (1 - done) / (1 - _PEAK))
        rng, size = moment.rng("attack"), settings.step_size
        changed = perturbed(self.network, pixels, labels, radius, steps=settings.steps, size=size, rng=rng)
        attacked, plain = self.network(torch.cat([changed, pixels])).chunk(2)
        loss = settings.plain * functional.cross_entropy(plain, labels)
        loss = loss + (1 - settings.plain) * functional.cross_entropy(attacked, labels)
        update(loss, self._adam)
        return {"loss": loss}


def perturbed(
    network: nn.Module,
    pixels: Tensor,
    labels: Tensor,
    radius: float,
    *,
    steps: int,
    size: float,
    rng: torch.Generator,
) -> Tensor:
    """Signed gradient steps of `size` times the radius from a random point of the ball."""
    noise = torch.empty(pixels.shape).uniform_(-radius, radius, generator=rng).to(pixels.device)
    changed = (pixels + noise).clamp(0, 1)
    for _ in range(steps):
        changed.requires_grad_(True)
        (gradient,) = torch.autograd.grad(functional.cross_entropy(network(changed), labels), changed)
        moved = changed.detach() + size * radius * gradient.sign()
        changed = torch.maximum(torch.minimum(moved, pixels + radius), pixels - radius).clamp(0, 1)
    return changed.detach()


def measure(
    network: nn.Module, pixels: Tensor, labels: Tensor, radius: float, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(N,) bool each: right without an attack, and also right after PGD."""
    clean, robust = [], []
    for part, truth in zip(pixels.split(PART), labels.split(PART)):
        changed = perturbed(network, part, truth, radius, steps=_STEPS, size=_STEP, rng=rng)
        with torch.no_grad():
            clean.append((network(part).argmax(1) == truth).cpu())
            robust.append((network(changed).argmax(1) == truth).cpu() & clean[-1])
    return torch.cat(clean), torch.cat(robust)

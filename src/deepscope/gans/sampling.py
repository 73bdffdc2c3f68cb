"""Images from a trained generator, and paths through its latent space."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deepscope.gans.networks import Generator

_AT_ONCE = 250
_CALIBRATION = 8


def latents(count: int, generator: Generator, rng: torch.Generator | None = None) -> Tensor:
    """(count, latent) standard normal numbers, on the CPU; without `rng` from seed 0."""
    return torch.randn(count, generator.latent, generator=_or_seed_0(rng))


@torch.inference_mode()
def generate(generator: Generator, z: Tensor, labels: Tensor) -> Tensor:
    """(N, latent) and (N,) int64 labels -> (N, C, H, W) uint8 on the CPU. The generator is left in eval mode."""
    device = next(generator.parameters()).device
    made = []
    for part, classes in zip(z.split(_AT_ONCE), labels.split(_AT_ONCE), strict=True):
        pixels = generator.eval()(part.to(device), classes.to(device))
        made.append(((pixels + 1) * 127.5).round().clamp(0, 255).byte().cpu())
    return torch.cat(made)


def balanced(count: int, classes: int) -> Tensor:
    """(count,) labels that cycle through all classes; zeros where there are none."""
    return torch.arange(count) % max(classes, 1)


def drawn(count: int, shares: Sequence[float], rng: torch.Generator | None = None) -> Tensor:
    """(count,) random labels, each as often as its share; without `rng` from seed 0."""
    return torch.multinomial(torch.tensor(shares), count, replacement=True, generator=_or_seed_0(rng))


def conditions(labels: Tensor, classes: int, shares: Sequence[float], rng: torch.Generator | None = None) -> Tensor:
    """What a generator is conditioned on to make images of classes.

    Args:
        labels: (N,) classes.
        classes: how many there are.
        shares: of all clusters of all classes, those of the first class first; or one per class, or none.
        rng: draws the clusters; without it, from seed 0.

    Returns:
        (N,) for each image a cluster of its class, as often as its share; the labels themselves where classes are not
        divided.
    """
    if len(shares) in (0, classes):
        return labels
    of_each = torch.tensor(shares).unflatten(0, (classes, -1))
    within = torch.multinomial(of_each[labels], 1, replacement=True, generator=_or_seed_0(rng))[:, 0]
    return labels * of_each.shape[1] + within


@torch.no_grad()
def calibrate(generator: Generator, rng: torch.Generator | None = None, shares: Sequence[float] = ()) -> None:
    """Recompute batch normalisation's means and variances: those kept in training belong to earlier weights.

    Classes are seen equally often, or as often as their shares. Without `rng`, z is drawn from seed 0.
    """
    rng = _or_seed_0(rng)
    norms = [module for module in generator.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches below
    device = next(generator.parameters()).device
    generator.train()
    for _ in range(_CALIBRATION):
        labels = drawn(_AT_ONCE, shares, rng) if shares else balanced(_AT_ONCE, generator.classes)
        generator(latents(_AT_ONCE, generator, rng).to(device), labels.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    generator.eval()


def great_circle(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """(L,) and (L,) -> (steps, L) along the great circle (Shoemake 1985): every point is as long as a normal sample.

    The length is interpolated linearly. Points in the same or in opposite directions are joined by a straight line.
    """
    share = torch.linspace(0, 1, steps)[:, None]
    cosine = torch.dot(start, end) / (start.norm() * end.norm())
    angle = cosine.clamp(-1, 1).acos()
    if float(angle.sin()) < 1e-4 or not math.isfinite(float(cosine)):
        return torch.lerp(start, end, share)
    directions = (start / start.norm(), end / end.norm())
    weights = ((1 - share) * angle).sin() / angle.sin(), (share * angle).sin() / angle.sin()
    length = torch.lerp(start.norm(), end.norm(), share)
    return length * (weights[0] * directions[0] + weights[1] * directions[1])


def _or_seed_0(rng: torch.Generator | None) -> torch.Generator:
    return torch.Generator().manual_seed(0) if rng is None else rng

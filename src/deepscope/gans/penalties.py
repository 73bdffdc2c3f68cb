"""Penalties on the discriminator's gradient with respect to its images; they are differentiable once more."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Logits = Callable[[Tensor], Tensor]
"""A discriminator: (N, C, H, W) images -> (N,) logits, or one for each pack of consecutive images."""


def r1(discriminator: Logits, real: Tensor) -> Tensor:
    """Mean of half the squared L2 norm of a logit's gradient at real images (Mescheder et al. 2018)."""
    return _square_norms(discriminator, real).mean() / 2


def gradient_penalty(discriminator: Logits, real: Tensor, fake: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Mean of (norm - 1)^2, the gradient taken at random points between real and fake images (Gulrajani et al. 2017).

    Args:
        discriminator: logits of images.
        real, fake: (N, C, H, W).
        rng: draws where between the two, on the CPU; seed 0 without it.
    """
    rng = torch.Generator().manual_seed(0) if rng is None else rng
    share = torch.rand(len(real), 1, 1, 1, generator=rng).to(real)
    return (_square_norms(discriminator, torch.lerp(real, fake, share)).sqrt() - 1).square().mean()


def _square_norms(discriminator: Logits, images: Tensor) -> Tensor:
    """Of the gradient of each logit, with respect to all images that it is of."""
    images = images.detach().requires_grad_()
    with torch.autocast(images.device.type, enabled=False):  # a gradient's gradient needs its digits
        logits = discriminator(images)
        (gradients,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradients.square().sum((1, 2, 3)).unflatten(0, (len(logits), -1)).sum(1)

"""Random changes of whole batches that preserve the class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deepscope.models.classifier import View


@dataclass(frozen=True)
class Augmentation:
    """Augmentation of pixels (N, C, H, W) in [0, 1] during training.

    Attributes:
        shift: largest shift in pixels, up, down, left or right; the border is repeated.
        invert: share of images that are inverted.
        gain: each channel is multiplied by up to 1 + gain or down to 1 - gain ...
        offset: ... and moved by up to this much.
        noise: largest deviation of the Gaussian noise; each image has its own.
        clutter: largest weight at which a target image, mirrored and without its mean, is added to an image.
    """

    shift: int = 2
    invert: float = 0.5
    gain: float = 0.4
    offset: float = 0.2
    noise: float = 0.1
    clutter: float = 0.5

    @property
    def views(self) -> tuple[View, ...]:
        """Views that preserve the class: the image, shifted by a pixel to each side, and their negatives."""
        moves = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)][: 5 if self.shift else 1]
        return tuple(
            View(down=down, right=right, negative=negative)
            for negative in (False, True)[: 2 if self.invert else 1]
            for down, right in moves
        )

    def move(self, pixels: Tensor, rng: torch.Generator) -> Tensor:
        """Each image shifted by its own whole number of pixels."""
        if not self.shift:
            return pixels
        count, channels, height, width = pixels.shape
        down, right = torch.randint(-self.shift, self.shift + 1, (2, count, 1, 1), generator=rng).to(pixels.device)
        # A repeated border is what the nearest pixel inside shows.
        rows = (torch.arange(height, device=pixels.device)[:, None] + down).clamp_(0, height - 1)
        columns = (torch.arange(width, device=pixels.device) + right).clamp_(0, width - 1)
        places = (rows * width + columns).flatten(1)[:, None].expand(-1, channels, -1)
        return pixels.flatten(2).gather(2, places).view_as(pixels)

    def distort(self, pixels: Tensor, rng: torch.Generator, *, target: Tensor | None = None) -> Tensor:
        """Negatives, gain, offset, noise and clutter from `target` (M, C, H, W); the result may leave [0, 1]."""
        count, channels = pixels.shape[:2]
        negative = (torch.rand(count, 1, 1, 1, generator=rng) < self.invert).to(pixels)
        gain = 1 + self.gain * (2 * torch.rand(count, channels, 1, 1, generator=rng) - 1)
        offset = self.offset * (2 * torch.rand(count, channels, 1, 1, generator=rng) - 1)
        deviation = self.noise * torch.rand(count, 1, 1, 1, generator=rng)
        noise = torch.empty(pixels.shape).normal_(generator=rng).mul_(deviation).to(pixels.device)
        # A negative is 1 - x: one multiplication and one addition per image and channel.
        slope = gain.to(pixels) * (1 - 2 * negative)
        distorted = torch.addcmul(noise + (offset.to(pixels) + negative * gain.to(pixels)), pixels, slope)
        if not self.clutter or target is None or not len(target):
            return distorted
        weight = self.clutter * torch.rand(count, 1, 1, 1, generator=rng)
        clutter = target[torch.randint(len(target), (count,), generator=rng).to(target.device)].flip(3)
        return distorted.addcmul_(clutter - clutter.mean((2, 3), keepdim=True), weight.to(pixels))

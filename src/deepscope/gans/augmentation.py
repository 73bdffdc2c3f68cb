"""Augmentation of everything that the discriminator sees, so that it cannot learn few training images by heart.

Real and generated images go through the same random transforms, in the updates of both networks, and the generator
learns through them. Images are then as before: a generator that showed the transforms in its images would show them
twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Augment = Literal["auto", "none", "diffaugment", "ada"]
"""What a person asks for."""

FEW = 10_000
"""Training images below which "auto" augments."""
TARGET = 0.6
"""The mean sign of the discriminator's outputs of real images that ADA keeps (Karras et al. 2020)."""

_IMAGES_TO_1 = 100_000
"""Images over which the probability can rise from 0 to 1: a fifth of those of the publication."""
_SHIFT, _CUTOUT = 1 / 8, 1 / 2


def chosen(augment: Augment, images: int) -> Literal["none", "diffaugment", "ada"]:
    """What "auto" stands for with a number of training images."""
    if augment == "auto":
        return "diffaugment" if images < FEW else "none"
    return augment


@dataclass(frozen=True, eq=False)
class Transform:
    """The random numbers of a transform of N images, on the CPU.

    Attributes:
        brightness: (N,) added to the pixels.
        saturation: (N,) factor on the difference to the mean of a pixel's channels.
        contrast: (N,) factor on the difference to the image's mean.
        shift: (N, 2) int64 pixels down and right; what comes in is 0, mid-grey.
        cutout: (N, 2) int64 top and left of a square of half a side that becomes 0; far outside where there is none.
    """

    brightness: Tensor
    saturation: Tensor
    contrast: Tensor
    shift: Tensor
    cutout: Tensor

    @classmethod
    def drawn(
        cls, count: int, side: int, probability: float, rng: torch.Generator, *, cutout: bool = False
    ) -> Transform:
        """Those of DiffAugment (Zhao et al. 2020), each with a probability per image of its own.

        The fewer images stay as they are, the less a discriminator that knows these by heart gains from them.
        """

        def applied() -> Tensor:
            return torch.rand(count, generator=rng) < probability

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(count, generator=rng)

        brightened, saturated, contrasted, moved, cut = (applied() for _ in range(5))
        most, hole = round(side * _SHIFT), round(side * _CUTOUT)
        shift = torch.randint(-most, most + 1, (count, 2), generator=rng)
        # The square's centre is anywhere in the image, so a corner may be all that is cut.
        corner = torch.randint(0, side + 1 - hole % 2, (count, 2), generator=rng) - hole // 2
        return cls(
            torch.where(brightened, uniform(-0.5, 0.5), 0),
            torch.where(saturated, uniform(0, 2), 1),
            torch.where(contrasted, uniform(0.5, 1.5), 1),
            torch.where(moved[:, None], shift, 0),
            torch.where(cut[:, None] & cutout, corner, side),
        )

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] -> the same shape, float32, differentiable as often as needed; H = W."""
        with torch.autocast(images.device.type, enabled=False):
            return self._cut(self._moved(self._coloured(images.float())))

    def _coloured(self, images: Tensor) -> Tensor:
        brightness, saturation, contrast = (
            values.to(images.device)[:, None, None, None]
            for values in (self.brightness, self.saturation, self.contrast)
        )
        images = images + brightness
        grey = images.mean(1, keepdim=True)
        images = torch.lerp(grey, images, saturation)
        mean = images.mean((1, 2, 3), keepdim=True)
        return torch.lerp(mean, images, contrast)

    def _moved(self, images: Tensor) -> Tensor:
        """Products with shifted identities: exact, and padded with zeros by themselves."""
        places = torch.arange(images.shape[-1])
        rows, columns = (
            (places[:, None] - places[None, :] == self.shift[:, axis, None, None]).to(images) for axis in (0, 1)
        )
        return rows[:, None] @ images @ columns[:, None].mT

    def _cut(self, images: Tensor) -> Tensor:
        side = images.shape[-1]
        hole, places = round(side * _CUTOUT), torch.arange(side)
        inside = (places >= self.cutout[..., None]) & (places < self.cutout[..., None] + hole)  # (N, 2, side)
        hidden = inside[:, 0, :, None] & inside[:, 1, None, :]
        return images.masked_fill(hidden[:, None].to(images.device), 0)


class Augmentation(nn.Module):
    """The transforms of a training, and their probability, which is part of its checkpoint.

    Args:
        kind: "diffaugment" applies each transform to every image; "ada" starts at a probability of 0 and raises it
            while the discriminator overfits (Karras et al. 2020).
        cutout: also cover a part of each image.
    """

    probability: Tensor

    def __init__(self, kind: Literal["diffaugment", "ada"], *, cutout: bool = False) -> None:
        super().__init__()
        self.adaptive, self.cutout = kind == "ada", cutout
        self.register_buffer("probability", torch.tensor(0.0 if self.adaptive else 1.0))

    @classmethod
    def of(cls, augment: Augment, *, cutout: bool) -> Augmentation | None:
        """The augmentation of a choice that `chosen` has made; None for "none"."""
        return cls(augment, cutout=cutout) if augment in ("diffaugment", "ada") else None

    def forward(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """(N, C, H, W) in [-1, 1] -> the same shape, transformed by what `rng` draws."""
        drawn = Transform.drawn(len(images), images.shape[-1], float(self.probability), rng, cutout=self.cutout)
        return drawn(images)

    @torch.no_grad()
    def adapt(self, real: Tensor, *, packing: int = 1) -> None:
        """Raise the probability where too many of the margins (N,) of real images are positive, else lower it.

        Each margin is of `packing` images.
        """
        if self.adaptive:
            towards = (real.sign().mean() - TARGET).sign() * packing * len(real) / _IMAGES_TO_1
            self.probability.add_(towards.to(self.probability)).clamp_(0, 1)

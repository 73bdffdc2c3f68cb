"""What the ascent changes: the pixels themselves, or the image's decorrelated spectrum."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from deepscope.ascent import Streams


class Canvas(ABC):
    """A way to write images down as points that a gradient step moves."""

    @abstractmethod
    def noise(self, streams: Streams, rows: Tensor) -> Tensor:
        """Points (n, ...) to start from where no image is given, one random stream per row."""

    @abstractmethod
    def points(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) pixels in [0, 1] -> points (N, ...)."""

    @abstractmethod
    def pixels(self, points: Tensor) -> Tensor:
        """Points -> (N, 3, H, W) pixels; differentiable, and in [0, 1] for all points that `allowed` gives."""

    @abstractmethod
    def allowed(self, points: Tensor) -> Tensor:
        """The nearest points that stand for an image."""


_MEAN, _STD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Standardised(Canvas):
    """The image in units of the deviation of photographs, zero their mean colour: as in Simonyan et al. 2014.

    The units are ImageNet's usual ones for every network, so that a learning rate and an L2 weight mean the same
    also for networks whose own input is scaled otherwise. Pixels stay between black and white.

    Attributes:
        size: height and width.
    """

    size: tuple[int, int]

    def noise(self, streams: Streams, rows: Tensor) -> Tensor:
        """Standard normal noise."""
        return streams.normal(rows, 3, *self.size)

    def points(self, pixels: Tensor) -> Tensor:
        """Standardised pixels."""
        return standardised(pixels)

    def pixels(self, points: Tensor) -> Tensor:
        """Pixels again."""
        return points * _column(_STD, points) + _column(_MEAN, points)

    def allowed(self, points: Tensor) -> Tensor:
        """Clamped between black and white."""
        black = torch.zeros_like(points[:1, :, :1, :1])
        return points.clamp(standardised(black), standardised(black + 1))


def standardised(pixels: Tensor) -> Tensor:
    """(N, 3, H, W) pixels in [0, 1] -> the same in units of photographs' deviation from their mean colour."""
    return (pixels - _column(_MEAN, pixels)) / _column(_STD, pixels)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return like.new_tensor(values).view(1, 3, 1, 1)


# The axes along which the colours of photographs vary independently (Ohta et al. 1980), and how much: from dark to
# light, from blue to red, from green to magenta. Rows are red, green, blue.
_COLOURS = ((0.58, 0.19, 0.055), (0.58, 0.0, -0.11), (0.58, -0.19, 0.055))


@dataclass(frozen=True)
class Fourier(Canvas):
    """The spectrum of the image, in uncorrelated colours, weighted so that low frequencies move furthest.

    Steps of equal size in these coefficients change an image as photographs differ from each other, rather than
    each pixel on its own (Olah et al. 2017, "Feature Visualization"). A sigmoid keeps pixels between 0 and 1.

    Attributes:
        size: height and width.
        decay: the weight of a frequency of k cycles per image is 1 / k^decay.
    """

    size: tuple[int, int]
    decay: float = 1.0

    def noise(self, streams: Streams, rows: Tensor) -> Tensor:
        """A grey image with faint noise: coefficients (n, 3, H', W' // 2 + 1, 2)."""
        height, width = self._padded
        return 0.005 * streams.normal(rows, 3, height, width // 2 + 1, 2)

    def points(self, pixels: Tensor) -> Tensor:
        """The coefficients of an image; black and white become the nearest values that a sigmoid reaches."""
        values = F.conv2d(torch.logit(pixels, eps=0.02), torch.linalg.inv(self._colours).to(pixels)[..., None, None])
        down, right = (long - short for long, short in zip(self._padded, self.size))
        spectrum = torch.fft.rfft2(F.pad(values, (0, right, 0, down), mode="replicate"), norm="forward")
        return torch.view_as_real(spectrum / self._weights.to(values))

    def pixels(self, points: Tensor) -> Tensor:
        """The image of a spectrum."""
        spectrum = torch.view_as_complex(points * self._weights.to(points)[..., None])
        values = torch.fft.irfft2(spectrum, s=self._padded, norm="forward")[..., : self.size[0], : self.size[1]]
        return F.conv2d(values, self._colours.to(points)[..., None, None]).sigmoid()

    def allowed(self, points: Tensor) -> Tensor:
        """Every spectrum is an image."""
        return points

    @property
    def _padded(self) -> tuple[int, int]:
        """The next sizes that are quick to transform: 227 is prime, and takes three times as long as 231."""
        from scipy.fft import next_fast_len

        height, width = (int(next_fast_len(side, real=True) or side) for side in self.size)
        return height, width

    @cached_property
    def _weights(self) -> Tensor:
        height, width = self._padded
        vertical = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
        horizontal = torch.fft.rfftfreq(width, dtype=torch.float64)
        cycles = (vertical.square() + horizontal.square()).sqrt() * math.sqrt(height * width)
        return cycles.clamp_min(1) ** -self.decay

    @cached_property
    def _colours(self) -> Tensor:
        return torch.tensor(_COLOURS, dtype=torch.float64)

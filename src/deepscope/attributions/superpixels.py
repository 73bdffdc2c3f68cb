"""Attributions of superpixels from scores alone, sampled until their standard errors are small enough."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.attributions.attribution import Attribution, Baseline, baseline_pixels, image_seeds
from deepscope.attributions.engine import batches, prepared, probability
from deepscope.models.capabilities import SCORES, Needs
from deepscope.models.vision_model import VisionModel
from deepscope.settings import Count, Positive

Coalitions = NDArray[np.bool_]
"""(n, superpixels): which ones are visible."""


class Estimator(ABC):
    """What is known of one image, from the probabilities of its class behind masks.

    Args:
        count: superpixels of the image.
        most: masks that may be drawn.
        rng: draws them.
    """

    def __init__(self, count: int, most: int, rng: np.random.Generator) -> None:
        self.count, self.most, self.rng = count, most, rng

    @abstractmethod
    def draw(self) -> Coalitions:
        """The next masks; none where no more may be drawn."""

    @abstractmethod
    def add(self, masks: Coalitions, seen: NDArray[np.float64]) -> None:
        """The probabilities behind masks that were drawn."""

    @abstractmethod
    def estimate(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(superpixels,) attributions and their standard errors."""


@dataclass(frozen=True)
class Estimates:
    """Attributions of superpixels.

    Attributes:
        maps: (N, H, W), each pixel with the attribution of its superpixel.
        values: the attributions of each image's superpixels.
        errors: their standard errors.
        passes: forward passes of each image.
    """

    maps: Tensor
    values: tuple[NDArray[np.float64], ...]
    errors: tuple[NDArray[np.float64], ...]
    passes: tuple[int, ...]


@dataclass(frozen=True)
class OfSuperpixels(Attribution):
    """Base of the methods that hide superpixels and use the network's outputs alone.

    Attributes:
        superpixels: how many an image is divided into, approximately.
        baseline: what hides a superpixel.
        error: standard error, in units of probability, at which sampling stops.
        samples: most masked images per image; where they do not suffice, a warning says what was reached.
    """

    needs: ClassVar[Needs] = SCORES
    signed: ClassVar[bool] = True
    costly: ClassVar[bool] = True

    superpixels: Count = 50
    baseline: Baseline = "mean"
    error: Positive = 0.02
    samples: Count = 2000

    @abstractmethod
    def estimator(self, count: int, rng: np.random.Generator) -> Estimator:
        """What estimates the attributions of that many superpixels of an image."""

    def __call__(
        self, model: VisionModel, pixels: Tensor, target: Tensor, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """(N, H, W) maps, each pixel with the attribution of its superpixel."""
        return self.estimate(model, pixels, target, rng=rng).maps

    def estimate(
        self, model: VisionModel, pixels: Tensor, target: Tensor, *, rng: torch.Generator | None = None
    ) -> Estimates:
        """The maps, with standard errors and passes; arguments as of the method itself.

        All images are sampled together until each is accurate enough, or has had all its samples.
        """
        labels = np.stack([superpixels(image, self.superpixels) for image in pixels])
        seeds = image_seeds(len(pixels), 1, rng)[:, 0].tolist()
        runs = [self.estimator(int(own.max()) + 1, np.random.default_rng(seed)) for own, seed in zip(labels, seeds)]
        hidden, fast = baseline_pixels(self.baseline, pixels), prepared(model, pixels)
        places = torch.from_numpy(labels).to(pixels.device)

        def seen(image: Tensor, masks: Tensor) -> NDArray[np.float64]:
            def part(rows: slice) -> Tensor:
                at = image[rows]
                visible = masks[rows].gather(1, places[at].flatten(1)).unflatten(1, places.shape[1:])[:, None]
                return probability(model, torch.where(visible, pixels[at], hidden[at]), target[at], fast)

            return torch.cat([found for _, found in batches(len(image), pixels.device, part)]).double().cpu().numpy()

        passes, active = [0] * len(runs), list(range(len(runs)))
        while active:
            drawn = {index: masks for index in active if len(masks := runs[index].draw())}
            if not drawn:
                break
            image = torch.tensor([index for index, masks in drawn.items() for _ in masks], device=pixels.device)
            found = seen(image, _padded(list(drawn.values()), int(labels.max()) + 1).to(pixels.device))
            ends = np.cumsum([len(masks) for masks in drawn.values()])
            for (index, masks), own in zip(drawn.items(), np.split(found, ends[:-1])):
                runs[index].add(masks, own)
                passes[index] += len(masks)
            active = [index for index in drawn if not runs[index].estimate()[1].max() <= self.error]
        done = [run.estimate() for run in runs]
        self._warn([float(errors.max()) for _, errors in done])
        maps = np.stack([values[own] for (values, _), own in zip(done, labels)])
        return Estimates(
            torch.from_numpy(maps).to(pixels), tuple(v for v, _ in done), tuple(e for _, e in done), tuple(passes)
        )

    def _warn(self, errors: Sequence[float]) -> None:
        short = [error for error in errors if not error <= self.error]
        if short:
            warnings.warn(
                f"{len(short)} of {len(errors)} images had all {self.samples} samples and a standard error of up to "
                f"{max(short):.2g}, not {self.error:g}: raise samples or error",
                stacklevel=2,
            )


def superpixels(image: Tensor, count: int) -> NDArray[np.int64]:
    """A (3, H, W) image -> (H, W) numbers of its superpixels, counted from 0: about `count`, by SLICO."""
    from skimage.segmentation import slic

    seen = image.detach().double().cpu().numpy().transpose(1, 2, 0)
    labels = slic(seen, n_segments=count, start_label=0, channel_axis=-1, slic_zero=True)
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


def _padded(masks: Sequence[Coalitions], width: int) -> Tensor:
    """The masks of several images, one below the other; those of images with fewer superpixels are filled up."""
    return torch.from_numpy(np.concatenate([np.pad(one, ((0, 0), (0, width - one.shape[1]))) for one in masks]))

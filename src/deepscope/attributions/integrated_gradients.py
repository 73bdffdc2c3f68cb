"""Integrated gradients, with as many steps as each image needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from deepscope.attributions.attribution import Attribution, Baseline, baseline_pixels, require
from deepscope.attributions.engine import batches, gradient, memory_budget
from deepscope.errors import InputError
from deepscope.models.fast_backward import FastBackward
from deepscope.models.vision_model import VisionModel
from deepscope.settings import Count, Positive

FIRST_POINTS = (0.0, 0.25, 0.5, 0.75, 1.0)
USUAL_POINTS = 64
"""Points an image hardly ever needs more than; bounds how many images are held at once."""


@dataclass(frozen=True)
class IntegratedGradients(Attribution):
    """Each channel's share of the score's difference to a baseline: the gradient's mean along the straight path to it.

    The path is divided where it bends. Between two neighbouring points the trapezoid rule misses the known change of
    the logit by a known error; intervals with the largest errors are halved, earlier points kept, until the
    shares add up. Each image stops by itself.

    Sundararajan, Taly and Yan 2017, "Axiomatic Attribution for Deep Networks".

    Attributes:
        baseline: what the path starts from.
        error: largest completeness error, as a share of the difference of the logits.
        steps: a fixed number of Gauss-Legendre steps instead; 0 takes as many as `error` asks for.
        most: gradients an image may take before its error counts as out of reach.
    """

    signed: ClassVar[bool] = True

    baseline: Baseline = "black"
    error: Positive = 0.01
    steps: int = 0
    most: Count = 1024

    def __post_init__(self) -> None:
        require(self.error > 0, "--error is above 0")
        require(
            self.steps >= 0 and self.most >= len(FIRST_POINTS),
            f"--steps is 0 or more, --most {len(FIRST_POINTS)} or more",
        )

    def __call__(self, model: VisionModel, pixels: Tensor, target: Tensor, *, rng: torch.Generator) -> Tensor:
        """(N, 3, H, W) shares; each image's add up to its logit minus the baseline's, up to `error`.

        Raises:
            InputError: an image's error stays above `error` with `most` gradients.
        """
        start = baseline_pixels(self.baseline, pixels)
        if self.steps:
            return self._fixed(model, pixels, start, target)
        held = max(1, memory_budget(pixels.device) // (USUAL_POINTS * pixels[:1].nbytes))
        parts = [
            self._adaptive(model, *part) for part in zip(pixels.split(held), start.split(held), target.split(held))
        ]
        return torch.cat(parts)

    def _fixed(self, model: VisionModel, pixels: Tensor, start: Tensor, target: Tensor) -> Tensor:
        nodes, weights = (
            torch.from_numpy(values).to(pixels) / 2 for values in np.polynomial.legendre.leggauss(self.steps)
        )
        along, total = nodes + 0.5, torch.zeros_like(pixels)
        fast = FastBackward.of(model, pixels)
        image = torch.arange(len(pixels), device=pixels.device).repeat_interleave(self.steps)
        place, weight = along.repeat(len(pixels)), weights.repeat(len(pixels))

        def slopes(rows: slice) -> Tensor:
            at = image[rows]
            points = start[at].lerp(pixels[at], place[rows, None, None, None])
            return gradient(model, points, target[at], fast=fast)[0] * weight[rows, None, None, None]

        for rows, found in batches(len(image), pixels.device, slopes):
            total.index_add_(0, image[rows], found)
        return total * (pixels - start)

    def _adaptive(self, model: VisionModel, pixels: Tensor, start: Tensor, target: Tensor) -> Tensor:
        paths = [_Path() for _ in pixels]
        fast = FastBackward.of(model, pixels)
        wanted = [(index, place) for index in range(len(paths)) for place in FIRST_POINTS]
        while wanted:
            image = torch.tensor([index for index, _ in wanted], device=pixels.device)
            place = torch.tensor([place for _, place in wanted]).to(pixels)

            def slopes(rows: slice, image: Tensor = image, place: Tensor = place) -> tuple[Tensor, Tensor]:
                at = image[rows]
                points = start[at].lerp(pixels[at], place[rows, None, None, None])
                return gradient(model, points, target[at], fast=fast)

            for rows, (gradients, logits) in batches(len(wanted), pixels.device, slopes):
                shares = gradients * (pixels - start)[image[rows]]
                rises = shares.double().sum((1, 2, 3))
                for (index, at), share, rise, logit in zip(wanted[rows], shares, rises.tolist(), logits.tolist()):
                    paths[index].add(at, share, rise, logit)
            wanted = [(index, at) for index, path in enumerate(paths) for at in path.refine(self.error)]
            if any(len(paths[index].places) >= self.most for index, _ in wanted):
                raise InputError(
                    f"integrated gradients of {model.name} miss a completeness error of {self.error:g} after "
                    f"{self.most} gradients an image: raise --error or --most, or choose another --baseline"
                )
        return torch.stack([path.integral() for path in paths])


@dataclass
class _Path:
    """What is known along one image's path, in order: places in [0, 1], and at each of them the rest."""

    places: list[float] = field(default_factory=list)
    shares: list[Tensor] = field(default_factory=list)
    rises: list[float] = field(default_factory=list)
    logits: list[float] = field(default_factory=list)

    def add(self, place: float, share: Tensor, rise: float, logit: float) -> None:
        at = int(np.searchsorted(self.places, place))
        self.places.insert(at, place)
        self.shares.insert(at, share)
        self.rises.insert(at, rise)
        self.logits.insert(at, logit)

    def refine(self, error: float) -> list[float]:
        """Midpoints of the intervals that the trapezoid rule misses most; none where the whole is good enough."""
        places, rises, logits = np.array(self.places), np.array(self.rises), np.array(self.logits)
        missed = np.diff(places) * (rises[1:] + rises[:-1]) / 2 - np.diff(logits)
        scale = max(abs(logits[-1] - logits[0]), 0.01 * abs(logits).max())
        if abs(missed.sum()) <= error * scale:
            return []
        worst = abs(missed) >= abs(missed).max() / 2
        return ((places[1:] + places[:-1]) / 2)[worst].tolist()

    def integral(self) -> Tensor:
        """The trapezoid rule over all points."""
        widths = np.diff(self.places)
        weights = (np.append(widths, 0) + np.insert(widths, 0, 0)) / 2
        total = torch.zeros_like(self.shares[0])
        for weight, share in zip(weights.tolist(), self.shares):
            total += weight * share
        return total

"""Integrated gradients, with an adaptive number of steps per image."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from deepscope.attributions.attribution import Attribution, image_seeds
from deepscope.attributions.engine import batches, gradient, target_logit
from deepscope.attributions.references import References, files_of, require_known, several
from deepscope.errors import SettingError
from deepscope.models.batching import memory_budget
from deepscope.models.fast_backward import FastBackward
from deepscope.models.vision_model import VisionModel
from deepscope.settings import Count, Positive, Range

FIRST_POINTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_BOUNDED = 32
"""Steps where an error may be out of reach."""
USUAL_MAPS = 256
"""Maps that an image seldom needs more than, one per point and one per interval; bounds the images held at once."""


@dataclass(frozen=True)
class IntegratedGradients(Attribution):
    """Each channel's share of the score's difference to a baseline: the gradient's mean along the straight path to it.

    The path is divided where the gradient changes: intervals whose halving changed the map most are halved again,
    earlier points kept, until the estimated error of the map and the error of its sum are both within `error`. Each
    image stops by itself. Errors of opposite sign, of intervals or of pixels, cannot hide each other.

    Sundararajan, Taly and Yan 2017, "Axiomatic Attribution for Deep Networks". The mean over the images of a folder is
    expected gradients: Erion et al. 2021, "Improving performance of deep learning models with axiomatic attribution
    priors and expected gradients".

    Attributes:
        baseline: what the path starts from: black, white, grey, mean (the image's mean colour), blurred, random (the
            mean over images of uniform noise), or a folder of images (expected gradients, the mean over them).
        references: images of noise, or of the folder, that are drawn for each image.
        error: largest distance of the map from the integral, estimated, relative to the map's Euclidean norm; also
            the largest completeness error, relative to the difference of the logits.
        steps: a fixed number of Gauss-Legendre steps instead; 0 takes as many as `error` requires.
        most: gradients per image before its error counts as out of reach.
    """

    signed: ClassVar[bool] = True
    common: ClassVar[bool] = True

    baseline: str = "black"
    references: Count = 8
    error: Positive = 0.05
    steps: int = 0
    most: Annotated[int, Range(len(FIRST_POINTS))] = 1024

    def __post_init__(self) -> None:
        require_known(self.baseline)

    def bounded(self) -> IntegratedGradients:
        """With a fixed number of steps."""
        return self if self.steps else replace(self, steps=_BOUNDED)

    def reads(self) -> tuple[Path, ...]:
        """The images of the folder that baselines are drawn from."""
        return files_of(self.baseline)

    def __call__(
        self, model: VisionModel, pixels: Tensor, target: Tensor, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """(N, 3, H, W) shares; those of each image add up to its logit minus the baseline's, within `error`.

        With several baselines, `error` holds for each of them, and the logit of the baseline is their mean.

        Raises:
            SettingError: the error of an image stays above `error` with `most` gradients.
            FileError: an image of the folder cannot be read.
        """
        if not len(pixels):
            return torch.zeros_like(pixels)
        references = References(self.baseline, self.references, model)
        seeds = image_seeds(len(pixels), 1, rng)[:, 0] if several(self.baseline) else torch.zeros(len(pixels))
        integrate = self._fixed if self.steps else self._adaptive
        per_image = USUAL_MAPS * references.count * pixels[:1].nbytes
        held = max(1, memory_budget(pixels.device) // per_image)
        parts: list[Tensor] = []
        for images, drawn, classes in zip(pixels.split(held), seeds.split(held), target.split(held)):
            start = references(images, drawn)
            ends, labels = (given.repeat_interleave(references.count, 0) for given in (images, classes))
            parts.append(integrate(model, ends, start, labels).unflatten(0, (-1, references.count)).mean(1))
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
        with torch.no_grad():  # by the plain network: the check of the sum shares nothing with the gradients
            ends = [target_logit(model, part, target).double() for part in (start, pixels)]
        paths = [_Path(first, last) for first, last in zip(*(end.tolist() for end in ends), strict=True)]
        fast = FastBackward.of(model, pixels)
        wanted = [(index, place) for index in range(len(paths)) for place in FIRST_POINTS]
        while wanted:
            image = torch.tensor([index for index, _ in wanted], device=pixels.device)
            place = torch.tensor([place for _, place in wanted]).to(pixels)

            def slopes(rows: slice, image: Tensor = image, place: Tensor = place) -> Tensor:
                at = image[rows]
                points = start[at].lerp(pixels[at], place[rows, None, None, None])
                return gradient(model, points, target[at], fast=fast)[0]

            for rows, gradients in batches(len(wanted), pixels.device, slopes):
                shares = gradients * (pixels - start)[image[rows]]
                for (index, at), share in zip(wanted[rows], shares):
                    paths[index].add(at, share)
            wanted = [(index, at) for index, path in enumerate(paths) for at in path.refine(self.error)]
            if any(len(paths[index].shares) >= self.most for index, _ in wanted):
                raise SettingError(
                    "error",
                    f"of {self.error:g} is out of reach for integrated gradients of {model.name} with {self.most} "
                    "gradients per image: raise it or {most}, or choose another {baseline}",
                )
        return torch.stack([path.integral() for path in paths])


@dataclass
class _Path:
    """What is known along one image's path from place 0 to place 1.

    Attributes:
        first, last: the logits at its ends.
        shares: place -> the gradient there times the way from end to end.
        halved: an interval (left, right) -> half of what the integral changed by when the interval that it is a half
            of was halved; None for the intervals of the first grid.
    """

    first: float
    last: float
    shares: dict[float, Tensor] = field(default_factory=dict)
    halved: dict[tuple[float, float], Tensor | None] = field(default_factory=dict)

    def add(self, place: float, share: Tensor) -> None:
        self.shares[place] = share
        parent = next((ends for ends in self.halved if ends[0] < place < ends[1]), None)
        if parent is None:  # the first grid
            places = sorted(self.shares)
            self.halved = dict.fromkeys(itertools.pairwise(places))
            return
        left, right = parent
        del self.halved[parent]
        change = (right - left) / 4 * (share - (self.shares[left] + self.shares[right]) / 2)
        self.halved[left, place] = self.halved[place, right] = change

    def refine(self, error: float) -> list[float]:
        """Midpoints of the intervals whose halving changed the map most; none where the estimate is accurate enough."""
        if any(change is None for change in self.halved.values()):
            return [sum(ends) / 2 for ends in self.halved]
        changes = {ends: change for ends, change in self.halved.items() if change is not None}
        norms = {ends: float(change.norm()) for ends, change in changes.items()}
        integral = self.integral()
        rise = self.last - self.first
        missed = abs(float(integral.sum(dtype=torch.float64)) - rise)
        scale = max(abs(rise), 0.01 * max(abs(self.first), abs(self.last)), 1e-4 * float(integral.abs().sum()))
        if self._distance(changes, norms) <= error * float(integral.norm()) and missed <= error * scale:
            return []
        worst = max(norms.values())
        return [sum(ends) / 2 for ends, norm in norms.items() if norm >= worst / 2]

    @staticmethod
    def _distance(changes: dict[tuple[float, float], Tensor], norms: dict[tuple[float, float], float]) -> float:
        """Estimated Euclidean distance of `integral` from the integral.

        Halving all intervals halves the error of a network with kinks, whose intervals err independently of each
        other: what is left is the change of the last halving over the square root of 3. It is less for smooth networks.
        """
        together = float(torch.stack(list(changes.values())).sum(0).norm())
        apart = (2 * sum(norm**2 for norm in norms.values())) ** 0.5
        return max(together, apart) / 3**0.5

    def integral(self) -> Tensor:
        """The trapezoid rule over all points."""
        places = sorted(self.shares)
        widths = np.diff(places)
        weights = (np.append(widths, 0) + np.insert(widths, 0, 0)) / 2
        total = torch.zeros_like(self.shares[0.0])
        for place, weight in zip(places, weights.tolist(), strict=True):
            total += weight * self.shares[place]
        return total

"""Infidelity: how far a map is from the changes of the score when parts of the image are covered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.attributions.attribution import Baseline, baseline_pixels, image_seeds
from deepscope.attributions.engine import batches, scores
from deepscope.attributions.faithfulness.measure import Explanation, Measure
from deepscope.settings import Count, PositiveShare


@dataclass(frozen=True)
class Infidelity(Measure):
    """Mean squared difference between a map's sum in a covered square and the drop of the logit; small is faithful.

    Squares lie at random places, the same for every method. Maps have no common unit, so each is scaled by the factor
    that fits its image best: the least-squares factor, as the authors' code and captum do. It may be negative, so a map
    and its negative have the same infidelity; insertion and deletion tell them apart.

    Yeh et al. 2019, "On the (In)fidelity and Sensitivity of Explanations": square removal, with optimal scaling.

    Attributes:
        squares: squares per image, each a forward pass, which all methods share.
        side: of a square, as a share of the image's shorter side.
        substrate: what covers a square.
    """

    higher_is_better: ClassVar[bool] = False

    squares: Count = 32
    side: PositiveShare = 0.25
    substrate: Baseline = "grey"

    @torch.no_grad()
    def __call__(self, given: Explanation) -> Tensor:
        """(N,) mean squares, in units of squared logits."""
        height, width = given.pixels.shape[2:]
        side = max(1, round(self.side * min(height, width)))
        corners = given.of_images((self, "corners"), lambda: self._corners(given, height - side, width - side))
        fallen = given.of_images((self, "fallen"), lambda: self._fallen(given, corners.tolist(), side))
        sums = torch.nn.functional.pad(given.maps.double().cumsum(1).cumsum(2), (1, 0, 1, 0))
        said = torch.stack([_inside(own, places, side) for own, places in zip(sums, corners)])
        return misfit(said, fallen.double()).to(given.maps)

    def _corners(self, given: Explanation, lowest: int, rightmost: int) -> Tensor:
        """(N, squares, 2) rows and columns where each image's squares begin."""
        found = []
        for seed in image_seeds(len(given.pixels), 1, given.rng)[:, 0].tolist():
            rng = torch.Generator().manual_seed(seed)
            sides = [torch.randint(most + 1, (self.squares,), generator=rng) for most in (lowest, rightmost)]
            found.append(torch.stack(sides, 1))
        return torch.stack(found).to(given.pixels.device)

    def _fallen(self, given: Explanation, corners: Sequence[Sequence[Sequence[int]]], side: int) -> Tensor:
        """(N, squares) how far the logit falls."""
        pixels, fill = given.pixels, baseline_pixels(self.substrate, given.pixels)
        count = self.squares + 1  # the last one of each image is the image itself

        def logits(rows: slice) -> Tensor:
            parts = []
            for row in range(rows.start, rows.stop):
                image, square = divmod(row, count)
                part = pixels[image].clone()
                if square < self.squares:
                    top, left = corners[image][square]
                    place = (slice(None), slice(top, top + side), slice(left, left + side))
                    part[place] = fill[image][place]
                parts.append(part)
            images = torch.arange(rows.start, rows.stop, device=pixels.device) // count
            return given.model.objective(scores(given.model, torch.stack(parts), given.fast), given.target[images])

        found = torch.cat([part for _, part in batches(len(pixels) * count, pixels.device, logits)]).view(-1, count)
        return found[:, -1:] - found[:, :-1]


def misfit(said: Tensor, fallen: Tensor) -> Tensor:
    """(N, changes) what maps say and what happens -> (N,) mean squared differences at each map's best scale."""
    square = said.square().sum(1)
    scale = torch.where(square > 0, (said * fallen).sum(1) / square, 0.0)
    return (scale[:, None] * said - fallen).square().mean(1)


def _inside(sums: Tensor, corners: Tensor, side: int) -> Tensor:
    """(H + 1, W + 1) cumulative sums and (squares, 2) corners -> the sum in each square."""
    top, left = corners.T
    bottom, right = top + side, left + side
    return sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]

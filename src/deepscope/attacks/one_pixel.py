"""Changing one pixel, or a few, found by differential evolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from deepscope.ascent import Streams
from deepscope.attacks.base import Bounded, Norm, seeded
from deepscope.attacks.counting import BUSY, around, ask
from deepscope.attacks.criteria import Criterion
from deepscope.models import VisionModel
from deepscope.models.capabilities import SCORES, Needs
from deepscope.settings import Count, Range


@dataclass(frozen=True)
class OnePixel(Bounded):
    """Differential evolution of (x, y, r, g, b) of one or a few pixels (Su et al. 2019, arXiv:1710.08864).

    Every candidate is scored as the 8-bit image that it would be saved as. A child is one parent plus half the
    difference of two others, and replaces its own parent where it is closer to the criterion.

    Attributes:
        pixels: pixels to change.
        queries: images that the network may classify per image attacked.
        population: candidates per generation: at least 4, as a child combines three parents other than its own.
        differential: weight of the difference of two parents.
    """

    needs: ClassVar[Needs] = SCORES
    norm: ClassVar[Norm] = "l0"
    bound: ClassVar[str] = "pixels"
    pixels: Count = 1
    queries: Count = 2000
    population: Annotated[int, Range(4)] = 20
    differential: float = 0.5

    @torch.no_grad()
    def __call__(
        self, model: VisionModel, pixels: Tensor, criterion: Criterion, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """Perturbed pixels."""
        streams = Streams.split(seeded(rng), len(pixels))
        rows = torch.arange(len(pixels), device=pixels.device)
        people = min(self.population, self.queries)
        generations = self.queries // people
        parents = self._first(streams, rows, pixels, people)
        model = around(model, pixels) if self.pixels == 1 else model
        fitness = self._fitness(model, pixels, criterion, rows, parents)
        found = pixels.clone()
        for generation in range(1, generations + 1):
            champions = parents[torch.arange(len(rows), device=rows.device), fitness.argmax(1)]
            found[rows] = paint(pixels[rows], champions)
            on = fitness.amax(1) <= 0
            if generation == generations or not on.any():
                break
            rows, parents, fitness = rows[on], parents[on], fitness[on]
            children = self._children(streams, rows, parents, pixels)
            grown = self._fitness(model, pixels, criterion, rows, children)
            fitter = grown > fitness
            parents = torch.where(fitter[:, :, None, None], children, parents)
            fitness = torch.where(fitter, grown, fitness)
        return found

    def _first(self, streams: Streams, rows: Tensor, pixels: Tensor, people: int) -> Tensor:
        """(n, people, pixels, 5): places anywhere, colours around the middle, as in the paper."""
        height, width = pixels.shape[2:]
        places = streams.uniform(rows, people, self.pixels, 2).to(pixels) * pixels.new_tensor([width, height])
        colours = 0.5 + 0.5 * streams.normal(rows, people, self.pixels, 3).to(pixels)
        return _allowed(torch.cat([places, colours], 3), pixels)

    def _children(self, streams: Streams, rows: Tensor, parents: Tensor, pixels: Tensor) -> Tensor:
        order = streams.uniform(rows, parents.shape[1], parents.shape[1])
        order.diagonal(dim1=1, dim2=2).fill_(2)  # a candidate is never a parent of the child that competes with it
        first, second, third = order.topk(3, dim=2, largest=False).indices.unbind(2)
        row = torch.arange(len(rows), device=parents.device)[:, None]
        children = parents[row, first] + self.differential * (parents[row, second] - parents[row, third])
        return _allowed(children, pixels)

    def _fitness(
        self, model: VisionModel, pixels: Tensor, criterion: Criterion, rows: Tensor, people: Tensor
    ) -> Tensor:
        """(n, people) the margin of each candidate: positive where it succeeds."""
        # what keeps a device busy, repays what a pass through windows costs, or fits into a processor's caches
        chunk = BUSY if pixels.device.type != "cpu" else _windows(pixels) if self.pixels == 1 else 8
        of = rows.repeat_interleave(people.shape[1])
        found = [
            criterion[own].margin(ask(model, paint(pixels[own], part), own))
            for part, own in zip(people.flatten(0, 1).split(chunk), of.split(chunk))
        ]
        return torch.cat(found).view(people.shape[:2])


def paint(pixels: Tensor, changes: Tensor) -> Tensor:
    """Paint (N, K, 5) changes (x, y, r, g, b) into (N, 3, H, W) images: places in pixels, colours in [0, 1].

    The images themselves are changed: those of an index are copies already.
    """
    x, y = changes[..., 0].long(), changes[..., 1].long()
    pixels[torch.arange(len(pixels), device=pixels.device)[:, None], :, y, x] = _grey_levels(changes[..., 2:])
    return pixels


def _windows(pixels: Tensor) -> int:
    """Images per pass through windows: at most 16 MB, which the C library hands out again without new pages."""
    return max(8, 2**24 // (4 * pixels[0].numel()))


def _grey_levels(colours: Tensor) -> Tensor:
    return (colours * 255).round() / 255


def _allowed(candidates: Tensor, pixels: Tensor) -> Tensor:
    """Candidates inside the image and the colours that exist."""
    height, width = pixels.shape[2:]
    top = candidates.new_tensor([width - 1e-3, height - 1e-3, 1, 1, 1])
    return candidates.clamp_min(0).minimum(top)

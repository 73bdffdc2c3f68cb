"""Occlusion: how far the score falls when a part of the image is covered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.attributions.attribution import Attribution, Baseline, baseline_pixels
from deepscope.attributions.engine import batches, prepared, scores
from deepscope.errors import SettingError
from deepscope.models.capabilities import SCORES, Needs
from deepscope.models.vision_model import VisionModel
from deepscope.settings import Count


@dataclass(frozen=True)
class Occlusion(Attribution):
    """How far the logit falls when a window is covered; the mean over all windows that cover a pixel.

    Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks".

    Attributes:
        window: side of the square window in pixels.
        stride: pixels between neighbouring windows, at most the window's side.
        baseline: what a window is filled with.
    """

    needs: ClassVar[Needs] = SCORES
    signed: ClassVar[bool] = True
    costly: ClassVar[bool] = True

    window: Count = 32
    stride: Count = 16
    baseline: Baseline = "black"

    def __call__(
        self, model: VisionModel, pixels: Tensor, target: Tensor, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """(N, H, W) falls of the logit.

        Raises:
            SettingError: the window is larger than the image, or windows would leave gaps.
        """
        height, width = pixels.shape[-2:]
        if self.window > min(height, width):
            raise SettingError(
                "window", f"must be at most {min(height, width)}, the shorter side of the images", got=self.window
            )
        if self.stride > self.window:
            raise SettingError(
                "stride", f"must be at most {{window}}, {self.window}: windows leave gaps", got=self.stride
            )
        corners = [(top, left) for top in self._starts(height) for left in self._starts(width)]
        fill = baseline_pixels(self.baseline, pixels)
        fast = prepared(model, pixels)
        plain = model.objective(scores(model, pixels, fast), target)
        fallen, covered = pixels.new_zeros(pixels.shape[0], height, width), pixels.new_zeros(height, width)
        for top, left in corners:
            covered[self._window(top, left)] += 1

        def logits(rows: slice) -> Tensor:
            parts = []
            for row in range(rows.start, rows.stop):
                image, corner = divmod(row, len(corners))
                window = (slice(None), *self._window(*corners[corner]))
                part = pixels[image].clone()
                part[window] = fill[image][window]
                parts.append(part)
            images = torch.arange(rows.start, rows.stop, device=pixels.device) // len(corners)
            return model.objective(scores(model, torch.stack(parts), fast), target[images])

        for rows, found in batches(len(pixels) * len(corners), pixels.device, logits):
            for row, logit in zip(range(rows.start, rows.stop), found):
                image, corner = divmod(row, len(corners))
                fallen[image][self._window(*corners[corner])] += plain[image] - logit
        return fallen / covered

    def _starts(self, side: int) -> list[int]:
        """Where windows begin along a side; the last one begins where it ends with the image."""
        return [*range(0, side - self.window, self.stride), side - self.window]

    def _window(self, top: int, left: int) -> tuple[slice, slice]:
        return slice(top, top + self.window), slice(left, left + self.window)

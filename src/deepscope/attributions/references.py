"""What an image is compared with: one baseline, random ones, or images of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from deepscope import images
from deepscope.attributions.attribution import Baseline, baseline_pixels
from deepscope.errors import SettingError
from deepscope.models.vision_model import VisionModel

RANDOM = "random"
"""The name of baselines that are uniform noise."""


def require_known(baseline: str) -> None:
    """Raises SettingError for what is neither the name of a baseline nor a folder of images."""
    if baseline not in (*get_args(Baseline), RANDOM):
        _files(baseline)


def several(baseline: str) -> bool:
    """Whether there are several baselines per image, which are drawn."""
    return baseline not in get_args(Baseline)


def files_of(baseline: str) -> tuple[Path, ...]:
    """The images that the baselines are; none where they are made."""
    return _files(baseline) if several(baseline) and baseline != RANDOM else ()


class References:
    """Draws the baselines of images.

    Args:
        baseline: the name of a baseline, "random", or a folder of images.
        count: baselines per image; one suffices where it is not drawn.
        model: whose preprocessing the images of a folder pass.
    """

    def __init__(self, baseline: str, count: int, model: VisionModel) -> None:
        self._baseline, self._model = baseline, model
        self._files = files_of(baseline)
        self.count = min(count, len(self._files) or count) if several(baseline) else 1
        self._read: dict[Path, Tensor] = {}

    def __call__(self, pixels: Tensor, seeds: Tensor) -> Tensor:
        """(N, 3, H, W) pixels and (N,) seeds -> (N * count, 3, H, W) baselines, image by image."""
        if not several(self._baseline):
            return baseline_pixels(self._baseline, pixels)  # type: ignore[arg-type]
        rngs = [torch.Generator().manual_seed(seed) for seed in seeds.tolist()]
        if not self._files:
            drawn = [torch.rand(self.count, *pixels.shape[1:], generator=rng) for rng in rngs]
            return torch.cat(drawn).to(pixels)
        return torch.cat([self._images(pixels, torch.randperm(len(self._files), generator=rng)) for rng in rngs])

    def _images(self, pixels: Tensor, order: Tensor) -> Tensor:
        for place in order[: self.count].tolist():
            if self._files[place] not in self._read:
                self._read[self._files[place]] = self._model.preprocessing(self._files[place])
        found = torch.stack([self._read[self._files[place]] for place in order[: self.count].tolist()]).to(pixels)
        if found.shape[2:] == pixels.shape[2:]:
            return found
        return F.interpolate(found, pixels.shape[2:], mode="bilinear", antialias=True).clamp(0, 1)


def _files(folder: str) -> tuple[Path, ...]:
    found = images.find([folder]) if Path(folder).is_dir() else None
    if not found or not found.paths:
        names = ", ".join((*get_args(Baseline), RANDOM))
        raise SettingError("baseline", f"must be {names} or a folder of images", got=folder)
    return found.paths

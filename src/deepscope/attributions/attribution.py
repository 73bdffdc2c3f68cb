"""`Attribution`: the family of methods that map which pixels determine a class score."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from deepscope.ascent.streams import rows_of
from deepscope.batch.sharding import OF_PARTS
from deepscope.errors import SettingError
from deepscope.models.capabilities import UsesModel, matched
from deepscope.models.differentiable import differentiable
from deepscope.models.vision_model import VisionModel
from deepscope.registry import EVERY_COMMAND, ON_IMAGES, Registered

Baseline = Literal["black", "white", "grey", "mean", "blurred"]
"""An image without information: all pixels 0, 1 or 1/2, all pixels the image's mean colour, or the image without its
detail."""


class Attribution(UsesModel, Registered):
    """Base of the attribution methods; each is a frozen dataclass whose fields are its settings."""

    verb: ClassVar[str] = "explain"
    reserved: ClassVar[frozenset[str]] = EVERY_COMMAND | ON_IMAGES | OF_PARTS | {"top", "versus"}
    signed: ClassVar[bool] = False
    """Whether negative values mean evidence against the class; otherwise the map is never negative."""
    of_class: ClassVar[bool] = True
    """Whether the map depends on the class that is explained."""
    costly: ClassVar[bool] = False
    """Whether it needs a hundred or more passes per image."""
    of_transformers: ClassVar[bool] = False
    """Whether it is made for transformers and refuses networks without attention."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "__call__" in cls.__dict__:
            cls.__call__ = matched(differentiable(cls.__call__))

    def reads(self) -> tuple[Path, ...]:
        """Files that the maps depend on besides the model and the image."""
        return ()

    def bounded(self) -> Attribution:
        """The method at a bounded cost, for scores that vary so strongly that an error may be out of reach.

        The scores of a network with shuffled weights are like that, and those of an unlikely class.
        """
        return self

    @abstractmethod
    def __call__(
        self, model: VisionModel, pixels: Tensor, target: Tensor, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """Attribute the logit of each image's target class to its pixels.

        Args:
            model: any classifier. Its weights, gradients, mode and hooks are left as they are.
            pixels: (N, 3, H, W) in [0, 1].
            target: (N,) class indices.
            rng: CPU generator; None means one seeded with 0. Methods that draw noise take one seed per image from
                it, in order, so that a batch gives the same maps as its images one by one.

        Returns:
            (N, H, W) maps; (N, 3, H, W) where every colour channel has its own share of the logit.

        Raises:
            ModelError: the model has no class layer.
            UnsupportedError: the method does not apply to the model.
            SettingError: a setting does not fit the model or the images.
        """


def per_pixel(maps: Tensor) -> Tensor:
    """(N, H, W) maps as they are, (N, 3, H, W) shares summed over the channels: one value per pixel."""
    return maps.sum(1) if maps.ndim == 4 else maps


def baseline_pixels(kind: Baseline, pixels: Tensor) -> Tensor:
    """(N, 3, H, W) pixels -> a baseline for each, of the same shape; raises SettingError for another kind."""
    if kind == "black":
        return torch.zeros_like(pixels)
    if kind == "white":
        return torch.ones_like(pixels)
    if kind == "grey":
        return torch.full_like(pixels, 0.5)
    if kind == "mean":
        return pixels.mean((2, 3), keepdim=True).expand_as(pixels).contiguous()
    if kind != "blurred":
        raise SettingError("baseline", f"must be {', '.join(get_args(Baseline))}", got=kind)
    from torchvision.transforms.functional import gaussian_blur  # slow to load, and needed for this baseline only

    radius = max(1, min(pixels.shape[-2:]) // 8)
    return gaussian_blur(pixels, [2 * radius - 1, 2 * radius - 1], [radius / 2, radius / 2])


def image_seeds(count: int, draws: int, rng: torch.Generator | None) -> Tensor:
    """(count, draws) int64 seeds. Row i depends only on how many rows were drawn before it; None is seeded with 0."""
    rng = rng or torch.Generator().manual_seed(0)
    rows = []
    for own in rows_of(rng, count):
        seed = int(torch.randint(2**63 - 1, (1,), generator=own))
        rows.append(torch.randint(2**63 - 1, (draws,), generator=torch.Generator().manual_seed(seed)))
    return torch.stack(rows) if rows else torch.empty(0, draws, dtype=torch.int64)

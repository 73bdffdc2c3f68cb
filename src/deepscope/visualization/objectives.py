"""What an image maximises: a class, a channel of a layer, or a whole layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from deepscope.errors import SettingError
from deepscope.models import VisionModel
from deepscope.models.layouts import layout
from deepscope.visualization.recipe import Recipe

_COMPETING = 5
"""Other classes whose logits are averaged: those the image is most likely to be confused with."""


class Objective(ABC):
    """What each row of a batch of images maximises.

    Attributes:
        model: the network.
    """

    model: VisionModel

    @abstractmethod
    def __len__(self) -> int:
        """How many images are wanted."""

    @abstractmethod
    def part(self, rows: slice) -> Objective:
        """The objective of some of the images alone."""

    @abstractmethod
    def __call__(self, pixels: Tensor, rows: Tensor, /) -> tuple[Tensor, Tensor]:
        """(n, 3, H, W) pixels, (n,) rows -> what to maximise (n,), and what to record (n,): a class's probability."""


@dataclass(frozen=True)
class ClassObjective(Objective):
    """The score of one class per row (Simonyan et al. 2014).

    Attributes:
        model: the classifier.
        targets: (N,) class indices.
        log_probability: maximise the logarithm of the probability rather than the logit. It rises also by
            lowering other classes' logits, which says less about the class itself.
        competing_classes: weight of the mean of the five highest other logits, subtracted from the score, so that what
            distinguishes the class from those it is confused with counts more.
    """

    model: VisionModel
    targets: Tensor
    log_probability: bool = False
    competing_classes: float = 0.0

    @classmethod
    def of(cls, model: VisionModel, targets: Tensor, recipe: Recipe) -> ClassObjective:
        """What a recipe maximises."""
        return cls(model, targets, recipe.objective == "log-probability", recipe.competing_classes)

    def __len__(self) -> int:
        return len(self.targets)

    def part(self, rows: slice) -> ClassObjective:
        """The objective of some of the images alone."""
        return replace(self, targets=self.targets[rows])

    def __call__(self, pixels: Tensor, rows: Tensor, /) -> tuple[Tensor, Tensor]:
        """Score and probability of each row's class."""
        logits = self.model(pixels)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        column = self.targets.to(rows.device)[rows, None]
        logarithm = self.model.log_probability(logits, column[:, 0])
        score = logarithm if self.log_probability else self.model.objective(logits, column[:, 0])
        if self.competing_classes and logits.shape[1] > 1:
            others = logits.scatter(1, column, -torch.inf)
            highest = others.topk(min(_COMPETING, logits.shape[1] - 1)).values
            score = score - self.competing_classes * highest.mean(1)
        return score, logarithm.exp()


@dataclass(frozen=True)
class ChannelObjective(Objective):
    """The mean activation of one channel per row (Erhan et al. 2009), over its positions without prefix tokens.

    Attributes:
        model: the network.
        layer: a layer with one output per image; its channels may stand first, last, or in tokens.
        channels: (N,) indices.
    """

    model: VisionModel
    layer: str
    channels: Tensor

    def __len__(self) -> int:
        return len(self.channels)

    def part(self, rows: slice) -> ChannelObjective:
        """The objective of some of the images alone."""
        return replace(self, channels=self.channels[rows])

    def __call__(self, pixels: Tensor, rows: Tensor, /) -> tuple[Tensor, Tensor]:
        """The channel's mean over positions, twice."""
        found = layout(self.model, self.layer, pixels)
        output = self.model.activations(pixels, [self.layer])[self.layer]
        if found is None:
            shape = tuple(output.shape)
            raise SettingError("layer", f"has no channels: {self.layer} gives {shape} for {len(pixels)} images")
        positions = found.positions(output)
        channels = self.channels.to(rows.device)[rows]
        wanted, count = int(channels.max()), positions.shape[1]
        if wanted >= count:
            raise SettingError("channel", f"does not exist: {self.layer} has channels 0 to {count - 1}", got=wanted)
        chosen = positions[torch.arange(len(rows), device=rows.device), channels]
        mean = chosen.float().mean(1) if chosen.dtype == torch.bfloat16 else chosen.mean(1)
        return mean, mean


@dataclass(frozen=True)
class LayerObjective(Objective):
    """The mean squared activation of a layer: whatever it sees, more of it (Mordvintsev et al. 2015, "DeepDream").

    Attributes:
        model: the network.
        layer: any layer that gives a tensor.
        images: how many images are wanted.
    """

    model: VisionModel
    layer: str
    images: int = 1

    def __len__(self) -> int:
        return self.images

    def part(self, rows: slice) -> LayerObjective:
        """The objective of some of the images alone."""
        return replace(self, images=len(range(self.images)[rows]))

    def __call__(self, pixels: Tensor, rows: Tensor, /) -> tuple[Tensor, Tensor]:
        """The layer's mean square, twice."""
        output = self.model.activations(pixels, [self.layer])[self.layer].flatten(1)
        square = (output.float() if output.dtype == torch.bfloat16 else output).square().mean(1)
        return square, square

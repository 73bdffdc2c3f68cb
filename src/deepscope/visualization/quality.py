"""Quality measures of class images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from deepscope.errors import DeepscopeError, UnsupportedError
from deepscope.models import VisionModel
from deepscope.statistics import mean, top_shares
from deepscope.visualization.regularisers import total_variation


def rounded(pixels: Tensor) -> Tensor:
    """Pixels as a file keeps them: the nearest of 256 values. Images are evaluated as they will be seen."""
    return (pixels.clamp(0, 1) * 255).round() / 255


def saturation(pixels: Tensor) -> Tensor:
    """(N, C, H, W) in [0, 1] -> (N,) share of the values within 2/255 of black or white."""
    return ((pixels <= 2 / 255) | (pixels >= 253 / 255)).flatten(1).float().mean(1)


def diversity(pixels: Tensor) -> float:
    """How different images of one class are: mean over pairs of one minus the correlation of 16 x 16 thumbnails.

    0 where all are alike, about 1 where they have nothing in common; NaN for a single image. Thumbnails leave out
    noise, which would count as diverse.
    """
    thumbnails = F.adaptive_avg_pool2d(pixels, 16).flatten(1)
    correlation = torch.corrcoef(thumbnails)
    pairs = torch.triu(torch.ones_like(correlation), 1).bool() if len(pixels) > 1 else torch.zeros(1, 1).bool()
    return float((1 - correlation.view(pairs.shape)[pairs]).mean())


@dataclass(frozen=True)
class Recognition:
    """A network's classification of class images.

    Attributes:
        evaluator: the network's name.
        classes: how many it knows.
        ranks: (N,) number of classes that it finds more likely than the intended one; 0 where it recognises it. A label
            of several is recognised above its threshold.
        probabilities: (N,) of the intended class.
        total_variation: (N,) see `regularisers.total_variation`.
        saturation: (N,) share of values that are black or white.
    """

    evaluator: str
    classes: int
    ranks: Tensor
    probabilities: Tensor
    total_variation: Tensor
    saturation: Tensor

    def metrics(self) -> dict[str, float]:
        """Shares and means with their intervals; the image's own measures do not depend on the evaluator."""
        return {
            **top_shares(self.ranks.numpy(), self.classes, f"recognised/{self.evaluator}"),
            **mean(self.probabilities.numpy()).metrics(f"probability/{self.evaluator}"),
            **mean(self.total_variation.numpy()).metrics("total-variation"),
            **mean(self.saturation.numpy()).metrics("saturation"),
        }


def recognise(evaluator: VisionModel, pixels: Tensor, targets: Tensor, *, batch_size: int = 16) -> Recognition:
    """Classify images, rounded to 8 bits as they will be seen.

    Args:
        evaluator: any classifier; images are resized to its input where that differs.
        pixels: (N, 3, H, W) in [0, 1].
        targets: (N,) the evaluator's class indices.
        batch_size: images per forward pass.
    """
    images = rounded(pixels)
    ranks, probabilities = [], []
    for part, wanted in zip(images.split(batch_size), targets.split(batch_size)):
        if part.shape[-2:] != evaluator.preprocessing.size:
            part = F.interpolate(
                part, evaluator.preprocessing.size, mode="bilinear", antialias=True, align_corners=False
            )
        shown = part.isfinite().flatten(1).all(1)  # an ascent may have diverged
        logits = part.new_full((len(part), len(evaluator.categories)), torch.nan)
        if shown.any():
            with torch.inference_mode():
                logits[shown] = evaluator(part[shown].to(evaluator.device)).to(logits)
        own = logits.gather(1, wanted[:, None])
        others = logits.scatter(1, wanted[:, None], -torch.inf)
        rank = (~(others < own)).sum(1)  # a tie counts against the image, and so does NaN
        if evaluator.head.kind == "multilabel":  # a label is recognised above its threshold, whatever the others are
            said = evaluator.head.predictions(logits).gather(1, wanted[:, None])[:, 0]
            rank = torch.where(said, 0, rank.clamp_min(1))
        ranks.append(rank)
        probabilities.append(evaluator.probabilities(logits).gather(1, wanted[:, None])[:, 0])
    return Recognition(
        evaluator.name,
        len(evaluator.categories),
        torch.cat(ranks),
        torch.cat(probabilities),
        total_variation(images),
        saturation(images),
    )


def translate(target: int, model: VisionModel, evaluator: VisionModel) -> int:
    """The evaluator's index of a class of the model: by WordNet identifier where both have them, else by name.

    Raises:
        UnsupportedError: the evaluator does not know the class.
    """
    if model.wnids and evaluator.wnids and model.wnids[target] in evaluator.wnids:
        return evaluator.wnids.index(model.wnids[target])
    name = model.categories[target]
    if name in evaluator.categories and evaluator.categories.count(name) == 1:
        return evaluator.categories.index(name)
    text = f"{evaluator.name} cannot evaluate images of {name!r}"
    if name.strip().isdigit():  # `category` would take it for a class's number
        raise UnsupportedError(f"{text}: it has no class of that name", what=evaluator.name)
    try:
        return evaluator.category(name)
    except DeepscopeError as error:
        raise UnsupportedError(f"{text}: {error}", what=evaluator.name) from None

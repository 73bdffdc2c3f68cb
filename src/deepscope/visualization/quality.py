"""How good class images are, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from deepscope.errors import DeepscopeError
from deepscope.models import VisionModel
from deepscope.statistics import mean, top_shares
from deepscope.visualization.regularisers import total_variation


def rounded(pixels: Tensor) -> Tensor:
    """Pixels as a file keeps them: the nearest of 256 values. Images are judged as they will be seen."""
    return (pixels.clamp(0, 1) * 255).round() / 255


def saturation(pixels: Tensor) -> Tensor:
    """(N, C, H, W) in [0, 1] -> (N,) share of the values within 2/255 of black or white."""
    return ((pixels <= 2 / 255) | (pixels >= 253 / 255)).flatten(1).float().mean(1)


def diversity(pixels: Tensor) -> float:
    """How different images of one class are: mean over pairs of one minus the correlation of 16 x 16 thumbnails.

    0 where all are alike, about 1 where they have nothing in common; NaN for a single image. Thumbnails leave the
    noise out, which would count as diverse.
    """
    thumbnails = F.adaptive_avg_pool2d(pixels, 16).flatten(1)
    correlation = torch.corrcoef(thumbnails)
    pairs = torch.triu(torch.ones_like(correlation), 1).bool() if len(pixels) > 1 else torch.zeros(1, 1).bool()
    return float((1 - correlation.view(pairs.shape)[pairs]).mean())


@dataclass(frozen=True)
class Verdict:
    """What a network sees in images that were made to show a class.

    Attributes:
        judge: the network's name.
        classes: that it knows.
        ranks: (N,) number of classes that it finds more likely than the wanted one; 0 where it recognises it.
        probabilities: (N,) of the wanted class.
        total_variation: (N,) see `regularisers.total_variation`.
        saturation: (N,) share of values that are black or white.
    """

    judge: str
    classes: int
    ranks: Tensor
    probabilities: Tensor
    total_variation: Tensor
    saturation: Tensor

    def metrics(self) -> dict[str, float]:
        """Shares and means with their intervals; the image's own measures do not depend on the judge."""
        return {
            **top_shares(self.ranks.numpy(), self.classes, f"recognised/{self.judge}"),
            **mean(self.probabilities.numpy()).metrics(f"probability/{self.judge}"),
            **mean(self.total_variation.numpy()).metrics("total-variation"),
            **mean(self.saturation.numpy()).metrics("saturation"),
        }


def assess(judge: VisionModel, pixels: Tensor, targets: Tensor, *, batch_size: int = 16) -> Verdict:
    """Let a network name what images show, rounded to 8 bits as they will be seen.

    Args:
        judge: any classifier; images are resized to its input where that differs.
        pixels: (N, 3, H, W) in [0, 1].
        targets: (N,) the judge's class indices.
        batch_size: images a forward pass.
    """
    images = rounded(pixels)
    ranks, probabilities = [], []
    for part, wanted in zip(images.split(batch_size), targets.split(batch_size)):
        if part.shape[-2:] != judge.preprocessing.size:
            part = F.interpolate(part, judge.preprocessing.size, mode="bilinear", antialias=True, align_corners=False)
        shown = part.isfinite().flatten(1).all(1)  # an ascent may have diverged
        logits = part.new_full((len(part), len(judge.categories)), torch.nan)
        if shown.any():
            with torch.inference_mode():
                logits[shown] = judge(part[shown].to(judge.device)).to(logits)
        own = logits.gather(1, wanted[:, None])
        others = logits.scatter(1, wanted[:, None], -torch.inf)
        ranks.append((~(others < own)).sum(1))  # a tie counts against the image, and so does NaN
        probabilities.append(logits.softmax(1).gather(1, wanted[:, None])[:, 0])
    return Verdict(
        judge.name,
        len(judge.categories),
        torch.cat(ranks),
        torch.cat(probabilities),
        total_variation(images),
        saturation(images),
    )


def translate(target: int, model: VisionModel, judge: VisionModel) -> int:
    """The judge's index of a class of the model: by WordNet identifier where both have them, else by name.

    Raises:
        DeepscopeError: the judge does not know the class.
    """
    if model.wnids and judge.wnids and model.wnids[target] in judge.wnids:
        return judge.wnids.index(model.wnids[target])
    name = model.categories[target]
    if name in judge.categories and judge.categories.count(name) == 1:
        return judge.categories.index(name)
    if name.strip().isdigit():  # `category` would take it for a class's number
        raise DeepscopeError(f"{judge.name} cannot judge images of {name!r}: it has no class of that name")
    try:
        return judge.category(name)
    except DeepscopeError as error:
        raise DeepscopeError(f"{judge.name} cannot judge images of {name!r}: {error}") from None

"""How good class images are, in numbers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from deepscope.errors import InputError
from deepscope.models import VisionModel


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


def ranks(judge: VisionModel, pixels: Tensor, targets: Tensor, *, batch_size: int = 16) -> tuple[Tensor, Tensor]:
    """Where a network ranks the wanted class of each image: it recognises those of rank 0.

    Args:
        judge: any classifier; images are resized to its input where that differs.
        pixels: (N, 3, H, W) in [0, 1].
        targets: (N,) the judge's class indices.

    Returns:
        (N,) number of classes with a higher logit, and (N,) the class's probability.
    """
    places, probabilities = [], []
    for part, wanted in zip(rounded(pixels).split(batch_size), targets.split(batch_size)):
        if part.shape[-2:] != judge.preprocessing.size:
            part = F.interpolate(part, judge.preprocessing.size, mode="bilinear", antialias=True, align_corners=False)
        with torch.inference_mode():
            logits = judge(part.to(judge.device)).float().cpu()
        own = logits.gather(1, wanted[:, None])
        places.append((~(logits <= own)).sum(1))  # NaN is not recognised
        probabilities.append(logits.softmax(1).gather(1, wanted[:, None])[:, 0])
    return torch.cat(places), torch.cat(probabilities)


def translate(target: int, model: VisionModel, judge: VisionModel) -> int:
    """The judge's index of a class of the model: by WordNet identifier where both have them, else by name.

    Raises:
        InputError: the judge does not know the class.
    """
    if model.wnids and judge.wnids and model.wnids[target] in judge.wnids:
        return judge.wnids.index(model.wnids[target])
    try:
        return judge.category(model.categories[target])
    except InputError as error:
        raise InputError(f"{judge.name} cannot judge images of {model.categories[target]!r}: {error}") from None

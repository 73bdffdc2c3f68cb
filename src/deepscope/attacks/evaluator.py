"""The one evaluator: an example counts only if the 8-bit image, encoded and decoded, meets the criterion."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from deepscope import files, images
from deepscope.attacks.base import Norm, distance
from deepscope.attacks.criteria import Criterion, Targeted
from deepscope.attacks.levels import to_levels
from deepscope.models import VisionModel

Ranked = tuple[tuple[int, float], ...]
"""The most probable classes with their probabilities, the largest first."""

_RANKED = 4


@dataclass(frozen=True)
class Verdict:
    """The evaluation of one image.

    Attributes:
        success: the saved image meets the criterion.
        misled: it is classified as another class than the true one, whether or not that is the target.
        before, after: the predicted class of the original and of the saved image.
        true_before, true_after: the true class's probability.
        target_before, target_after: the target's probability; NaN without a target.
        l0: pixels changed.
        l2, linf: length and largest element of the change, pixels in [0, 1].
        ssim: structural similarity to the original (Wang et al. 2004).
        top_before, top_after: the most probable classes of the original and of the saved image.
        l1: sum of the absolute changes of all channels, pixels in [0, 1].
    """

    success: bool
    misled: bool
    before: int
    after: int
    true_before: float
    true_after: float
    target_before: float
    target_after: float
    l0: float
    l2: float
    linf: float
    ssim: float
    top_before: Ranked = ()
    top_after: Ranked = ()
    l1: float = math.nan

    def distance(self, norm: Norm) -> float:
        """How far the saved image is from the original."""
        return {"l0": self.l0, "l1": self.l1, "l2": self.l2, "linf": self.linf}[norm]


def evaluate(
    model: VisionModel,
    original: Tensor,
    changed: Tensor,
    criterion: Criterion,
    labels: Tensor,
    paths: Sequence[Path] | None = None,
) -> tuple[list[Verdict], Tensor]:
    """Clip, round to 8 bits, encode as PNG, decode, classify.

    Args:
        model: the network under attack.
        original: (N, 3, H, W) pixels in [0, 1].
        changed: the same images after the attack.
        criterion: what counts as a success, one row per image.
        labels: (N,) the true classes.
        paths: where to save, one PNG per image, which is then read back; None encodes and decodes in memory.

    Returns:
        one verdict per image, and the pixels (N, 3, H, W) as decoded.
    """
    targets = paths if paths is not None else [None] * len(changed)
    saved = torch.stack([_decoded(image, path) for image, path in zip(changed, targets, strict=True)]).to(original)
    with torch.inference_mode():
        before, after = model(original), model(saved)
    met = criterion.met(after).tolist()
    apart = {norm: distance(saved, original, norm).tolist() for norm in ("l0", "l1", "l2", "linf")}
    true = [_probability(model, logits, labels) for logits in (before, after)]
    if isinstance(criterion, Targeted):
        target = [_probability(model, logits, criterion.classes) for logits in (before, after)]
    else:
        target = [[float("nan")] * len(labels)] * 2
    classes = [logits.argmax(1).tolist() for logits in (before, after)]
    misled = (after.argmax(1) != labels).tolist()
    ranked = [_ranked(model, logits) for logits in (before, after)]
    verdicts = [
        Verdict(
            success=met[i],
            misled=misled[i],
            before=classes[0][i],
            after=classes[1][i],
            true_before=true[0][i],
            true_after=true[1][i],
            target_before=target[0][i],
            target_after=target[1][i],
            l0=apart["l0"][i],
            l2=apart["l2"][i],
            linf=apart["linf"][i],
            ssim=_ssim(original[i], saved[i]),
            top_before=ranked[0][i],
            top_after=ranked[1][i],
            l1=apart["l1"][i],
        )
        for i in range(len(labels))
    ]
    return verdicts, saved


def encoded(levels: Tensor) -> bytes:
    """(3, H, W) uint8 levels as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy()).save(buffer, "PNG")
    return buffer.getvalue()


def write(levels: Tensor, path: Path) -> None:
    """Write (3, H, W) uint8 levels as a PNG, whole or not at all."""
    with files.atomic(path) as temporary:
        temporary.write_bytes(encoded(levels))


def _decoded(pixels: Tensor, path: Path | None) -> Tensor:
    """(3, H, W) pixels as a reader of the saved image sees them."""
    levels = to_levels(pixels)
    if path is not None:
        write(levels, path)
    read = np.asarray(images.decode(encoded(levels) if path is None else path))
    return torch.from_numpy(read.copy()).permute(2, 0, 1).float().div(255)


def _ranked(model: VisionModel, logits: Tensor) -> list[Ranked]:
    top = model.probabilities(logits.float()).topk(min(_RANKED, logits.shape[1]), dim=1)
    return [tuple(zip(*row)) for row in zip(top.indices.tolist(), top.values.tolist())]


def _probability(model: VisionModel, logits: Tensor, classes: Tensor) -> list[float]:
    return model.probabilities(logits.float()).gather(1, classes[:, None])[:, 0].tolist()


def _ssim(first: Tensor, second: Tensor) -> float:
    from skimage.metrics import structural_similarity

    smaller = min(first.shape[1:])
    window = min(7, smaller - (smaller + 1) % 2)
    arrays = (image.cpu().double().numpy() for image in (first, second))
    return float(np.mean(structural_similarity(*arrays, channel_axis=0, data_range=1.0, win_size=window)))

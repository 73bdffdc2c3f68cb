"""The classes that an attack aims at one after the other."""

from __future__ import annotations

import torch
from torch import Tensor

from deepscope.attacks.criteria import Criterion, Targeted
from deepscope.models import VisionModel


@torch.no_grad()
def competitors(model: VisionModel, pixels: Tensor, criterion: Criterion, count: int) -> list[Targeted]:
    """The most probable other classes of each image, as criteria; for a target, the target alone.

    Args:
        model: the network under attack.
        pixels: (N, 3, H, W) in [0, 1].
        criterion: what counts as a success.
        count: how many classes, at most; the network may have fewer.
    """
    if isinstance(criterion, Targeted):
        return [criterion]
    logits = model(pixels)
    others = logits.scatter(1, criterion.classes[:, None], -torch.inf)
    return [Targeted(classes) for classes in others.topk(min(count, logits.shape[1] - 1), dim=1).indices.unbind(1)]

"""Watching an attack: the images that the network classifies, query by query."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from deepscope.attacks.base import Attack
from deepscope.attacks.counting import counted
from deepscope.attacks.criteria import Criterion
from deepscope.models import VisionModel


@dataclass(frozen=True, eq=False)
class Trace:
    """The images that a network classified during an attack on one image.

    Attributes:
        queries: for each frame, how many images the network had classified before.
        pixels: (T, 3, H, W) in [0, 1], on the CPU.
        logits: (T, C) of each frame.
    """

    queries: tuple[int, ...]
    pixels: Tensor
    logits: Tensor


def watch(
    attack: Attack,
    model: VisionModel,
    pixels: Tensor,
    criterion: Criterion,
    *,
    rng: torch.Generator | None = None,
    frames: int = 60,
) -> Trace:
    """Attack one image (1, 3, H, W) and keep what the network classifies: of each pass the row closest to success.

    A long attack is thinned out to every second, fourth ... pass, to at most `frames` of them.
    """
    watcher = _Watcher(model, criterion, frames)
    bare = replace(model.preprocessing, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))  # the watcher gets pixels
    watched, _ = counted(replace(model, network=watcher, preprocessing=bare), pixels)
    attack(watched, pixels, criterion, rng=rng)
    queries, shown, logits = zip(*watcher.kept)
    return Trace(queries, torch.stack(shown), torch.stack(logits))


class _Watcher(nn.Module):
    def __init__(self, model: VisionModel, criterion: Criterion, most: int) -> None:
        super().__init__()
        self.model, self.network, self.criterion, self.most = model, model.network, criterion, most
        self.stride, self.queries, self.passes = 1, 0, 0
        self.kept: list[tuple[int, Tensor, Tensor]] = []

    def forward(self, pixels: Tensor) -> Tensor:
        logits = self.model(pixels)
        if self.passes % self.stride == 0:
            same = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
            nearest = self.criterion[same].margin(logits.detach()).argmax()
            self.kept.append((self.queries, pixels[nearest].detach().cpu(), logits[nearest].detach().float().cpu()))
        self.passes, self.queries = self.passes + 1, self.queries + len(pixels)
        if len(self.kept) > self.most:
            self.kept, self.stride = self.kept[::2], self.stride * 2
        return logits

"""Seeing an attack at work: what a network is shown, query by query."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from deepscope.attacks.attack import Attack
from deepscope.attacks.goals import Goal
from deepscope.attacks.judge import counted
from deepscope.models import VisionModel


@dataclass(frozen=True)
class Trace:
    """What a network was shown during an attack on one image.

    Attributes:
        queries: for each frame, how many images the network had been shown before.
        pixels: (T, 3, H, W) in [0, 1], on the CPU.
        logits: (T, C).
    """

    queries: tuple[int, ...]
    pixels: Tensor
    logits: Tensor


def watch(
    attack: Attack, model: VisionModel, pixels: Tensor, goal: Goal, *, rng: torch.Generator, frames: int = 60
) -> Trace:
    """Attack one image (1, 3, H, W) and keep what the network is shown: of every pass the row nearest to the goal.

    A long attack is thinned out to every second, fourth ... pass, at most `frames` of them.
    """
    eye = _Eye(model, goal, frames)
    bare = replace(model.preprocessing, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))  # the eye sees bare pixels
    watched, _ = counted(replace(model, network=eye, preprocessing=bare), pixels)
    attack(watched, pixels, goal, rng=rng)
    queries, shown, logits = zip(*eye.kept)
    return Trace(queries, torch.stack(shown), torch.stack(logits))


class _Eye(nn.Module):
    def __init__(self, model: VisionModel, goal: Goal, most: int) -> None:
        super().__init__()
        self.model, self.network, self.goal, self.most = model, model.network, goal, most
        self.stride, self.queries, self.passes = 1, 0, 0
        self.kept: list[tuple[int, Tensor, Tensor]] = []

    def forward(self, pixels: Tensor) -> Tensor:
        logits = self.model(pixels)
        if self.passes % self.stride == 0:
            same = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
            nearest = self.goal[same].margin(logits.detach()).argmax()
            self.kept.append((self.queries, pixels[nearest].detach().cpu(), logits[nearest].detach().float().cpu()))
        self.passes, self.queries = self.passes + 1, self.queries + len(pixels)
        if len(self.kept) > self.most:
            self.kept, self.stride = self.kept[::2], self.stride * 2
        return logits

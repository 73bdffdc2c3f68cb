"""What networks see in class images, each in those of the classes that it knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepscope.errors import DeepscopeError
from deepscope.models import VisionModel
from deepscope.render.text import DASH
from deepscope.visualization import ClassObjective, Objective
from deepscope.visualization.quality import Verdict, assess, translate


@dataclass(frozen=True)
class Seen:
    """What a network makes of the images of those classes that it knows.

    Attributes:
        verdict: of the images in `rows`.
        rows: their places among all images.
    """

    verdict: Verdict
    rows: tuple[int, ...]

    def probability(self, row: int) -> str:
        """The class's probability in one of all images; a dash where the network does not know the class."""
        return f"{float(self.verdict.probabilities[self.rows.index(row)]):.2f}" if row in self.rows else DASH

    def rank(self, row: int) -> str | None:
        """The class's rank and probability in one of all images; None where the network does not know the class."""
        if row not in self.rows:
            return None
        return f"rank {int(self.verdict.ranks[self.rows.index(row)]) + 1}, {self.probability(row)}"


def known(target: int, model: VisionModel, judge: VisionModel) -> int | None:
    """The judge's index of a class of the model; None where it does not know it."""
    try:
        return translate(target, model, judge)
    except DeepscopeError:
        return None


def see(pixels: Tensor, objective: Objective, model: VisionModel, judges: Sequence[VisionModel]) -> tuple[Seen, ...]:
    """What the network itself and the others see; nothing for layers."""
    if not isinstance(objective, ClassObjective):
        return ()
    targets = objective.targets[: len(pixels)]
    seen = [Seen(assess(model, pixels, targets), tuple(range(len(targets))))]
    for judge in judges:
        theirs = [known(target, model, judge) for target in targets.tolist()]
        rows = tuple(row for row, label in enumerate(theirs) if label is not None)
        if rows:
            labels = torch.tensor([label for label in theirs if label is not None])
            seen.append(Seen(assess(judge, pixels[list(rows)], labels), rows))
    return tuple(seen)

"""How much of its accuracy the classifier keeps when someone works against it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from deepscope.attacks import FGSM, PGD, Untargeted
from deepscope.attacks.defences import WARNING
from deepscope.attacks.evaluation import evaluate
from deepscope.checks.check import Check
from deepscope.checks.held_out import held_out
from deepscope.commands.attacked import Subjects, as_picture, difference, file_names, subjects, vanished_notes
from deepscope.commands.section import Budget
from deepscope.commands.shown import provenance, skipped_blocks
from deepscope.errors import DeepscopeError
from deepscope.models import VisionModel
from deepscope.results import Curves, ImageGrid, Note, Result, Series
from deepscope.session import Session
from deepscope.settings import Count, Range
from deepscope.statistics import Estimate, proportion

_SHOWN = 4


@dataclass(frozen=True)
class Robustness(Check):
    """Accuracy over the largest change that an attacker may make to each channel of each pixel.

    Attributes:
        data: a folder with a folder of images for each class, divided into `train/` and `test/` or not; or a
            dataset's name.
        model: the classifier; `deepscope models` lists them.
        levels: largest changes, in grey levels of 255.
        steps: gradient steps of PGD.
        limit: images, at most, drawn at random.
        batch_size: images at a time; the figures do not depend on it.
    """

    chapter: ClassVar[str] = "3 What it withstands"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.7, "full": 8}

    _: KW_ONLY
    levels: tuple[Annotated[float, Range(most=255, above=True)], ...] = (1, 2, 4, 8)
    steps: Count = 40
    limit: Count = 100
    batch_size: Count = 8

    @classmethod
    def within(cls, budget: Budget, *, data: str, model: str) -> Robustness:
        """A few images and steps, or many."""
        return cls(data, model=model) if budget == "full" else cls(data, model=model, steps=10, limit=16)

    def run(self, session: Session) -> Result:
        """Attack every image that the classifier gets right."""
        if not self.levels or min(self.levels) <= 0:
            raise DeepscopeError("--levels are numbers above 0")
        judged = held_out(self.model, self.data, session)
        model = judged.model
        found = subjects(
            model, judged.paths, session, batch_size=self.batch_size, limit=self.limit, below=[judged.root]
        )
        if not found.paths:
            raise DeepscopeError(f"{model.name} gets none of these images right: there is nothing to attack")
        total = len(found.paths) + len(found.misclassified)
        held = {"clean": proportion(len(found.paths), total)}
        curves: list[Series] = []
        saved = found.levels
        vanished = torch.zeros(len(found.paths), dtype=torch.bool)
        for attack in session.track((FGSM(), PGD(steps=self.steps)), "attacking"):
            with tempfile.TemporaryDirectory() as folder:
                outcome = evaluate(
                    attack,
                    model,
                    found.levels,
                    found.labels,
                    Untargeted(found.labels),
                    rng=session.rng("attack", attack.name),
                    paths=file_names(found.paths, Path(folder)),
                    radii=[level / 255 for level in self.levels],
                    batch_size=self.batch_size,
                    quick=session.precision == "bfloat16",
                )
            saved, vanished = outcome.saved, vanished | outcome.vanished
            kept = [proportion(sum(not verdict.success for verdict in at), total) for at in outcome.verdicts]
            held |= {f"{attack.name}/{level:g}": share for level, share in zip(sorted(self.levels), kept)}
            curves.append(_series(attack.name, [0, *sorted(self.levels)], [held["clean"], *kept]))
        return Result(
            title=f"What {model.name} withstands",
            metrics={
                "images": total,
                "gradients/vanished": int(vanished.sum()),
                **{k: v for key, e in held.items() for k, v in e.metrics(f"accuracy/{key}").items()},
            },
            blocks=(
                Note(self._said(held, vanished), "Robustness", "verdict"),
                *vanished_notes(vanished),
                *judged.notes,
                Curves(
                    tuple(curves),
                    "largest change of a channel, in grey levels of 255",
                    "accuracy",
                    title="Accuracy under attack",
                    caption="Judged from the saved 8-bit files, 95 % Wilson intervals. An image counts as lost at "
                    "every radius above the one it was first lost at.",
                ),
                _figure(model, found, saved),
                Note(WARNING, "What this does not show", "warning"),
                *skipped_blocks(found.skipped),
            ),
            provenance=provenance([model], [*found.paths, *(path for path, _ in found.misclassified)]),
        )

    def _said(self, held: Mapping[str, Estimate], vanished: Tensor) -> str:
        level = min(self.levels, key=lambda level: abs(level - 2))
        if count := int(vanished.sum()):
            return (
                f"This does not show how robust the network is: the gradients of {count} of {len(vanished)} images "
                f"vanish. Accuracy under PGD with changes of at most {level:g} grey levels of 255 is at most "
                f"{held[f'{PGD.name}/{level:g}']}, {held['clean']} without an attack."
            )
        return (
            f"PGD with changes of at most {level:g} grey levels of 255, which nobody sees, takes accuracy from "
            f"{held['clean']} to {held[f'{PGD.name}/{level:g}']}."
        )


def _series(label: str, x: list[float], shares: list[Estimate]) -> Series:
    low, high = (np.array([getattr(share, end) for share in shares]) for end in ("low", "high"))
    return Series(label, np.array(x, float), np.array([share.value for share in shares]), low, high)


def _figure(model: VisionModel, found: Subjects, saved: Tensor) -> ImageGrid:
    rows = []
    for row, path in enumerate(found.paths[:_SHOWN]):
        name = model.categories[int(found.labels[row])]
        change, _ = difference(found.levels[row], saved[row])
        rows.append((as_picture(found.levels[row], caption=f"{path.name}: {name}"), as_picture(saved[row]), change))
    return ImageGrid(
        tuple(rows),
        "What the changes look like",
        "At the radius at which each image was lost, or the largest.",
        ("image", "after PGD", "change, magnified"),
    )

"""`deepscope attack evaluate`: how a network holds against several attacks, at several radii."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from deepscope import render
from deepscope.attacks import Attack, Goal
from deepscope.attacks.defences import DEFENCES, WARNING
from deepscope.attacks.evaluation import Evaluation, evaluate
from deepscope.commands.attacked import (
    Subjects,
    aim,
    another,
    division,
    file_names,
    logits,
    subjects,
    values,
    vanished_notes,
)
from deepscope.commands.command import Command
from deepscope.commands.shown import provenance, skipped_blocks
from deepscope.errors import DeepscopeError
from deepscope.models import DEFAULT, VisionModel, load_model
from deepscope.results import Block, Cell, Column, Curves, Note, Result, Series, Table
from deepscope.session import Session, first_process
from deepscope.settings import LINF_RADIUS, Count, Range, number
from deepscope.statistics import mean, median, proportion


@dataclass(frozen=True)
class AttackEvaluate(Command):
    """Measure attacks on a folder: success, distortion and cost, accuracy over radii, defences, transfer.

    All methods work with their default settings. A radius that an image did not withstand is not tried at larger
    ones. Shared methods (patch, universal) learn from a random half of the images and are judged on the other.

    Attributes:
        folder: images, named or sorted so that their true class is known; otherwise the prediction counts as true.
        methods: names of attacks, separated by spaces or commas.
        radii: Linf radii of the curve, numbers or fractions such as 4/255.
        l2_radii: Euclidean radii of the curve, pixels in [0, 1].
        target: the class to be seen, or "random" for another one each; any but the true one by default.
        model: the network under attack.
        transfer_to: networks that the examples are shown to afterwards.
        limit: images to use, at most, drawn at random.
        batch_size: images attacked at once; the outcome does not depend on it.
    """

    name: ClassVar[str] = "evaluate"
    area: ClassVar[str] = "attack"
    example: ClassVar[str] = "deepscope attack evaluate photos/ --methods fgsm,pgd,deepfool --radii 1/255,2/255,4/255"

    folder: Path
    _: KW_ONLY
    methods: tuple[str, ...] = ("fgsm", "pgd", "deepfool", "ddn")
    radii: tuple[str, ...] = ("1/255", "2/255", "4/255", "8/255")
    l2_radii: tuple[str, ...] = ("0.25", "0.5", "1", "2")
    target: str | None = None
    model: str = DEFAULT
    transfer_to: tuple[str, ...] = ()
    limit: Count | None = None
    batch_size: Count = 16

    def run(self, session: Session) -> Result:
        """Run every method on every image that the network gets right."""
        attacks = [Attack.named(name) for name in _split(self.methods)]
        radii = {
            "linf": _radii("--radii", self.radii, LINF_RADIUS),
            "l2": _radii("--l2-radii", self.l2_radii, Range(above=True)),
            "l0": (),
        }
        model = load_model(self.model, session)
        others = [another(model, name, session) for name in self.transfer_to]
        found = subjects(model, [self.folder], session, batch_size=self.batch_size, limit=self.limit)
        if not found.paths:
            raise DeepscopeError(f"{model.name} gets none of these images right: there is nothing to attack")
        found, goal = aim(model, found, self.target, session)
        right, wrong = len(found.paths), len(found.misclassified)
        outcomes: dict[str, _Outcome] = {}
        saved: list[Path] = []
        with render.drafts(session.out if first_process() else None) as drafts:
            for attack in session.track(attacks, "attacking"):
                judged, wanted, fit = division(attack, found, goal, session)
                names = file_names(judged.paths, Path("adversarial", attack.name))
                saved += names
                outcome = evaluate(
                    attack,
                    model,
                    judged.levels,
                    judged.labels,
                    wanted,
                    rng=session.rng("attack", attack.name),
                    paths=[drafts / name for name in names],
                    radii=radii[attack.norm],
                    fit=fit,
                    batch_size=self.batch_size,
                    quick=session.precision == "bfloat16",
                )
                outcomes[attack.name] = _Outcome(attack, judged, wanted, outcome)
        defended, defence_table = _defences(model, found, outcomes, session)
        moved, transfer_table = _transfer(others, outcomes, session)
        return Result(
            title=f"{model.name} under attack: {right + wrong} images",
            metrics={
                "images": right,
                "misclassified": wrong,
                **proportion(right, right + wrong).metrics("accuracy/clean"),
                **_metrics(outcomes, wrong / right),
                **defended,
                **moved,
            },
            blocks=(
                *(
                    note
                    for name, found in ((name, outcome.evaluation) for name, outcome in outcomes.items())
                    for note in vanished_notes(found.vanished, gradients=bool(found.gradients.any()), method=name)
                ),
                _table(outcomes),
                *_curves(outcomes, right / (right + wrong)),
                defence_table,
                *transfer_table,
                Note(WARNING, "What this does not show", "warning"),
                *skipped_blocks(found.skipped),
            ),
            provenance=provenance([model, *others], [*found.paths, *(path for path, _ in found.misclassified)]),
            files=tuple(path.as_posix() for path in saved) if session.out else (),
        )


@dataclass(frozen=True)
class _Outcome:
    attack: Attack
    found: Subjects
    goal: Goal
    evaluation: Evaluation

    def successes(self, place: int) -> list[bool]:
        return [verdict.success for verdict in self.evaluation.verdicts[place]]


def _split(texts: Sequence[str]) -> list[str]:
    return [part for text in texts for part in text.replace(",", " ").split()]


def _radii(flag: str, texts: Sequence[str], allowed: Range) -> tuple[float, ...]:
    """Raises DeepscopeError where a text is no number, or is out of the range."""
    found = {number(text, flag) for text in _split(texts)}
    for radius in found:
        allowed.check(flag, radius)
    return tuple(sorted(found))


def radius_name(radius: float) -> str:
    """A radius as metrics name it: four significant digits, or "any"."""
    return "any" if math.isinf(radius) else f"{radius:.4g}"


def _metrics(outcomes: Mapping[str, _Outcome], wrong: float) -> dict[str, float]:
    """`wrong`: images that the network gets wrong by itself, for each that it gets right."""
    metrics: dict[str, float] = {}
    for name, outcome in outcomes.items():
        for place, radius in enumerate(outcome.evaluation.radii):
            won = outcome.successes(place)
            total = len(won) + round(wrong * len(won))  # a shared attack is judged on a part of the images
            key = f"{name}/{radius_name(radius)}"
            metrics |= proportion(sum(won), len(won)).metrics(f"success/{key}")
            metrics |= proportion(len(won) - sum(won), total).metrics(f"accuracy/{key}")
        last = outcome.evaluation.verdicts[-1]
        for field in ("l0", "l2", "linf", "ssim"):
            metrics |= median(values(last, field)).metrics(f"{field}/{name}")
        metrics |= mean(outcome.evaluation.queries).metrics(f"queries/{name}")
        metrics |= mean(outcome.evaluation.gradients).metrics(f"gradients/{name}")
        metrics[f"gradients/vanished/{name}"] = int(outcome.evaluation.vanished.sum())
    return metrics


def _table(outcomes: Mapping[str, _Outcome]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, outcome in outcomes.items():
        evaluation = outcome.evaluation
        for place, radius in enumerate(evaluation.radii):
            won, verdicts = outcome.successes(place), evaluation.verdicts[place]
            distances = (median(values(verdicts, field)).value for field in ("l0", "l2", "linf", "ssim"))
            l0, l2, linf, ssim = (None if math.isnan(distance) else distance for distance in distances)
            bound = outcome.attack.norm if math.isfinite(radius) else ""
            success = proportion(sum(won), len(won))
            rows.append(
                (
                    name,
                    bound,
                    radius_name(radius),
                    len(won),
                    *(success.value, success.low, success.high),
                    *(l0, l2, None if linf is None else linf * 255, ssim),
                    *(float(evaluation.queries.mean()), float(evaluation.gradients.mean())),
                )
            )
    columns = (
        *(Column(title) for title in ("method", "norm", "radius")),
        Column("images", "d"),
        *(Column(title, ".2f") for title in ("success", "low", "high")),
        Column("L0", ".0f"),
        Column("L2", ".3f"),
        Column("Linf x 255", ".1f"),
        Column("SSIM", ".4f"),
        Column("queries", ".0f"),
        Column("gradients", ".0f"),
    )
    return Table(
        columns,
        tuple(rows),
        title="Judged from the saved files",
        caption="Success among the images that the network gets right, with its 95 % Wilson interval. Distances are "
        "medians over successes, pixels in [0, 1]. Queries and gradients: mean an image, over all radii together.",
    )


def _curves(outcomes: Mapping[str, _Outcome], clean: float) -> tuple[Curves, ...]:
    curves = []
    for norm, title in (("linf", "Linf radius x 255"), ("l2", "L2 radius")):
        equal: dict[tuple[tuple[float, ...], ...], list[str]] = {}  # such curves would hide one another
        for name, outcome in outcomes.items():
            radii = [radius for radius in outcome.evaluation.radii if math.isfinite(radius)]
            if outcome.attack.norm == norm and radii:
                held = (1 - float(np.mean(outcome.successes(place))) for place in range(len(radii)))
                equal.setdefault(((0.0, *radii), (1.0, *held)), []).append(name)
        scale = 255 if norm == "linf" else 1
        series = [
            Series(", ".join(names), scale * np.array(radii), clean * np.array(held))
            for (radii, held), names in equal.items()
        ]
        if series:
            curves.append(
                Curves(
                    tuple(series),
                    x_title=title,
                    y_title="accuracy",
                    title=f"Accuracy under attack ({norm})",
                    caption="An image counts as lost at every radius above the one it was first lost at.",
                )
            )
    return tuple(curves)


def _defences(
    model: VisionModel, found: Subjects, outcomes: Mapping[str, _Outcome], session: Session
) -> tuple[dict[str, float], Table]:
    """Accuracy of the defended network on images that the bare one gets right, and on what the attacks made of them."""
    groups = {"clean": (found.levels, found.labels)} | {
        name: (outcome.evaluation.saved, outcome.found.labels) for name, outcome in outcomes.items()
    }
    metrics: dict[str, float] = {}
    rows: list[tuple[Cell, ...]] = []
    for name, (levels, labels) in groups.items():
        row: list[Cell] = [name]
        for defence, clean in {"none": None, **DEFENCES}.items():
            right = logits(model, levels, session, clean=clean).argmax(1) == labels
            kept = proportion(int(right.sum()), len(labels))
            row.append(kept.value)
            metrics |= kept.metrics(f"defence/{defence}/{name}") if defence != "none" else {}
        rows.append(tuple(row))
    columns = (Column("images after"), *(Column(title, ".2f") for title in ("none", *DEFENCES)))
    caption = "Accuracy on images that the undefended network gets right; attacks at their largest radius."
    return metrics, Table(columns, tuple(rows), title="Simple defences, unknown to the attacks", caption=caption)


def _transfer(
    others: Sequence[VisionModel], outcomes: Mapping[str, _Outcome], session: Session
) -> tuple[dict[str, float], tuple[Block, ...]]:
    """How many of the successes also mislead another network, among those whose original it gets right."""
    metrics: dict[str, float] = {}
    rows: list[tuple[Cell, ...]] = []
    for other in others:
        for name, outcome in outcomes.items():
            before = logits(other, outcome.found.levels, session)
            after = logits(other, outcome.evaluation.saved, session)
            usable = torch.tensor(outcome.successes(-1)) & (before.argmax(1) == outcome.found.labels)
            also = outcome.goal.reached(after) & usable
            share = proportion(int(also.sum()), int(usable.sum()))
            metrics |= share.metrics(f"transfer/{other.name}/{name}")
            value, low, high = (None if math.isnan(x) else x for x in (share.value, share.low, share.high))
            rows.append((other.name, name, int(usable.sum()), value, low, high))
    if not rows:
        return {}, ()
    columns = (
        *(Column("to"), Column("method"), Column("images", "d")),
        *(Column(title, ".2f") for title in ("also misled", "low", "high")),
    )
    caption = "Of the examples that mislead the attacked network, where the other gets the original right."
    return metrics, (Table(columns, tuple(rows), title="Transfer to other networks", caption=caption),)

"""How the result of `deepscope attack evaluate` is shown."""

from __future__ import annotations

import math

import numpy as np

from deepscope.attacks import AttackEvaluation, MethodEvaluation
from deepscope.attacks.conditions import radius_name
from deepscope.attacks.defences import WARNING
from deepscope.attacks.evaluation import UNDEFENDED
from deepscope.attacks.workflow import FOLDER
from deepscope.names import counted
from deepscope.presenters.attacked import origin_of, vanished_notes
from deepscope.presenters.shown import skipped_blocks
from deepscope.render import presents
from deepscope.results import Block, Cell, Column, Curves, Note, Result, Series, Table
from deepscope.statistics import mean, median, proportion


@presents(AttackEvaluation)
def present(found: AttackEvaluation) -> Result:
    """Success, distortion and cost of several attacks; accuracy over radii; defences and transfer."""
    right, wrong = len(found), len(found.misclassified)
    total = right + wrong + found.at_target
    return Result(
        title=f"{found.model.name} under attack: {counted(total, 'image')}",
        metrics={
            "images": right,
            "misclassified": wrong,
            **found.clean.metrics("accuracy/clean"),
            **_metrics(found),
            **_defence_metrics(found),
            **_transfer_metrics(found),
        },
        blocks=(
            *(
                note
                for name, outcome in ((method.attack.name, method.outcome) for method in found.methods)
                for note in vanished_notes(outcome.vanished, gradients=bool(outcome.gradients.any()), method=name)
            ),
            *_target_note(found),
            _table(found),
            *_curves(found),
            _defence_table(found),
            *_transfer_table(found),
            Note(WARNING, "What this does not show", "warning"),
            *skipped_blocks(found.skipped),
        ),
        provenance=origin_of([found.model, *found.others], found),
        files=tuple(f"{FOLDER}/{file.as_posix()}" for method in found.methods for file in method.files),
    )


def _target_note(found: AttackEvaluation) -> tuple[Note, ...]:
    """What the accuracy counts of images that already show the target; nothing where there are none."""
    if not found.at_target:
        return ()
    text = f"{found.at_target} of the images already show the target: not attacked, they count as right in accuracies."
    return (Note(text, "Images of the target"),)


def _metrics(found: AttackEvaluation) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for method in found.methods:
        name, outcome = method.attack.name, method.outcome
        for place, radius in enumerate(outcome.radii):
            key = f"{name}/{radius_name(radius)}"
            metrics |= found.success(method, place).metrics(f"success/{key}")
            metrics |= found.accuracy(method, place).metrics(f"accuracy/{key}")
        for field in ("l0", "l2", "linf", "ssim"):
            metrics |= median(outcome.values(field)).metrics(f"{field}/{name}")
        metrics |= mean(outcome.queries).metrics(f"queries/{name}")
        metrics |= mean(outcome.gradients).metrics(f"gradients/{name}")
        metrics[f"gradients/vanished/{name}"] = int(outcome.vanished.sum())
    return metrics


def _table(found: AttackEvaluation) -> Table:
    rows = [_row(found, method, place) for method in found.methods for place in range(len(method.outcome.radii))]
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
        title="Evaluated from the saved images",
        caption="Success among the images that the network gets right, with its 95 % Wilson interval. Distances are "
        "medians over successes, pixels in [0, 1]. Queries and gradients: mean per image, over all radii together.",
    )


def _row(found: AttackEvaluation, method: MethodEvaluation, place: int) -> tuple[Cell, ...]:
    outcome, radius = method.outcome, method.outcome.radii[place]
    distances = (median(outcome.values(field, place=place)).value for field in ("l0", "l2", "linf", "ssim"))
    l0, l2, linf, ssim = (None if math.isnan(distance) else distance for distance in distances)
    success = found.success(method, place)
    return (
        *(method.attack.name, method.attack.norm if math.isfinite(radius) else "", radius_name(radius), len(method)),
        *(success.value, success.low, success.high),
        *(l0, l2, None if linf is None else linf * 255, ssim),
        *(float(outcome.queries.mean()), float(outcome.gradients.mean())),
    )


def _curves(found: AttackEvaluation) -> tuple[Curves, ...]:
    curves = []
    for norm, title in (("linf", "Linf radius (grey levels of 255)"), ("l2", "L2 radius (pixels in [0, 1])")):
        equal: dict[tuple[tuple[float, ...], ...], list[str]] = {}  # such curves would hide one another
        for method in found.methods:
            radii = [radius for radius in method.outcome.radii if math.isfinite(radius)]
            if method.attack.norm == norm and radii:
                held = (found.accuracy(method, place).value for place in range(len(radii)))
                equal.setdefault(((0.0, *radii), (found.clean.value, *held)), []).append(method.attack.name)
        scale = 255 if norm == "linf" else 1
        series = [
            Series(", ".join(names), scale * np.array(radii), np.array(held)) for (radii, held), names in equal.items()
        ]
        if series:
            curves.append(
                Curves(
                    tuple(series),
                    x_title=title,
                    y_title="accuracy",
                    title=f"Accuracy under attack ({norm})",
                    caption="An image misclassified at one radius counts as misclassified at every larger radius.",
                )
            )
    return tuple(curves)


def _defended(found: AttackEvaluation) -> dict[str, tuple[dict[str, int], int]]:
    """For the clean images and those of each method: how many are classified correctly behind each defence, of all."""
    attacked = {method.attack.name: (dict(method.right), len(method)) for method in found.methods}
    return {"clean": (dict(found.right), len(found)), **attacked}


def _defence_metrics(found: AttackEvaluation) -> dict[str, float]:
    """Accuracy of the defended network on images that the bare network gets right, clean and attacked."""
    return {
        key: value
        for name, (right, count) in _defended(found).items()
        for defence, correct in right.items()
        if defence != UNDEFENDED
        for key, value in proportion(correct, count).metrics(f"defence/{defence}/{name}").items()
    }


def _defence_table(found: AttackEvaluation) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (name, *(proportion(correct, count).value for correct in right.values()))
        for name, (right, count) in _defended(found).items()
    ]
    columns = (Column("images after"), *(Column(title, ".2f") for title in found.right))
    caption = "Accuracy on images that the undefended network gets right; attacks at their largest radius."
    return Table(columns, tuple(rows), title="Simple defences, unknown to the attacks", caption=caption)


def _transfer_metrics(found: AttackEvaluation) -> dict[str, float]:
    """How many of the successes also mislead another network, among those whose original it gets right."""
    return {
        key: value
        for other in found.others
        for method in found.methods
        for key, value in method.transferred[other.name]
        .share.metrics(f"transfer/{other.name}/{method.attack.name}")
        .items()
    }


def _transfer_table(found: AttackEvaluation) -> tuple[Block, ...]:
    rows: list[tuple[Cell, ...]] = []
    for other in found.others:
        for method in found.methods:
            transfer = method.transferred[other.name]
            share = transfer.share
            value, low, high = (None if math.isnan(x) else x for x in (share.value, share.low, share.high))
            rows.append((other.name, method.attack.name, transfer.usable, value, low, high))
    if not rows:
        return ()
    columns = (
        *(Column("to"), Column("method"), Column("images", "d")),
        *(Column(title, ".2f") for title in ("also misled", "low", "high")),
    )
    caption = "Of the examples that mislead the attacked network, where the other gets the original right."
    return (Table(columns, tuple(rows), title="Transfer to other networks", caption=caption),)

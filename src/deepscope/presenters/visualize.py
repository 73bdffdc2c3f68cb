"""How the result of `deepscope visualize` is shown."""

from __future__ import annotations

import dataclasses
import math

import torch

from deepscope.names import counted
from deepscope.presenters.shown import origin, picture
from deepscope.render import presents
from deepscope.render.text import DASH
from deepscope.results import Animation, Block, Column, Curves, ImageGrid, Note, Result, Series, Table
from deepscope.statistics import mean
from deepscope.visualization import (
    ClassImages,
    ClassObjective,
    Evaluation,
)
from deepscope.visualization.quality import diversity

_ACROSS = 6
"""Images side by side, at most, so that the names below them can be read."""
_MOST_CURVES = 8


@presents(ClassImages)
def present(found: ClassImages) -> Result:
    """The images, how networks classify them, and the ascent."""
    labels, made = found.labels, found.made
    return Result(
        title=f"Class images of {found.model.name}: {', '.join(labels[:4])}{' ...' if labels[4:] else ''}",
        config=dataclasses.asdict(found.recipe),
        metrics={
            "images": len(labels),
            "iterations": int(torch.isfinite(made.watched[:, -1]).sum()) - 1,
            "seconds-per-image": made.seconds / len(labels),
            **{name: value for one in reversed(found.evaluations) for name, value in one.recognition.metrics().items()},
            **_diversity(found),
        },
        blocks=(
            *_stopped(found),
            *_not_evaluated(found),
            _gallery(found),
            *_table(found),
            _curves(found),
            *_animations(found),
        ),
        arrays={"images": (made.pixels * 255).round().byte().permute(0, 2, 3, 1).numpy()},
        provenance=origin([found.model, *found.evaluators], found.paths, found.digests),
    )


def _diversity(found: ClassImages) -> dict[str, float]:
    """Over classes with all their seeds."""
    groups = [group for group in found.pixels.split(found.seeds) if len(group) == found.seeds > 1]
    return mean([diversity(group) for group in groups]).metrics("diversity") if groups else {}


def _gallery(found: ClassImages) -> ImageGrid:
    cells = []
    for row, label in enumerate(found.labels):
        seen = ", ".join(_probability(one, row) for one in found.evaluations)
        cells.append(picture(found.model.displayed(found.pixels[row]), caption=f"{label}: {seen}" if seen else label))
    width = found.seeds if found.seeds > 1 else min(_ACROSS, math.ceil(math.sqrt(len(cells))))
    networks = ", ".join(one.evaluator for one in found.evaluations)
    return ImageGrid(
        rows=tuple(tuple(cells[first : first + width]) for first in range(0, len(cells), width)),
        title="Class images",
        caption=f"Below each image: the class's probability by {networks}." if networks else "",
    )


def _probability(one: Evaluation, row: int) -> str:
    probability = one.probability(row)
    return DASH if probability is None else f"{probability:.2f}"


def _table(found: ClassImages) -> tuple[Table, ...]:
    if not found.evaluations:
        return ()
    own = found.evaluations[0].recognition
    columns = [
        Column("class"),
        *(Column(one.evaluator) for one in found.evaluations),
        Column("total variation", ".4f"),
        Column("saturation", ".3f"),
    ]
    rows = tuple(
        (
            label,
            *(_rank(one, row) for one in found.evaluations),
            float(own.total_variation[row]),
            float(own.saturation[row]),
        )
        for row, label in enumerate(found.labels)
    )
    caption = "Rank of the class by each network (1 is the most probable), and its probability."
    return (Table(tuple(columns), rows, title="Quality", caption=caption),)


def _rank(one: Evaluation, row: int) -> str | None:
    rank = one.rank(row)
    return None if rank is None else f"rank {rank}, {_probability(one, row)}"


def _curves(found: ClassImages) -> Curves:
    """One line per image while they are few, else the mean of all."""
    watched, labels = found.made.watched, found.labels
    steps = torch.arange(len(watched)).numpy()
    if len(labels) <= _MOST_CURVES:
        series = tuple(Series(label, steps, watched[:, row].numpy()) for row, label in enumerate(labels))
    else:
        series = (Series(f"mean of {counted(len(labels), 'image')}", steps, watched.nanmean(1).numpy()),)
    title = "Probability of the class" if isinstance(found.objective, ClassObjective) else "Activation"
    caption = "Measured at each iteration, on the randomly transformed view that the iteration sees."
    return Curves(series, "iteration", title.lower(), title=title, caption=caption)


def _animations(found: ClassImages) -> list[Animation]:
    made, steps = found.made, found.made.frame_steps
    what = "probability" if isinstance(found.objective, ClassObjective) else "activation"
    animations = []
    for row, label in enumerate(found.labels if steps else ()):
        known = [place for place, step in enumerate(steps) if torch.isfinite(made.watched[step, row])]
        captions = tuple(
            f"{label}: iteration {steps[place]}, {what} {found.watched[place, row]:.2f}" for place in known
        )
        frames = found.model.displayed(made.frames[known, row]).permute(0, 2, 3, 1).contiguous().numpy()
        caption = "Iteration, and the score of the network."
        animations.append(Animation(frames, label, caption, captions=captions))
    return animations


def _stopped(found: ClassImages) -> tuple[Block, ...]:
    if found.made.complete:
        return ()
    text = "Stopped before the end: the images are unfinished. The same command resumes."
    return (Note(text, "Stopped", "warning"),)


def _not_evaluated(found: ClassImages) -> tuple[Block, ...]:
    if not found.not_evaluated:
        return ()
    text = f"No other network evaluates these images ({found.not_evaluated}). Name evaluators that know the class."
    return (Note(text, "Not evaluated by another network"),)

"""How the result of `deepscope attack METHOD` is shown."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from deepscope.attacks import AdversarialExamples, Targeted
from deepscope.attacks.defences import WARNING
from deepscope.attacks.levels import to_levels
from deepscope.attacks.workflow import FOLDER
from deepscope.names import counted
from deepscope.presenters.attacked import as_bars, as_picture, changed_places, difference, origin_of, vanished_notes
from deepscope.presenters.shown import skipped_blocks
from deepscope.render import presents
from deepscope.results import (
    Animation,
    Block,
    Cell,
    Column,
    Curves,
    GridCell,
    ImageGrid,
    Note,
    Result,
    Series,
    Table,
)
from deepscope.statistics import mean, median, proportion

_SHOWN = 8
"""Images in the figure, unless the caller says otherwise."""


def present(found: AdversarialExamples, *, figures: int = _SHOWN) -> Result:
    """Each image with its adversarial example.

    Args:
        found: what `attack` returned.
        figures: most images that the figure shows.
    """
    return Result(
        title=f"{found.method.name} on {found.model.name}: {_aim(found)}",
        metrics=_metrics(found),
        blocks=(
            Note(_summary(found), "Evaluated from the saved images"),
            *vanished_notes(found.outcome.vanished, gradients=bool(found.outcome.gradients.any())),
            *_tables(found),
            *_figure(found, figures),
            *_animation(found),
            Note(WARNING, "What this does not show", "warning"),
            *skipped_blocks(found.skipped),
        ),
        arrays={"adversarial": found.images.numpy(), "original": found.subjects.levels.numpy()},
        provenance=origin_of([found.model], found),
        files=tuple(f"{FOLDER}/{name}" for name in found.names),
    )


presents(AdversarialExamples)(present)


def _aim(found: AdversarialExamples) -> str:
    if found.target is None:
        return "any other class"
    if found.target == "random":
        return "a random other class each"
    if found.model.head.label is not None:  # one label of several: it is taken away, or added
        return f"the label {found.model.categories[-1]} changed"
    return f"to be classified as {found.model.categories[found.model.category(found.target)]}"


def _metrics(found: AdversarialExamples) -> dict[str, float]:
    outcome = found.outcome
    metrics: dict[str, float] = {"images": len(found), "misclassified": len(found.misclassified)}
    metrics |= proportion(int(found.success.sum()), len(found)).metrics("success")
    for field in ("l0", "l2", "linf", "ssim"):
        metrics |= median(outcome.values(field)).metrics(field)
    for probability in ("true/before", "true/after", "target/before", "target/after"):
        everyone = outcome.values(probability.replace("/", "_"), of_successes=False)
        if not all(map(math.isnan, everyone)):
            metrics |= mean(everyone).metrics(probability)
    metrics |= mean(outcome.queries).metrics("queries") | mean(outcome.gradients).metrics("gradients")
    return metrics | {"gradients/vanished": int(outcome.vanished.sum())}


def _summary(found: AdversarialExamples) -> str:
    said = f"{int(found.success.sum())} of {len(found)} attacked images succeeded."
    if learnt := len(found.subjects.learn_from or ()):
        said += f" The perturbation was learnt from {counted(learnt, 'other image')}."
    if count := len(found.misclassified):
        said += f" {counted(count, 'image')} misclassified without an attack "
        said += f"{'were' if count != 1 else 'was'} left out."
    height, width = found.model.preprocessing.size
    said += f" Examples have the size of the network's input, {height} x {width}: resized or cropped again, they may "
    return f"{said}no longer mislead it."


def _tables(found: AdversarialExamples) -> tuple[Block, ...]:
    names = found.model.categories
    targeted = isinstance(found.subjects.criterion, Targeted)
    rows: list[tuple[Cell, ...]] = []
    for path, verdict, queries, gradients in zip(
        found.paths, found.verdicts, found.outcome.queries.tolist(), found.outcome.gradients.tolist(), strict=True
    ):
        rows.append(
            (
                *(path.name, names[verdict.before], names[verdict.after], "✓" if verdict.success else ""),
                *(verdict.true_before, verdict.true_after),
                *((verdict.target_before, verdict.target_after) if targeted else ()),
                *(int(verdict.l0), verdict.l2, verdict.linf * 255, verdict.ssim),
                *(queries, gradients),
            )
        )
    columns = (
        *(Column(name) for name in ("image", "before", "after", "success")),
        *(Column(name, ".3f") for name in ("true class before", "true class after")),
        *((Column("target before", ".3f"), Column("target after", ".3f")) if targeted else ()),
        Column("L0", "d"),
        Column("L2", ".3f"),
        Column("Linf x 255", ".0f"),
        Column("SSIM", ".4f"),
        Column("queries", ".0f"),
        Column("gradients", ".0f"),
    )
    caption = "L0 counts pixels; L2 of pixels in [0, 1]; queries and gradients are means over the batch."
    blocks: list[Block] = [Table(columns, tuple(rows), title="Images attacked", caption=caption)] if rows else []
    if found.misclassified:
        wrong = tuple((image.path.name, names[image.predicted]) for image in found.misclassified)
        blocks.append(Table((Column("image"), Column("prediction")), wrong, title="Misclassified without an attack"))
    return tuple(blocks)


def _figure(found: AdversarialExamples, most: int) -> tuple[Block, ...]:
    shown = sorted(range(len(found)), key=lambda i: not found.verdicts[i].success)[:most]
    if not shown:
        return ()
    rows: list[tuple[GridCell, ...]] = []
    for i in shown:
        original, saved, verdict = found.subjects.levels[i], found.images[i], found.verdicts[i]
        label = int(found.subjects.labels[i])
        magnified, _ = difference(found.model.displayed(original), found.model.displayed(saved))
        points = changed_places(original, saved)
        said = f"adversarial: {'fooled' if verdict.success else 'withstood'}"
        before = as_picture(found.model.displayed(original), caption=found.paths[i].name)
        after = as_picture(found.model.displayed(saved), caption=said, points=points)
        rows += [
            (before, as_bars(found.model, verdict.top_before, label)),
            (after, as_bars(found.model, verdict.top_after, label), replace(magnified, points=points)),
        ]
    return (
        ImageGrid(
            rows=tuple(rows),
            columns=("image", "prediction", "difference"),
            title=f"{found.method.name} on {found.model.name}",
            caption="Each image before the attack and below it after. The difference is drawn around grey, magnified "
            "by the factor below it; the true class's bar stands out. Single changed pixels are ringed. Images that "
            "were fooled come first.",
        ),
    )


def _animation(found: AdversarialExamples) -> tuple[Block, ...]:
    """The images that the network classified during the first attack, and the probabilities that it gave."""
    trace, subjects, names = found.trace, found.subjects, found.model.categories
    if trace is None:
        return ()
    probabilities = found.model.probabilities(trace.logits)
    targeted = isinstance(subjects.criterion, Targeted)
    end = int(subjects.criterion.classes[0]) if targeted else int(trace.logits[-1].argmax())
    lines = dict.fromkeys((int(subjects.labels[0]), end))
    series = tuple(Series(names[label], np.array(trace.queries), probabilities[:, label].numpy()) for label in lines)
    captions = tuple(
        f"query {step}: " + ", ".join(f"{names[label]} {row[label]:.2f}" for label in lines)
        for step, row in zip(trace.queries, probabilities)
    )
    name = found.paths[0].name
    frames = found.model.displayed(to_levels(trace.pixels)).permute(0, 2, 3, 1).contiguous().numpy()
    return (
        Animation(
            frames,
            title=f"{found.method.name} on {name}, query by query",
            captions=captions,
            seconds=max(0.15, 3 / len(frames)),
        ),
        Curves(series, x_title="queries", y_title="probability", title=f"Probability along the attack on {name}"),
    )

"""How the result of `deepscope models abstain` is shown."""

from __future__ import annotations

import math

import torch

from deepscope.names import counted
from deepscope.presenters.shown import origin, skipped_blocks
from deepscope.render import presents
from deepscope.results import Curves, Note, Result, Series
from deepscope.statistics import proportion
from deepscope.transfer.abstention import Abstention


@presents(Abstention)
def present(found: Abstention) -> Result:
    """The threshold, and coverage and accuracy on other images."""
    photos, chosen = found.halves.photos, found.threshold
    accuracy = proportion(int(found.correct.sum()), len(found))
    return Result(
        title=f"When {found.model.name} should abstain",
        metrics={
            "images": len(photos),
            "threshold": chosen.confidence if chosen.found else math.nan,
            "accuracy/guaranteed": chosen.guaranteed,
            **accuracy.metrics("accuracy/all"),
            **found.selective.metrics("accuracy/answered"),
            **found.coverage.metrics("coverage"),
        },
        blocks=(
            Note(_said(found), "Abstention", "verdict" if chosen.found else "warning"),
            *_saved(found),
            _curve(found),
            *skipped_blocks(photos.skipped),
        ),
        provenance=origin([found.model], photos.paths, photos.digests),
    )


def _said(found: Abstention) -> str:
    chosen, count = found.threshold, int(found.halves.chosen.sum())
    if not chosen.found:
        return (
            f"No threshold guarantees an accuracy of {found.accuracy:g}: {count} images are too few, or the most "
            "confident predictions are wrong too often. Give more images, or ask for a lower accuracy."
        )
    return (
        f"Answer where the confidence is at least {chosen.confidence:.4g}. For new images of the same kind, the "
        f"accuracy on those that are answered is at least {found.accuracy:g}; this statement, from "
        f"{counted(count, 'image')}, is wrong with a probability of at most {found.error:g}. On {len(found)} other "
        f"images, {found.coverage} are answered, {found.selective} of them correctly."
    )


def _saved(found: Abstention) -> tuple[Note, ...]:
    if found.unsaved:
        return (Note(f"The model is not saved with its threshold: {found.unsaved}.", "Not saved", "warning"),)
    if found.saved is None:
        return ()
    text = f"{found.saved} is the model with its threshold: give it to `classify`, which then abstains."
    return (Note(text, "Saved"),)


def _curve(found: Abstention) -> Curves:
    order = found.confidence.argsort(descending=True)
    count = torch.arange(1, len(found) + 1)
    kept = found.correct[order].double().cumsum(0) / count
    ends = torch.tensor([0.0, 1.0]).numpy()
    series = [
        Series("accuracy of those answered", (count / len(found)).numpy(), kept.numpy()),
        Series("wanted", ends, ends * 0 + found.accuracy),
    ]
    if found.threshold.found and found.answered.any():
        at = (torch.tensor([one.value]).numpy() for one in (found.coverage, found.selective))
        series.append(Series("this threshold", *at, style="points"))
    return Curves(
        tuple(series), "coverage: fraction of images answered, most confident first", "accuracy", "Abstention"
    )

"""Accuracy of a model with several labels per image."""

from __future__ import annotations

from torch import Tensor

from deepscope.checks.held_out import HeldOut
from deepscope.classification import evaluate_labels
from deepscope.command import Headline
from deepscope.gallery import Entry, Gallery
from deepscope.inputs import Photos, stream_photos
from deepscope.names import counted
from deepscope.presenters.gallery import EXPLORED, Encoder, entries_of, measured_of
from deepscope.presenters.label_evaluation import label_table, said
from deepscope.presenters.shown import origin, picture, skipped_blocks
from deepscope.render.text import amount, share
from deepscope.results import ImageGrid, Note, Picture, Result
from deepscope.session import Session
from deepscope.statistics import Estimate

_MISTAKES = 12
"""Images that are pictured: those with the largest error of a probability."""
_IN_A_ROW = 4


def label_accuracy(held: HeldOut, session: Session, *, limit: int | None) -> Result:
    """Average precision of each label, their mean, decisions at the thresholds, and the largest errors."""
    model = held.model
    parts: list[Photos] = []
    worst: list[tuple[float, int, Tensor]] = []
    entries: list[Entry] = []
    encode = Encoder(min(filter(None, (limit, held.images.count, EXPLORED))))
    count = 0
    for batch in stream_photos(model, held.images, session, limit=limit, text="classifying"):
        if len(batch):
            errors = _errors(batch).tolist()
            found = [(-error, count + row, batch.pixels[row].clone()) for row, error in enumerate(errors) if error]
            worst = sorted([*worst, *found], key=lambda one: one[:2])[:_MISTAKES]
            entries += entries_of(batch[range(min(len(batch), EXPLORED - len(entries)))], encode)
        count += len(batch)
        parts.append(batch.keeping(0))
    photos = Photos.joined(parts)
    evaluation = evaluate_labels(model, photos.logits, photos.truth, seed=session.seed)
    return Result(
        title=f"Accuracy of {model.title}",
        metrics={"images": float(len(photos)), **evaluation.metrics},
        blocks=(
            Note(said(evaluation), "Average precision", "verdict"),
            *held.notes,
            label_table(evaluation),
            *_mistakes(photos, {row: pixels for _, row, pixels in worst}),
            *skipped_blocks(photos.skipped),
            Gallery(tuple(entries), measured_of(entries), "The images", "Below each: what was predicted."),
        ),
        arrays={"probabilities": photos.probabilities.numpy(), "labels": photos.truth.numpy()},
        provenance=origin([model], photos.paths, photos.digests),
    )


def labels_headline(result: Result) -> Headline:
    """How well the labels are told apart, and how often all of an image are right."""
    precision, exact = (Estimate.of(result.metrics, name) for name in ("mAP", "exact-match"))
    count = round(result.metrics["images"])
    return Headline(
        f"The mean average precision over the labels is {amount(precision)} on {counted(count, 'image')}. On "
        f"{share(exact)} of them all labels are right at their thresholds.",
        f"mean average precision on {counted(count, 'image')}",
        precision,
        form="number",
        picture=result.figure(),
    )


def _errors(photos: Photos) -> Tensor:
    """(N,) the largest error of a probability among the labels on the wrong side of their thresholds; 0 without any."""
    wrong = photos.predictions != photos.truth
    return ((photos.probabilities - photos.truth.float()).abs() * wrong).amax(1)


def _mistakes(photos: Photos, shown: dict[int, Tensor]) -> tuple[ImageGrid, ...]:
    names, cells = photos.model.categories, list[Picture]()
    for row, pixels in shown.items():
        own, predicted = (_listed(names, flags[row]) for flags in (photos.truth, photos.predictions))
        caption = f"{photos.paths[row].name}: shows {own}; predicted {predicted}"
        cells.append(picture(photos.model.displayed(pixels), caption=caption))
    if not cells:
        return ()
    rows = tuple(tuple(cells[at : at + _IN_A_ROW]) for at in range(0, len(cells), _IN_A_ROW))
    return (ImageGrid(rows, "Largest errors", "Images with a label on the wrong side of its threshold."),)


def _listed(names: tuple[str, ...], flags: Tensor) -> str:
    return ", ".join(names[label] for label in flags.nonzero().flatten().tolist()) or "none"

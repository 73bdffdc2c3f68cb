"""How suspected label errors are shown."""

from __future__ import annotations

from collections.abc import Mapping

from deepscope.gallery import Entry, Gallery, Measured
from deepscope.presenters.gallery import key_of, names_of
from deepscope.presenters.shown import missing, origin, picture, skipped_blocks
from deepscope.render import presents
from deepscope.results import Block, Column, ImageGrid, Note, Picture, Result, Table
from deepscope.transfer.label_errors import LabelErrors
from deepscope.transfer.label_parts import LabelErrorsInParts

_PAIRS = 12
"""Pairs of classes that are listed, at most."""
_LISTED = 200
"""Suspects that are listed, at most; `arrays` has all of them."""


@presents(LabelErrors)
def present(found: LabelErrors) -> Result:
    """Verdicts, pictures of the most suspect images, and tables."""
    return Result(
        title=f"Which labels of {found.name} are probably wrong",
        metrics=_metrics(found),
        blocks=(
            *_verdicts(found),
            *_gallery(found),
            _table(found),
            _pairs(found),
            *skipped_blocks(found.skipped),
            _evidence(found),
        ),
        arrays={
            "labels": found.labels,
            "probabilities": found.probabilities,
            "suspects": found.suspects,
        },
        provenance=origin(found.models.values(), found.paths, found.digests),
    )


@presents(LabelErrorsInParts)
def present_in_parts(found: LabelErrorsInParts) -> Result:
    """The same figures, and the most suspect labels by name."""
    data = found.data
    left = [f"{n} {what}" for n, what in ((data.unlabelled, "without a class"), (data.unreadable, "unreadable")) if n]
    return Result(
        title=f"Which labels of {found.name} are probably wrong",
        metrics={**_metrics(found), "parts": len(data.files)},
        blocks=(
            *_verdicts(found),
            *([Note(f"Left out: {' and '.join(left)}.", "Left out", "warning")] if left else []),
            _table(found),
            _pairs(found),
        ),
        arrays={
            "labels": found.labels,
            "predicted": found.predicted,
            "confidence": found.confidence,
            "suspects": found.suspects,
        },
    )


def _metrics(found: LabelErrors | LabelErrorsInParts) -> Mapping[str, float]:
    return {
        "images": len(found),
        "suspects": int(found.suspects.sum()),
        **found.trial.metrics("planted/auroc"),
        **_shares(found),
        **found.accuracy.metrics("accuracy"),
    }


def _shares(found: LabelErrors | LabelErrorsInParts) -> dict[str, float]:
    """What follows from the share of wrong labels, where that means anything."""
    if not found.decides:
        return {}
    low, high = found.bounds
    return {**found.wrong.metrics("wrong-labels"), "accuracy/bounds/low": low, "accuracy/bounds/high": high}


def _verdicts(found: LabelErrors | LabelErrorsInParts) -> list[Block]:
    count, (low, high) = int(found.suspects.sum()), found.bounds
    part = ""
    if found.test is not None:
        part = f", {int((found.suspects & found.test).sum())} of them on test images"
    if not found.decides:
        text = (
            "Wrong labels cannot be counted with these features. In a trial, some labels were changed on purpose: the "
            f"chance that such a label has a lower probability than another one is only {found.trial} (AUROC). The "
            f"{count} labels{part} that cross-validated classifiers contradict may be images that these classifiers, "
            f"with an accuracy of {found.accuracy}, get wrong. Use a model that is more accurate on these classes."
        )
        return [Note(text, "Label errors", "warning"), *_small(found)]
    wrong = found.wrong
    return [
        Note(
            f"{count} of {len(found)} labels are suspect{part}. Confident learning estimates that "
            f"{100 * wrong.value:.1f} % of the labels are wrong (bootstrap interval {100 * wrong.low:.1f} to "
            f"{100 * wrong.high:.1f} %). A suspect is a label that cross-validated classifiers contradict with "
            "confidence: look at the pictures before changing any.",
            "Label errors",
            "verdict",
        ),
        Note(
            f"Cross-validated accuracy against the given labels: {found.accuracy}. If that share of labels is wrong, "
            f"accuracy against the true ones lies between {low:.3f} and {high:.3f}: at worst the classifier repeats "
            "every wrong label, at best it contradicts each with the true class.",
            "What wrong labels mean for accuracy",
        ),
        Note(
            "In a trial, some labels were changed on purpose: the chance that such a label has a lower probability "
            f"than another one is {found.trial} (AUROC).",
            "How well wrong labels are found",
        ),
        *_small(found),
    ]


def _small(found: LabelErrors | LabelErrorsInParts) -> list[Block]:
    if not found.left_out:
        return []
    text = f"Classes with fewer than two images are left out: {', '.join(found.left_out)}."
    return [Note(text, "Small classes", "warning")]


def _gallery(found: LabelErrors) -> list[Block]:
    """The suspects' pictures, where there are suspects."""
    cells = []
    for row, pixels in found.pictures.items():
        likely = int(found.predicted[row])
        caption = (
            f"{found.paths[row].name}: labelled {found.classes[found.labels[row]]}, looks like "
            f"{found.classes[likely]} ({100 * found.probabilities[row, likely]:.0f} %)"
        )
        cells.append(missing(caption=caption) if pixels is None else picture(pixels, caption=caption))
    caption = "In brackets: the probability by a classifier that was not trained on the image."
    return [ImageGrid(_fours(cells), "The most suspect labels", caption)] if cells else []


def _evidence(found: LabelErrors) -> Gallery:
    """What speaks against each label."""
    probability = Measured(
        "label-probability",
        "probability of the label",
        "By classifiers that did not see the label: low where the label is probably wrong.",
        "share",
        1,
    )
    confidence, entries = found.confidence, list[Entry]()
    for row, (path, digest) in enumerate(zip(found.paths, found.digests, strict=True)):
        likely = int(found.predicted[row])
        flags = {}
        if found.suspects[row] and found.decides:
            said = f"Looks like {found.classes[likely]} ({100 * found.probabilities[row, likely]:.0f} %)."
            flags = {"suspected label error": said}
        name, file = names_of(path)
        values = {"label-probability": float(confidence[row])}
        entries.append(Entry(key_of(path, digest), name, file, values=values, flags=flags))
    return Gallery(tuple(entries), (probability,), "What speaks against each label")


def _fours(cells: list[Picture]) -> tuple[tuple[Picture, ...], ...]:
    return tuple(tuple(cells[at : at + 4]) for at in range(0, len(cells), 4))


def _table(found: LabelErrors | LabelErrorsInParts) -> Table:
    rows = tuple(
        (
            str(found.paths[row]),
            found.classes[found.labels[row]],
            found.classes[found.predicted[row]],
            float(found.confidence[row]),
            float(found.likely[row]),
        )
        for row in found.ranked[:_LISTED].tolist()
    )
    columns = (
        *(Column(name) for name in ("image", "label", "looks like")),
        *(Column(name, ".3f") for name in ("probability of the label", "of the other")),
    )
    more = f"; the first {_LISTED} of {int(found.suspects.sum())}" if found.suspects.sum() > _LISTED else ""
    return Table(columns, rows, "Suspect labels", f"The most suspect first{more}.")


def _pairs(found: LabelErrors | LabelErrorsInParts) -> Table:
    """The pairs of classes among which most labels are wrong."""
    pairs = [
        (found.classes[given], found.classes[true], float(found.joint[given, true] * len(found)))
        for given in range(len(found.classes))
        for true in range(len(found.classes))
        if given != true and found.joint[given, true] > 0
    ]
    rows = tuple(sorted(pairs, key=lambda pair: -pair[2])[:_PAIRS])
    columns = (Column("label"), Column("true class"), Column("images, estimated", ".1f"))
    return Table(columns, rows, "Which classes are mixed up", "Off the diagonal of the joint of confident learning.")

"""Accuracy, errors and calibration of the classifier."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from deepscope.checks import confidences
from deepscope.checks.check import Check
from deepscope.checks.held_out import held_out
from deepscope.checks.label_accuracy import label_accuracy, labels_headline
from deepscope.checks.pace import Pace, Work
from deepscope.classification.label_order import label_order
from deepscope.command import Budget, Headline
from deepscope.gallery import Entry, Gallery
from deepscope.inputs import Photos, stream_photos
from deepscope.names import counted
from deepscope.presenters.gallery import EXPLORED, Encoder, entries_of, measured_of
from deepscope.presenters.label_order import order_note
from deepscope.presenters.shown import origin, skipped_blocks
from deepscope.presenters.transfer_figures import Answers, evaluation_blocks
from deepscope.render.text import amount, share
from deepscope.results import Block, Curves, Note, Result, Series, Table
from deepscope.session import Session
from deepscope.settings import Count
from deepscope.statistics import Estimate, mean, proportion, top_shares
from deepscope.transfer.evaluation import reliability

_DRAWS = 500
_MISTAKES = 12
"""The most mistakes that are pictured."""
_SIDE = 160
"""Longer side of their pictures, in pixels."""
_CERTAIN = 0.9995
"""Confidences from here on are shown as 1.000."""
_WIDE = 0.2
"""Where the 95 % interval of the accuracy is wider than this, it is not compared with the mean confidence."""


@dataclass(frozen=True)
class Accuracy(Check):
    """Accuracy with its interval, each class, confusion, the most confident mistakes, and calibration.

    Attributes:
        data: a folder with one folder of images per class, with or without `train/` and `test/`; or a
            dataset's name.
        model: the classifier; `deepscope models` lists them.
        labels: a CSV file with the labels of each image, for a model with several per image; by default `labels.csv` in
            the folder of the data.
        limit: most images to use, drawn at random.
    """

    chapter: ClassVar[str] = "1 Accuracy and calibration"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.5, "full": 3}
    listed: ClassVar[Mapping[str, str]] = {
        "expected-calibration-error": "expected calibration error",
        "brier": "Brier score",
        **confidences.LISTED,
    }
    shares: ClassVar[tuple[str, ...]] = (
        "",
        "accuracy/*",
        "confidence",
        "expected-calibration-error",
        "mAP",
        "exact-match",
        *confidences.SHARES,
    )

    _: KW_ONLY
    limit: Count | None = None

    @classmethod
    def within(cls, budget: Budget, *, data: str, model: str) -> Accuracy:
        """Some hundred images, or all."""
        return cls(data, model=model, limit=500 if budget == "quick" else None)

    def work(self, known: Pace) -> Work:
        """Every image once; much of the rest is resampled calibration errors and small pictures."""
        count = min(self.limit or known.images, known.images)
        return Work(passes=count, seconds=0.02 * count)

    def run(self, session: Session) -> Result:
        """Classify the held-out images."""
        held = held_out(self.model, self.data, session, self.labels)
        model = held.model
        if model.head.kind == "multilabel":
            return label_accuracy(held, session, limit=self.limit)
        read = stream_photos(model, held.images, session, limit=self.limit, text="classifying")
        count = min(filter(None, (self.limit, held.images.count, EXPLORED)))
        photos, pictures, entries = _without_pixels(read, Encoder(count))
        labels = torch.tensor([min(answer) for answer in photos.answers])
        probabilities = photos.probabilities
        right = photos.predicted == labels  # by the threshold of a binary head
        other = label_order(labels.numpy(), photos.predicted.numpy(), len(model.categories), seed=session.seed)
        seen, classes, reduced = _reduced(probabilities, labels, model.categories)
        calibration = reliability(reduced, seen)
        error = _calibration_error(reduced, seen, session)
        accuracy = proportion(int(right.sum()), len(right))
        confidence = float(probabilities.amax(1).mean())
        believed = _believed(accuracy, probabilities.amax(1), error, _by_chance(reduced, session))
        brier = mean((probabilities.square().sum(1) - 2 * probabilities.gather(1, labels[:, None])[:, 0] + 1).numpy())
        hits = probabilities.topk(min(5, probabilities.shape[1]), 1).indices == labels[:, None]
        ranks = torch.where(right, 0, torch.where(hits.any(1), hits.int().argmax(1).clamp_min(1), 5))
        better = confidences.measured(photos, session) or Result("")
        return Result(
            title=f"Accuracy of {model.title}",
            metrics={
                "images": float(len(right)),
                **top_shares(ranks.numpy(), len(model.categories), "accuracy"),
                **error.metrics("expected-calibration-error"),
                **brier.metrics("brier"),
                "confidence": confidence,
                **({} if other is None else other.reordered.metrics("accuracy/reordered")),
                **better.metrics,
            },
            blocks=(
                Note(
                    f"{accuracy} of {len(right)} images are classified correctly (95 % Wilson).", "Accuracy", "verdict"
                ),
                Note(believed, "Calibration", "verdict"),
                *(() if other is None else (order_note(other, model.categories),)),
                *held.notes,
                *_of_classes_seen(
                    evaluation_blocks(Answers(classes, seen, reduced, photos.paths, pictures), calibration)
                ),
                _coverage(probabilities.amax(1), right),
                *better.blocks,
                *skipped_blocks(photos.skipped),
                Gallery(tuple(entries), measured_of(entries), "The images", "Below each: what was predicted."),
            ),
            arrays={"probabilities": probabilities.numpy(), "labels": labels.numpy()},
            provenance=origin([model], photos.paths, photos.digests),
        )

    def left_out(self, result: Result) -> Mapping[str, str]:
        """Temperature and abstention, where the images or the model did not allow them."""
        return {} if "mAP" in result.metrics else confidences.left_out(result.metrics)

    def headline(self, result: Result) -> Headline:
        """How often it is right, and whether its confidence says so."""
        if "mAP" in result.metrics:
            return labels_headline(result)
        top = Estimate.of(result.metrics, "accuracy/top1")
        count, confidence = round(result.metrics["images"]), result.metrics["confidence"]
        error = Estimate.of(result.metrics, "expected-calibration-error")
        reordered = Estimate.of(result.metrics, "accuracy/reordered")
        if reordered.known:
            return Headline(
                f"Accuracy is {share(top, interval=True)} on {counted(count, 'image')}, and would be "
                f"{share(reordered)} with the classes in another order: a likely label-order mistake.",
                f"of {count} images are classified correctly",
                top,
                verdict="label order",
                tone="attention",
                picture=result.figure(),
            )
        said, agrees = "", top.low <= confidence <= top.high
        if top.high - top.low <= _WIDE:
            said = "calibrated" if agrees else "overconfident" if confidence > top.high else "underconfident"
        if not _useful(top):
            said = "often wrong"
        return Headline(
            f"Accuracy is {share(top, interval=True)} on {counted(count, 'image')}, mean confidence "
            f"{100 * confidence:.0f} %, expected calibration error {amount(error)}.",
            f"of {count} images are classified correctly",
            top,
            verdict=said,
            tone="good" if agrees and _useful(top) else "attention",
            picture=result.figure(),
        )


def _useful(accuracy: Estimate) -> bool:
    """Whether the classifier is right more often than wrong, as far as these images show."""
    return accuracy.low > 0.5


def _without_pixels(batches: Iterable[Photos], encode: Encoder) -> tuple[Photos, dict[int, Tensor], list[Entry]]:
    """All images without their pixels; the most confident mistakes, by row, the worst first; and the gallery's entries.

    Only small pictures are held at any time, and no image is opened twice.
    """
    parts: list[Photos] = []
    entries: list[Entry] = []
    worst: list[tuple[float, int, Tensor]] = []
    count = 0
    for batch in batches:
        confidences, predicted = batch.probabilities.max(1)
        for row, (label, answer) in enumerate(zip(predicted.tolist(), batch.answers)):
            if label != min(answer):
                worst.append((-float(confidences[row]), count + row, batch.model.displayed(batch.pixels[row])))
        worst = [(key, row, _small(pixels)) for key, row, pixels in sorted(worst, key=lambda one: one[:2])[:_MISTAKES]]
        count += len(batch)
        if len(batch) and len(entries) < EXPLORED:
            entries += entries_of(batch[range(min(len(batch), EXPLORED - len(entries)))], encode)
        parts.append(batch.keeping(0))
    return Photos.joined(parts), {row: pixels for _, row, pixels in worst}, entries


def _small(pixels: Tensor) -> Tensor:
    """(3, H, W) pixels, as a copy whose longer side is at most that of a picture."""
    factor = min(1.0, _SIDE / max(pixels.shape[1:]))
    if factor == 1:
        return pixels.clone()
    size = [max(1, round(side * factor)) for side in pixels.shape[1:]]
    return functional.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]


def _reduced(
    probabilities: Tensor, labels: Tensor, categories: tuple[str, ...]
) -> tuple[Tensor, tuple[str, ...], Tensor]:
    """Labels, classes and probabilities over the classes that the images show; the likeliest other one is the last.

    The most probable class and its probability stay what they are.
    """
    shown = labels.unique()
    names = tuple(categories[label] for label in shown.tolist())
    found = torch.searchsorted(shown, labels)
    rest = torch.ones(len(categories), dtype=torch.bool)
    rest[shown] = False
    if not rest.any():
        return found, names, probabilities
    others = probabilities[:, rest].amax(1, keepdim=True)
    return found, (*names, "any other class"), torch.cat([probabilities[:, shown], others], 1)


def _of_classes_seen(blocks: tuple[Block, ...]) -> list[Block]:
    """Without the rows of tables on classes that no image shows."""
    return [
        replace(block, rows=tuple(row for row in block.rows if row[-1] != 0)) if isinstance(block, Table) else block
        for block in blocks
    ]


def _calibration_error(probabilities: Tensor, labels: Tensor, session: Session) -> Estimate:
    """The expected calibration error with its bootstrap interval over images."""
    rng = session.rng("calibration")
    drawn = torch.randint(len(labels), (_DRAWS, len(labels)), generator=rng)
    errors = [reliability(probabilities[rows], labels[rows]).error for rows in drawn]
    low, high = np.quantile(errors, [0.025, 0.975])
    return Estimate(reliability(probabilities, labels).error, float(low), float(high))


def _by_chance(probabilities: Tensor, session: Session) -> float:
    """The error that a calibrated classifier of the same confidences exceeds in one of twenty such samples.

    Correct predictions are drawn with the stated confidences (consistency resampling: Broecker and Smith,
    "Increasing the reliability of reliability diagrams", 2007).
    """
    rng = session.rng("calibration by chance")
    confidence, answers = probabilities.max(1)
    errors = []
    for _ in range(_DRAWS):
        wrong = torch.rand(len(confidence), generator=rng) >= confidence
        errors.append(reliability(probabilities, (answers + wrong) % probabilities.shape[1]).error)
    return float(np.quantile(errors, 0.95))


def _believed(accuracy: Estimate, confidences: Tensor, error: Estimate, chance: float) -> str:
    count, confidence = len(confidences), float(confidences.mean())
    if float(confidences.min()) >= _CERTAIN > accuracy.low:
        return (
            f"Every confidence rounds to 1.000, which {count} images cannot confirm: they show an accuracy above "
            f"{accuracy.low:.3f} (95 % Wilson). Such confidences do not rank predictions by certainty."
        )
    if accuracy.high - accuracy.low > _WIDE:
        verdict = f"{count} images are too few to compare it with the accuracy"
    elif accuracy.low <= confidence <= accuracy.high:
        verdict = "it agrees with the accuracy"
    else:
        verdict = f"it is {'higher' if confidence > accuracy.value else 'lower'} than the accuracy"
    seen = "does not exceed" if error.value <= chance else "exceeds"
    return (
        f"Its mean confidence is {confidence:.3f}: {verdict}. Expected calibration error {error} (15 bins; a bootstrap "
        f"interval, which lies high where images are few). That {seen} the chance error of a calibrated classifier on "
        f"{counted(count, 'image')}, up to {chance:.3f}."
    )


def _coverage(confidence: Tensor, right: Tensor) -> Curves:
    """Accuracy on the most confident predictions."""
    order = confidence.argsort(descending=True)
    count = torch.arange(1, len(right) + 1)
    kept = right[order].double().cumsum(0) / count
    return Curves(
        (Series("accuracy", (count / len(right)).numpy(), kept.numpy()),),
        "coverage: fraction of images classified, most confident first",
        "accuracy",
        title="Accuracy with abstention",
        caption="A classifier that abstains on uncertain images is more accurate on the others.",
    )

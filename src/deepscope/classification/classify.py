"""Classify images: the most probable classes of each, streamed, in memory that does not grow with the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepscope.classification.labels import LabelEvaluation, evaluate_labels
from deepscope.errors import DataError, SettingError
from deepscope.images import Skipped
from deepscope.inputs import Images, LabelTable, nothing_readable, read, read_labels
from deepscope.models import VisionModel
from deepscope.models.capabilities import SCORES, require
from deepscope.models.prediction import forward
from deepscope.models.scaling import abstaining
from deepscope.render import Presented
from deepscope.session import Session

_BEST = 5
"""Most probable classes among which the right one is looked for: top-5 accuracy."""


@dataclass(frozen=True, eq=False)
class Classification(Presented):
    """What a model sees in N images.

    Attributes:
        model: the classifier.
        paths: the images' files, or names.
        probabilities: (N, k) of the k most probable classes, the largest first.
        classes: (N, k) their indices.
        answers: the right classes of each image; empty where nothing says what it shows.
        ranks: (N,) how many of the five most probable classes come before the first right one; 5 where none is right.
        pixels: (3, H, W) in [0, 1] of each of the first images, as the model sees them.
        digests: SHA-256 of each file or image.
        skipped: what could not be read.
        predictions: (N, k) bool, which of the classes are predicted: the first, or with a multilabel head, of which all
            labels are returned, those above their thresholds.
        evaluation: of several labels per image, where the labels of the images were given.
        abstain_below: the confidence below which no answer is given; 0 where one always is.
    """

    model: VisionModel
    paths: tuple[Path, ...]
    probabilities: Tensor
    classes: Tensor
    answers: tuple[frozenset[int], ...]
    ranks: Tensor
    pixels: tuple[Tensor, ...]
    digests: tuple[bytes, ...]
    skipped: tuple[Skipped, ...]
    predictions: Tensor
    evaluation: LabelEvaluation | None = None
    abstain_below: float = 0.0

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def abstained(self) -> Tensor:
        """(N,) bool: the images whose largest probability is too low for an answer."""
        return self.probabilities[:, 0] < self.abstain_below

    @property
    def labels(self) -> list[str | None]:
        """The most probable class of each image, by name; None where the model abstains."""
        names = self.model.categories
        return [
            None if silent else names[index]
            for index, silent in zip(self.classes[:, 0].tolist(), self.abstained.tolist())
        ]

    @property
    def predicted(self) -> list[tuple[str, ...]]:
        """The predicted classes of each image, by name: one, or none where the model abstains.

        With a multilabel head, all labels above their thresholds.
        """
        names = self.model.categories
        return [
            tuple(names[label] for label, taken in zip(row, said) if taken and not silent)
            for row, said, silent in zip(self.classes.tolist(), self.predictions.tolist(), self.abstained.tolist())
        ]

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per image and class: image, rank (from 1), class, probability, and whether it is right.

        With a multilabel head also whether the label is predicted, and with a threshold whether the model abstains.
        """
        images, k = self.classes.shape
        ranked = self.classes.tolist()
        several = self.model.head.kind == "multilabel"
        return {
            "image": [str(path) for path in self.paths for _ in range(k)],
            "rank": [*range(1, k + 1)] * images,
            "class": [self.model.categories[index] for row in ranked for index in row],
            "probability": self.probabilities.flatten().tolist(),
            **({"predicted": self.predictions.flatten().tolist()} if several else {}),
            **({"abstains": self.abstained.repeat_interleave(k).tolist()} if self.abstain_below else {}),
            "right": [index in known if known else None for row, known in zip(ranked, self.answers) for index in row],
        }


def classify(  # noqa: PLR0913 - its settings are keywords
    model: VisionModel,
    images: Images,
    *,
    labels: str | Path | None = None,
    top: int | None = 5,
    abstain_below: float | None = None,
    limit: int | None = None,
    keep: int = 12,
    batch_size: int = 32,
    seed: int = 0,
    session: Session | None = None,
) -> Classification:
    """The most probable classes of images; with a multilabel head all labels, and which are above their thresholds.

    The truth is known for files named by an ImageNet WordNet identifier, for images in folders named like the model's
    classes, and for (image, label) pairs; with a multilabel head, where a file of labels gives it. Images that cannot
    be read are skipped and listed.

    Args:
        model: a classifier.
        images: paths, folders, PIL images, arrays, tensors, or a dataset.
        labels: a CSV file with the labels of each image, for a multilabel head: `deepscope.inputs.read_labels`.
        top: how many classes to return per image; None returns all.
        abstain_below: the confidence below which no answer is given; by default the one that was saved with the model
            (`abstain`), or 0. Accuracy is still that of the most probable classes.
        limit: images to use, at most, drawn at random.
        keep: images whose pixels are returned, at most: the first ones.
        batch_size: images per forward pass; the result does not depend on it.
        seed: of the draw.
        session: device, precision and progress; its own seed counts where it is given.

    Raises:
        SettingError: a setting is out of range.
        ModelError: the model has no class layer.
        DataError: no image could be read.

    Example:
        >>> import deepscope as ds
        >>> found = ds.classify(ds.load_model("efficientnet_lite0"), ds.data.photographs.bundled("chelsea.png"), top=3)
        >>> found.labels
        ['tiger cat']
    """
    require(model, "classify", SCORES)
    several = model.head.kind == "multilabel"
    if labels is not None and not several:
        raise SettingError("labels", f"is for a model with several labels per image, and {model.name} has one")
    table = None if labels is None else read_labels(labels, model)
    if top is not None and (not isinstance(top, int) or top < 1):
        raise SettingError("top", "must be a whole number, and at least 1", got=top)
    if abstain_below is not None:
        model = abstaining(model, abstain_below)
    session = Session.of(session, device=model.device, seed=seed)
    count = len(model.categories) if several else min(top or len(model.categories), len(model.categories))
    best = min(_BEST, len(model.categories))
    paths: list[Path] = []
    answers: list[frozenset[int]] = []
    digests: list[bytes] = []
    pixels: list[Tensor] = []
    skipped: list[Skipped] = []
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    scores: list[Tensor] = []
    for batch in read(model, images, session, batch_size=batch_size, limit=limit, text="classifying"):
        skipped += batch.skipped
        if not batch.rows:
            continue
        logits = forward(model, batch.pixels, session, images=batch.total)
        classes = logits.topk(max(count, best), dim=1).indices
        values = model.probabilities(logits).gather(1, classes[:, :count])
        said = model.head.predictions(logits).gather(1, classes[:, :count])
        parts.append((values, classes[:, :count].clone(), _ranks(classes[:, :best], batch.answers), said))
        if table:
            scores.append(logits)
        pixels += [one.clone() for one in batch.pixels[: max(keep - len(pixels), 0)]]
        paths += batch.paths
        answers += batch.answers
        digests += batch.digests
    if not paths:
        raise DataError(nothing_readable(skipped))
    values, classes, ranks, said = (torch.cat(part) for part in zip(*parts))
    evaluation = None
    if table:
        answers, evaluation = _evaluated(model, table, paths, torch.cat(scores), session.seed)
    return Classification(
        model=model,
        paths=tuple(paths),
        probabilities=values,
        classes=classes,
        answers=tuple(answers),
        ranks=ranks,
        pixels=tuple(pixels),
        digests=tuple(digests),
        skipped=tuple(skipped),
        predictions=said,
        evaluation=evaluation,
        abstain_below=model.head.abstain_below,
    )


def _evaluated(
    model: VisionModel, table: LabelTable, paths: Sequence[Path], logits: Tensor, seed: int
) -> tuple[list[frozenset[int]], LabelEvaluation]:
    """The labels of each image, and the evaluation of those that the table lists."""
    found = table.of(paths)
    rows = [row for row, labels in enumerate(found) if labels is not None]
    truth = torch.zeros_like(logits, dtype=torch.bool)
    for row in rows:
        truth[row, list(found[row] or ())] = True
    answers = [labels or frozenset() for labels in found]
    return answers, evaluate_labels(model, logits[rows], truth[rows], table.known, seed=seed)


def _ranks(classes: Tensor, answers: Sequence[frozenset[int]]) -> Tensor:
    """(n,) the place of the first right class among (n, k) ranked classes; k where none is."""
    ranked = classes.tolist()
    places = [
        next((place for place, index in enumerate(row) if index in known), len(row))
        for row, known in zip(ranked, answers)
    ]
    return torch.tensor(places, dtype=torch.long)

"""`label_errors` of more images than memory holds, from features in parts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.addresses import is_address
from deepscope.batch.rows import BLOCK, some
from deepscope.errors import DataError, FileError
from deepscope.models.classifier import Normalisation
from deepscope.session import Session
from deepscope.statistics import Estimate, proportion
from deepscope.transfer import confident_learning
from deepscope.transfer.fit_parts import normalised
from deepscope.transfer.fitting import temperature
from deepscope.transfer.heads import Head, LeftOut, Streamed, folds_of
from deepscope.transfer.heads.streamed import drawn
from deepscope.transfer.label_errors import LabelFindings, planted_share
from deepscope.transfer.parts import FeatureParts


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelErrorsInParts(LabelFindings):
    """How much speaks against each label of N images whose features are in parts.

    Labels are in the order of the rows of the parts that have a class which is not left out.

    Attributes:
        data: the features.
        predicted: (N,) the most probable classes.
        likely: (N,) their probabilities.
        confidence: (N,) the probabilities of the given labels.
        ranked: the most suspect rows, the worst first.
        paths: of these, by row.
        test: None, because parts do not say what an image is for.
    """

    data: FeatureParts
    predicted: NDArray[np.int64]
    likely: NDArray[np.float64]
    confidence: NDArray[np.float64]
    ranked: NDArray[np.int64]
    paths: Mapping[int, Path]
    test: None = None

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per image that is named: the most suspect ones."""
        return {
            "image": [str(self.paths[row]) for row in self.ranked.tolist()],
            "label": [self.classes[label] for label in self.labels[self.ranked].tolist()],
            "predicted": [self.classes[label] for label in self.predicted[self.ranked].tolist()],
            "probability": self.confidence[self.ranked].tolist(),
        }


def label_errors_in_parts(
    folder: str | Path,
    *,
    name: str,
    head: str = "logistic-regression",
    keep: int = 200,
    seed: int = 0,
    session: Session | None = None,
) -> LabelErrorsInParts:
    """Find labels that are probably wrong, as `label_errors`, from features that `transfer features` wrote.

    Memory holds the class and the probability of each image's label, and blocks of everything else. Ridge is fitted to
    all images; other heads are fitted to a sample (8,192 images, at least five per class), which with fewer images is
    all of them. The bootstrap interval of the share of wrong labels is that of the sample, narrowed for the number of
    images.

    Args:
        folder: the output folder of `transfer features`.
        name: of the data.
        head: the classifier on the features.
        keep: suspects that are named, at most.
        seed: of the folds and of the labels that are changed on purpose.
        session: progress; its own seed counts where it is given.

    Raises:
        SettingError: there is no such head.
        DataError: the parts are no features, are not complete, or fewer than two classes have two readable images.
        FileError: a part is damaged, or the scores cannot be kept on the disk meanwhile.
    """
    session = Session.of(session, seed=seed)
    chosen = Head.named(head)
    data = FeatureParts.of(folder)
    enough = np.bincount(data.labels) >= 2
    if enough.sum() < 2:
        raise DataError("label errors need at least two classes with two readable images: add some", data=name)
    used = enough[data.labels]
    labels = (np.cumsum(enough) - 1)[data.labels[used]]
    given = normalised(data, used, torch.from_numpy(labels), Normalisation.fit("l2", torch.empty(0)))
    trial = _trial(given, chosen, session.seed)
    with tempfile.TemporaryFile(dir=None if is_address(folder) else folder) as file:
        scores = _Scores.of(given, chosen, session.seed, file)
        confidence, predicted, likely = scores.columns()
        limits = confident_learning.mean_confidence(confidence, labels)
        joint = confident_learning.joint_of(scores.blocks(), labels, limits)
        suspects = confident_learning.suspects_of(scores.blocks(), labels, joint)
    wrong = _share_wrong(scores, joint, session.seed)
    accuracy = proportion(int((predicted == labels).sum()), len(labels))
    rows = np.flatnonzero(suspects)
    ranked = rows[np.argsort(confidence[rows], kind="stable")][: max(keep, 0)]
    names = np.array(data.classes, object)
    return LabelErrorsInParts(
        name=name,
        data=data,
        classes=tuple(names[enough]),
        labels=labels,
        predicted=predicted,
        likely=likely,
        confidence=confidence,
        suspects=suspects,
        wrong=wrong,
        accuracy=accuracy,
        bounds=confident_learning.accuracy_bounds(accuracy, wrong),
        trial=trial,
        joint=joint,
        left_out=tuple(names[~enough]),
        ranked=ranked,
        paths=_paths(data, used, ranked),
    )


@dataclass(frozen=True, eq=False)
class _Scores:
    """The scores of N images without each, in a file: memory holds a block of them.

    Attributes:
        features: that they are of.
        left: how they are computed.
        heat: the temperature that calibrates them.
        file: (N, C) float32.
    """

    features: Streamed
    left: LeftOut
    heat: float
    file: IO[bytes]

    @classmethod
    def of(cls, features: Streamed, head: Head, seed: int, file: IO[bytes]) -> _Scores:
        """Compute them. Raises FileError where the disk is full."""
        left, heat = _calibrated(features, head, seed)
        try:
            for _, scores in left.blocks():
                file.write(scores.numpy().tobytes())
            file.flush()
        except OSError as error:
            reason = f"scores cannot be kept in the output folder ({error.strerror or error})"
            raise FileError(f"{reason}: free {4 * len(features) * features.classes:,} bytes") from None
        return cls(features, left, heat, file)

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Probabilities."""
        self.file.seek(0)
        for start in range(0, len(self.features), BLOCK):
            rows = slice(start, min(start + BLOCK, len(self.features)))
            content = self.file.read((rows.stop - start) * self.features.classes * 4)
            scores = np.frombuffer(content, np.float32).reshape(rows.stop - start, -1)
            yield rows, _probabilities(torch.from_numpy(scores.copy()), self.heat)

    def columns(self) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
        """(N,) the probability of each label, the most probable class, and its probability."""
        labels = self.features.labels.numpy()
        confidence, likely, predicted = np.empty(len(labels)), np.empty(len(labels)), np.empty(len(labels), np.int64)
        for rows, found in self.blocks():
            confidence[rows] = confident_learning.self_confidence(found, labels[rows])
            predicted[rows], likely[rows] = found.argmax(1), found.max(1)
        return confidence, predicted, likely


def _calibrated(features: Streamed, head: Head, seed: int) -> tuple[LeftOut, float]:
    labels = features.labels[features.sample]
    folds = folds_of(labels, seed=seed)
    assert folds is not None  # every class has two images
    left = head.left_out(features, folds)
    return left, temperature(left.sample, labels)


def _probabilities(scores: Tensor, heat: float) -> NDArray[np.float64]:
    return (scores.double() / heat).softmax(1).numpy()


def _trial(features: Streamed, head: Head, seed: int) -> Estimate:
    """As in `label_errors`: how well labels that are changed on purpose are told from the others."""
    labels = features.labels.numpy()
    changed, wrong = confident_learning.planted(labels, planted_share(len(labels)), seed=seed)
    confidence = np.zeros(len(labels))
    if wrong.any():
        other = Streamed(torch.from_numpy(changed), features.read, drawn(torch.from_numpy(changed)))
        left, heat = _calibrated(other, head, seed)
        for rows, scores in left.blocks():
            confidence[rows] = confident_learning.self_confidence(_probabilities(scores, heat), changed[rows])
    return confident_learning.separation(confidence, wrong)


def _share_wrong(scores: _Scores, joint: NDArray[np.float64], seed: int) -> Estimate:
    """The share of all images; its bootstrap interval is that of the sample, scaled by the root of the numbers."""
    sample = scores.features.sample
    found = _probabilities(scores.left.sample, scores.heat)
    of_sample = confident_learning.share_wrong(found, scores.features.labels[sample].numpy(), seed=seed)
    value, narrow = confident_learning.off_diagonal(joint), (len(sample) / len(scores.features)) ** 0.5
    low, high = (value + (end - of_sample.value) * narrow for end in (of_sample.low, of_sample.high))
    return Estimate(value, max(low, 0.0), min(high, 1.0))


def _paths(data: FeatureParts, used: NDArray[np.bool_], rows: NDArray[np.int64]) -> dict[int, Path]:
    """The files of some of the images."""
    rows = np.sort(rows)
    wanted = np.zeros(len(data.used), bool)
    wanted[np.flatnonzero(data.used)[used][rows]] = True
    found = (path for values in some(data.files, "path", wanted) for path in values.to_pylist())
    return dict(zip(rows.tolist(), map(Path, found), strict=True))

"""Images preprocessed for a model, with its logits: each is opened, hashed and decoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from deepscope import images
from deepscope.errors import DataError
from deepscope.inputs.given import Images
from deepscope.inputs.reading import BATCH, Read, read
from deepscope.models import VisionModel
from deepscope.models.prediction import forward
from deepscope.session import Session


@dataclass(frozen=True, eq=False)
class Photos:
    """N images, preprocessed for a model, and its logits.

    Attributes:
        model: the classifier that read them.
        paths: their files, or names.
        pixels: (N, 3, H, W) in [0, 1], on the CPU; fewer, of the first images, where only those are kept.
        logits: (N, C), on the CPU.
        answers: the right classes of each; empty where it is not known, or the image shows no label.
        digests: SHA-256 of each file or image.
        rows: each image's place among those that were given.
        skipped: what could not be read.
        known: whether the answer is known, image by image; where it is empty, those of an answer are.
    """

    model: VisionModel
    paths: tuple[Path, ...]
    pixels: Tensor
    logits: Tensor
    answers: tuple[frozenset[int], ...]
    digests: tuple[bytes, ...]
    rows: tuple[int, ...] = ()
    skipped: tuple[images.Skipped, ...] = ()
    known: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        if not self.known:
            object.__setattr__(self, "known", tuple(map(bool, self.answers)))

    def __len__(self) -> int:
        return len(self.paths)

    @classmethod
    def of(cls, model: VisionModel, batch: Read, logits: Tensor) -> Photos:
        """A batch of images that were read, with its logits; `rows` are their places in the batch."""
        rows = tuple(range(len(batch.rows)))
        return cls(model, batch.paths, batch.pixels, logits, batch.answers, batch.digests, rows, known=batch.known)

    def __getitem__(self, rows: Sequence[int]) -> Photos:
        """Some of them, without what was skipped."""
        at = torch.tensor(rows, dtype=torch.long)
        return Photos(
            self.model,
            tuple(self.paths[row] for row in rows),
            self.pixels[at],
            self.logits[at],
            tuple(self.answers[row] for row in rows),
            tuple(self.digests[row] for row in rows),
            tuple(self.rows[row] for row in rows),
            known=tuple(self.known[row] for row in rows),
        )

    def keeping(self, count: int) -> Photos:
        """The same, with the pixels of the first `count` images only; the others' memory is given back."""
        return replace(self, pixels=self.pixels[: max(count, 0)].clone())

    @classmethod
    def joined(cls, parts: Sequence[Photos]) -> Photos:
        """The images of several batches of one model, in order; an empty one where none holds an image."""
        filled = [part for part in parts if len(part)] or parts[:1]
        return cls(
            filled[0].model,
            tuple(path for part in filled for path in part.paths),
            torch.cat([part.pixels for part in filled]),
            torch.cat([part.logits for part in filled]),
            tuple(answer for part in filled for answer in part.answers),
            tuple(digest for part in filled for digest in part.digests),
            tuple(row for part in filled for row in part.rows),
            tuple(item for part in parts for item in part.skipped),
            tuple(known for part in filled for known in part.known),
        )

    @property
    def probabilities(self) -> Tensor:
        """(N, C), of the logits by the model's head."""
        return self.model.probabilities(self.logits)

    @property
    def predicted(self) -> Tensor:
        """(N,) most probable classes."""
        return self.logits.argmax(1)

    @property
    def predictions(self) -> Tensor:
        """(N, C) bool: the predicted class of each image, or all labels above their thresholds."""
        return self.model.head.predictions(self.logits)

    @property
    def truth(self) -> Tensor:
        """(N, C) bool: the right classes of each image."""
        truth = torch.zeros_like(self.logits, dtype=torch.bool)
        for row, answer in enumerate(self.answers):
            truth[row, list(answer)] = True
        return truth

    @property
    def correct(self) -> list[bool | None]:
        """Whether each prediction is right; None where the truth is not known.

        Of several labels per image it is right where it names exactly those that the image shows.
        """
        if self.model.head.kind == "multilabel":
            exact = (self.predictions == self.truth).all(1).tolist()
            return [same if known else None for same, known in zip(exact, self.known, strict=True)]
        return [label in answer if answer else None for label, answer in zip(self.predicted.tolist(), self.answers)]

    def true_class(self, index: int) -> int | None:
        """The right class, the most probable one where several are right; None where it is not known."""
        return max(self.answers[index], key=lambda label: float(self.logits[index, label]), default=None)


def stream_photos(
    model: VisionModel,
    given: Images,
    session: Session,
    *,
    batch_size: int = BATCH,
    limit: int | None = None,
    below: Sequence[str | Path] = (),
    text: str = "reading",
) -> Iterator[Photos]:
    """Read and classify images batch by batch, in constant memory.

    All images have one size. A batch may be empty, to carry what could not be read.

    Args:
        as `read`; the session also gives the precision of the forward passes.

    Raises:
        ModelError: the model has no class layer.
        DataError: it does not hold images, tensors differ in size, or no image could be read.
        SettingError: a setting is out of range.
    """
    model.require_classes()
    size: torch.Size | None = None
    skipped: list[images.Skipped] = []
    for batch in read(model, given, session, batch_size=batch_size, limit=limit, below=below, text=text):
        skipped += batch.skipped
        logits = torch.empty(0, len(model.categories))
        if batch.rows:
            logits = forward(model, batch.pixels, session, images=batch.total)
            size = size or batch.pixels.shape[-2:]
            require_size(batch.paths[0], batch.pixels, size)
        yield Photos(
            model,
            batch.paths,
            batch.pixels,
            logits,
            batch.answers,
            batch.digests,
            batch.rows,
            batch.skipped,
            batch.known,
        )
    if size is None:
        raise DataError(nothing_readable(skipped))


def require_size(path: Path, pixels: Tensor, size: torch.Size) -> None:
    """Raises DataError where (n, 3, H, W) pixels do not have the size of the images before them."""
    if pixels.shape[-2:] != size:
        (height, width), (own_height, own_width) = size, pixels.shape[-2:]
        raise DataError(
            f"{path} has {own_width} x {own_height} pixels, and the images before it {width} x {height}: give tensors "
            "of one size, or files, which the model's preprocessing brings to one size"
        )


def read_photos(
    model: VisionModel,
    given: Images,
    session: Session,
    *,
    batch_size: int = BATCH,
    limit: int | None = None,
    below: Sequence[str | Path] = (),
    text: str = "reading",
) -> Photos:
    """Read and classify images, and keep their pixels and logits.

    Args:
        as `stream_photos`.

    Raises:
        as `stream_photos`.
    """
    return Photos.joined(
        list(stream_photos(model, given, session, batch_size=batch_size, limit=limit, below=below, text=text))
    )


def nothing_readable(skipped: Sequence[images.Skipped]) -> str:
    """The message where no image could be read: the first reason, and how many more there are."""
    if not skipped:
        return "no image was given: name at least one file or folder"
    rest = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
    return f"no image could be read: {skipped[0].path}: {skipped[0].reason}{rest}"

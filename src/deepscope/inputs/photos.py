"""Images preprocessed for a model, with its logits: each is opened, hashed and decoded once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from deepscope import images
from deepscope.errors import DataError, SettingError
from deepscope.inputs.given import Images, Item, gather
from deepscope.inputs.truth import right_answers
from deepscope.models import VisionModel
from deepscope.models.prediction import forward
from deepscope.session import Session

BATCH = 32
"""Images per forward pass, unless the caller says otherwise."""


@dataclass(frozen=True)
class Read:
    """Consecutive images, preprocessed for a model.

    Attributes:
        rows: (n,) each image's place among those that were given.
        paths: their files, or names.
        pixels: (n, 3, H, W) in [0, 1], on the CPU.
        answers: the right classes of each; empty where it is not known.
        digests: SHA-256 of each file or image.
        skipped: images met on the way that could not be read.
    """

    rows: tuple[int, ...]
    paths: tuple[Path, ...]
    pixels: Tensor
    answers: tuple[frozenset[int], ...]
    digests: tuple[bytes, ...]
    skipped: tuple[images.Skipped, ...] = ()


def read(
    model: VisionModel,
    given: Images,
    session: Session,
    *,
    batch_size: int = BATCH,
    limit: int | None = None,
    below: Sequence[str | Path] = (),
    text: str = "reading",
) -> Iterator[Read]:
    """Read and preprocess images batch by batch, in constant memory.

    The first batch also carries what was named and holds no image. A batch may be empty where nothing could be read.

    Args:
        model: whose preprocessing makes the pixels, and whose classes the answers are.
        given: see `Images`.
        session: progress, and the seed of the draw.
        batch_size: images per batch.
        limit: most images to read, drawn at random.
        below: folders of class folders that named files come from.
        text: names the progress bar.

    Raises:
        SettingError: a setting is out of range.
        DataError: it does not hold images.
    """
    for name, value in (("batch_size", batch_size), ("limit", limit)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise SettingError(name, "must be a whole number, and at least 1", got=value)
    found = gather(given, below=below).some(limit, session)
    answers = right_answers(model, found.files, [*found.roots, *below]) if found.files else []
    reader = _Reader(model)
    skipped = found.skipped
    with session.progress(text, total=found.count) as advance:
        for batch in images.stream(enumerate(found.items), reader, batch_size=batch_size, name=_named):
            skipped = (*skipped, *batch.skipped)
            taken = [reader.taken.pop(row) for row in batch.rows]
            yield Read(
                batch.rows,
                tuple(item.path for item, _ in taken),
                batch.pixels,
                tuple(
                    _answer(model, item) if item.label is not None or not answers else answers[row]
                    for row, (item, _) in zip(batch.rows, taken)
                ),
                tuple(digest for _, digest in taken),
                skipped,
            )
            skipped = ()
            advance(len(batch.rows) + len(batch.skipped))
    if skipped:
        yield Read((), (), torch.empty(0), (), (), skipped)


@dataclass
class _Reader:
    """Opens each image once: the same bytes are hashed and decoded.

    Attributes:
        model: whose preprocessing makes the pixels.
        taken: the images read so far that no batch has taken up yet, with their digests, by row.
    """

    model: VisionModel
    taken: dict[int, tuple[Item, bytes]] = field(default_factory=dict)

    def __call__(self, numbered: tuple[int, Item]) -> Tensor:
        """(3, H, W) pixels of one image."""
        row, item = numbered
        source = item.source
        if isinstance(source, Tensor):
            digest = hashlib.sha256(source.contiguous().numpy().tobytes()).digest()
            pixels = source
        else:
            if isinstance(source, (str, Path)):
                source = images.content(source)
            digest, pixels = images.digest(source), self.model.preprocessing(source)
        self.taken[row] = (item, digest)
        return pixels


def _named(numbered: tuple[int, Item]) -> str:
    return str(numbered[1].path)


def _answer(model: VisionModel, item: Item) -> frozenset[int]:
    if item.label is None or not model.categories:  # layers can be looked at without any class
        return frozenset()
    return frozenset({model.category(item.label)})


@dataclass(frozen=True, eq=False)
class Photos:
    """N images, preprocessed for a model, and its logits.

    Attributes:
        model: the classifier that read them.
        paths: their files, or names.
        pixels: (N, 3, H, W) in [0, 1], on the CPU; fewer, of the first images, where only those are kept.
        logits: (N, C), on the CPU.
        answers: the right classes of each; empty where it is not known.
        digests: SHA-256 of each file or image.
        rows: each image's place among those that were given.
        skipped: what could not be read.
    """

    model: VisionModel
    paths: tuple[Path, ...]
    pixels: Tensor
    logits: Tensor
    answers: tuple[frozenset[int], ...]
    digests: tuple[bytes, ...]
    rows: tuple[int, ...] = ()
    skipped: tuple[images.Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

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
    def correct(self) -> list[bool | None]:
        """Whether each prediction is right; None where the truth is not known."""
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
            logits = forward(model, batch.pixels, session)
            size = size or batch.pixels.shape[-2:]
            require_size(batch.paths[0], batch.pixels, size)
        yield Photos(model, batch.paths, batch.pixels, logits, batch.answers, batch.digests, batch.rows, batch.skipped)
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

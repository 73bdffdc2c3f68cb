"""Images preprocessed for a model: each is opened, hashed and decoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from deepscope import images
from deepscope.errors import DataError, SettingError
from deepscope.inputs.given import Images, Item, MultiHot, digest_of, gather
from deepscope.inputs.truth import right_answers
from deepscope.models import VisionModel
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
        answers: the right classes of each; empty where it is not known, or the image shows no label.
        digests: SHA-256 of each file or image.
        skipped: images met on the way that could not be read.
        total: images that were given, in all batches.
        known: whether the answer is known, image by image.
        named: what the data calls the class of each image; None where it does not.
        sources: the images before preprocessing, or their files.
    """

    rows: tuple[int, ...]
    paths: tuple[Path, ...]
    pixels: Tensor
    answers: tuple[frozenset[int], ...]
    digests: tuple[bytes, ...]
    skipped: tuple[images.Skipped, ...] = ()
    total: int = 0
    known: tuple[bool, ...] = ()
    named: tuple[str | None, ...] = ()
    sources: tuple[images.Source | Tensor, ...] = ()


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
    found = gather(given, below=below, channels=model.planes).some(limit, session)
    several = model.head.kind == "multilabel"  # a folder does not name all that its images show
    in_folders = bool(found.files) and not several
    answers = right_answers(model, found.files, [*found.roots, *below]) if in_folders else []
    reader = _Reader(model)
    skipped = found.skipped
    with session.progress(text, total=found.count) as advance:
        for batch in images.stream(enumerate(found.items), reader, batch_size=batch_size, name=_named):
            skipped = (*skipped, *batch.skipped)
            taken = [reader.taken.pop(row) for row in batch.rows]
            shown = [
                _answer(model, item) if item.label is not None or not answers else answers[row]
                for row, (item, _) in zip(batch.rows, taken)
            ]
            yield Read(
                batch.rows,
                tuple(item.path for item, _ in taken),
                batch.pixels,
                tuple(shown),
                tuple(digest for _, digest in taken),
                skipped,
                found.count or 0,
                tuple(bool(labels) or (several and item.label is not None) for labels, (item, _) in zip(shown, taken)),
                tuple(item.named for item, _ in taken),
                tuple(item.source for item, _ in taken),
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
            digest, pixels = digest_of(source), source
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
    if not isinstance(item.label, frozenset):
        if model.head.label is not None and isinstance(item.label, int):
            raise DataError(
                f"{item.path} has the label {item.label}, and {model.name} has several labels per image: give all that "
                "the image shows, as a frozenset of numbers or as 0 or 1 for every label"
            )
        return frozenset({model.category(item.label)})
    labels = model.head.labels or len(model.categories)
    if isinstance(item.label, MultiHot) and item.label.width != labels:
        raise DataError(
            f"{item.path} has {item.label.width} labels, each 0 or 1, and {model.name} has {labels}: give all"
        )
    if wrong := [label for label in item.label if not 0 <= label < labels]:
        raise DataError(f"{item.path} has the label {wrong[0]}, and {model.name} has labels 0 to {labels - 1}")
    if model.head.label is not None:  # labels are those of the network, of which this classifier reads one
        return frozenset({int(model.head.label in item.label)})
    return item.label

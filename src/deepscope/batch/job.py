"""`Job`: what is computed of each image, as a pure function of the image, the settings, the model and the seed."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias, TypeVar

import torch

from deepscope.ascent.streams import RowGenerators
from deepscope.batch.tally import Tally
from deepscope.inputs import Photos, Read
from deepscope.models import VisionModel
from deepscope.models.batching import batches
from deepscope.models.prediction import forward_alike
from deepscope.registry import plain_value
from deepscope.session import Session

Computed = TypeVar("Computed")

Columns: TypeAlias = Mapping[str, str]
"""Name of a column -> its type as Arrow spells it: "int32", "float32", "bool", "string", "binary", "list<float32>"."""


@dataclass(frozen=True)
class Rows:
    """What was computed of a batch of images.

    Attributes:
        images: the image of each row, by its place in the batch; an image may have several rows, or none.
        columns: one value per row in each of the job's columns; None where there is none.
        tally: the statistics of these images.
    """

    images: Sequence[int]
    columns: Mapping[str, Sequence[Any]]
    tally: Tally = field(default_factory=Tally)

    @classmethod
    def of(cls, columns: Columns, found: Iterable[tuple[int, Mapping[str, Any]]], tally: Tally) -> Rows:
        """Rows as (image, values by column), in any order; those of an image keep theirs. A missing value is None."""
        rows = sorted(found, key=lambda one: one[0])
        return cls([image for image, _ in rows], {name: [own.get(name) for _, own in rows] for name in columns}, tally)

    @classmethod
    def joined(cls, columns: Columns, parts: Sequence[Rows]) -> Rows:
        """The rows of images that were computed in several goes."""
        tally = Tally()
        for part in parts:
            tally.add(part.tally)
        together = {name: [value for part in parts for value in part.columns[name]] for name in columns}
        return cls([image for part in parts for image in part.images], together, tally)


Run: TypeAlias = Callable[[Read], Rows]


@dataclass(frozen=True)
class Job(ABC):
    """A frozen dataclass whose fields are the job's settings.

    Attributes:
        model: the classifier's name.
        batch_size: images that are computed together away from the CPU; there, each is computed alone.
        keep_arrays: whether large columns are written too.
    """

    name: ClassVar[str]
    usual: ClassVar[int]
    """Images per part, unless a person says otherwise: some seconds of work on a CPU."""

    model: str
    batch_size: int = 32
    keep_arrays: bool = False

    @abstractmethod
    def columns(self) -> Columns:
        """The columns that it writes, besides the image's path and digest."""

    @abstractmethod
    def open(self, model: VisionModel, session: Session) -> Run:
        """Prepare the model, once per process. What it returns is called for one batch after the other.

        The rows of an image depend on the image, the settings, the model and the session's seed, and on nothing else:
        not on the other images, their number or order. Preparing may not look at images of the job.

        Raises:
            DeepscopeError: a setting or the model cannot be used.
        """

    @abstractmethod
    def metrics(self, tally: Tally) -> Mapping[str, float]:
        """The figures of the whole job."""

    def telling(self) -> str:
        """What the examples of the tally show, as a heading."""
        return "Most telling images"

    def settings(self) -> dict[str, Any]:
        """The fields and their values, ready for JSON."""
        return {field.name: plain_value(getattr(self, field.name)) for field in dataclasses.fields(self)}


def alone(session: Session, batch_size: int) -> int:
    """Images that are computed together: on a CPU, one. There it is as fast, and no bit depends on other images."""
    return 1 if session.device.type == "cpu" else batch_size


def together(rows: Sequence[int], size: int, compute: Callable[[list[int]], Computed]) -> Iterator[Computed]:
    """`compute` on up to `size` images at a time, on fewer and fewer while memory runs out.

    Args:
        rows: places of images in a batch.
        size: images at a time.
        compute: takes some of the rows. It may be called again with fewer of them.

    Raises:
        SettingError: memory does not suffice for a single image.
    """
    return (found for _, found in batches(len(rows), lambda part: compute(list(rows[part])), size=size))


def scored(model: VisionModel, batch: Read, session: Session, size: int) -> Photos:
    """A batch with its logits, whose bits depend on `size` and not on the other images."""
    return Photos.of(model, batch, forward_alike(model, batch.pixels, session, size))


def rng_of(session: Session, digests: Sequence[bytes], *stream: str) -> torch.Generator:
    """The randomness of a method on images: each row's follows from the seed, the method and the image's content.

    Args:
        digests: the image of each row.
        stream: what the numbers are for, and the name of the method.
    """
    own = {digest: session.rng(*stream, digest.hex()) for digest in digests}
    return RowGenerators([own[digest] for digest in digests])

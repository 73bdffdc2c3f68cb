"""Images with what was measured of each: the rows that the explorer shows. Data only.

Each check knows some figures of some images. `Gallery.joined` brings what several checks know of one image together,
by its key; what no check measured stays absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Encoded: TypeAlias = NDArray[np.uint8]
"""(bytes,) of a WebP file."""


def nothing() -> Encoded:
    """A picture that is not there."""
    return np.zeros(0, np.uint8)


def _require_bytes(encoded: Encoded) -> None:
    if encoded.dtype != np.uint8 or encoded.ndim != 1:
        raise ValueError(f"an encoded picture is (bytes,) uint8, not {encoded.shape} {encoded.dtype}")


@dataclass(frozen=True)
class Measured:
    """A number that entries may have.

    Attributes:
        name: its key in `Entry.values`.
        title: as a heading: "loss".
        meaning: what it says, in one sentence.
        form: how it is written: as a share in per cent, or as a plain number.
        decimals: digits after the point.
        beyond: how an infinite value is written: "above 8".
    """

    name: str
    title: str
    meaning: str = ""
    form: Literal["share", "number"] = "number"
    decimals: int = 3
    beyond: str = ""


@dataclass(frozen=True)
class Adversarial:
    """A changed image that misleads the classifier.

    Attributes:
        picture: the changed image.
        difference: the change around grey, magnified.
        factor: how many times it is magnified.
        predicted: the class that the changed image is given.
        probability: of that class.
        said: how it was made: "pgd, at most 2 grey levels of 255".
    """

    picture: Encoded
    difference: Encoded
    factor: int
    predicted: str
    probability: float
    said: str

    def __post_init__(self) -> None:
        _require_bytes(self.picture)
        _require_bytes(self.difference)


@dataclass(frozen=True)
class Near:
    """A training image with similar features: its key among the entries, and the cosine distance."""

    key: str
    distance: float


@dataclass(frozen=True)
class Copy:
    """Another image that is the same, or nearly: its key among the entries, and how alike the two are."""

    key: str
    said: str


@dataclass(frozen=True)
class Entry:
    """One image.

    Attributes:
        key: the same in every gallery, for the same image.
        name: of its file, for a heading.
        file: its path, or its name where it came from memory.
        picture: as the classifier sees it; empty where a check knows figures only.
        split: "train" or "test"; empty where that is not known.
        truth: the right class; empty where it is not known.
        predicted: empty where the image was not classified.
        right: whether the prediction is right; None where that is not known.
        top: the most probable classes, with their probabilities.
        values: `Measured.name` -> its value. Infinite where it is beyond what was tried.
        flags: what to look at: "suspected label error" -> why.
        maps: attribution method -> its map, to be laid over the picture: colours, transparent where weak.
        adversarial: None where none was found, or the image was not attacked.
        near: the most similar training images, nearest first.
        copies: other images that are the same, or nearly.
        place: (x, y) on the map of the images; empty where it is not on it.
    """

    key: str
    name: str
    file: str = ""
    picture: Encoded = field(default_factory=nothing)
    split: str = ""
    truth: str = ""
    predicted: str = ""
    right: bool | None = None
    top: tuple[tuple[str, float], ...] = ()
    values: Mapping[str, float] = field(default_factory=dict[str, float])
    flags: Mapping[str, str] = field(default_factory=dict[str, str])
    maps: Mapping[str, Encoded] = field(default_factory=dict[str, Encoded])
    adversarial: Adversarial | None = None
    near: tuple[Near, ...] = ()
    copies: tuple[Copy, ...] = ()
    place: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.place) not in (0, 2):
            raise ValueError(f"a place is (x, y), not {len(self.place)} numbers")
        for encoded in (self.picture, *self.maps.values()):
            _require_bytes(encoded)

    def with_more(self, other: Entry) -> Entry:
        """What either knows of the image; this one where both do, and the larger picture."""
        return replace(
            self,
            name=self.name or other.name,
            file=self.file or other.file,
            picture=max(self.picture, other.picture, key=len),
            split=self.split or other.split,
            truth=self.truth or other.truth,
            predicted=self.predicted or other.predicted,
            top=self.top or other.top,
            adversarial=self.adversarial or other.adversarial,
            near=self.near or other.near,
            copies=self.copies or other.copies,
            place=self.place or other.place,
            right=other.right if self.right is None else self.right,
            values={**other.values, **self.values},
            flags={**other.flags, **self.flags},
            maps={**other.maps, **self.maps},
        )


@dataclass(frozen=True)
class Projection:
    """How the map of the images was made, and how far it can be trusted.

    Attributes:
        method: "t-SNE of the first 50 principal components".
        trustworthiness: 1 where every neighbour on the map is one among the features (Venna and Kaski 2001).
        neighbours: how many neighbours of each image that is about.
    """

    method: str
    trustworthiness: float
    neighbours: int


@dataclass(frozen=True)
class Gallery:
    """Images and what was measured of each.

    Attributes:
        entries: one per image.
        measured: the numbers that entries have, in the order in which they are listed.
        title, caption: what the images are.
        projection: where the entries have places; None without a map.
    """

    entries: tuple[Entry, ...]
    measured: tuple[Measured, ...] = ()
    title: str = ""
    caption: str = ""
    projection: Projection | None = None

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def pictured(self) -> bool:
        """Whether there is anything to see."""
        return any(len(entry.picture) for entry in self.entries)

    @classmethod
    def joined(cls, galleries: Sequence[Gallery], *, title: str = "", caption: str = "") -> Gallery:
        """Everything that several galleries know, one entry per image, in the order of the first that has it."""
        entries: dict[str, Entry] = {}
        measured: dict[str, Measured] = {}
        for gallery in galleries:
            for one in gallery.measured:
                measured.setdefault(one.name, one)
            for entry in gallery.entries:
                known = entries.get(entry.key)
                entries[entry.key] = entry if known is None else known.with_more(entry)
        projection = next((gallery.projection for gallery in galleries if gallery.projection), None)
        return cls(tuple(entries.values()), tuple(measured.values()), title, caption, projection)

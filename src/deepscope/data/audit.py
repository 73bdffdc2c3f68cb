"""Problems of a folder of images: corrupt files, copies and near-copies, within and across splits and classes.

A copy that crosses from training to test images inflates accuracy; one that
crosses classes has a wrong label.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from deepscope import images
from deepscope.data.fingerprint import BITS, Fingerprint, fingerprint
from deepscope.data.folders import held_out_folder, place
from deepscope.errors import DataError, DeepscopeError, FileError, SettingError
from deepscope.render import Presented
from deepscope.session import Session

NEAR = 32
"""Bits in which near-copies differ at most. Re-encoded at JPEG quality 50 and half size, 99 % of photographs stay
within 20; different photographs differ in about 120, and seldom in fewer than 60. The hash is of grey levels."""

NEAR_COLOUR = 16
"""Levels, of 255, by which a colour difference (Cb or Cr) of near-copies may differ in any of 16 x 16 parts of the
image. Photographs re-encoded at JPEG quality 10, or at quality 30 and half size, stay within 12; a red disc instead of
a green one, 6 of 96 pixels wide, is at 54, and photographs with red and blue exchanged are above 16 in 95 %."""

_TILE = 2048
_PICTURE = 256
"""Longer side of a thumbnail of a copy, in pixels."""


@dataclass(frozen=True)
class Pair:
    """Two images that are the same, or nearly.

    Attributes:
        first: the one to keep: of exact copies the first in sorted order, a training image if there is one.
        second: the other.
        same: "bytes" (the files), "pixels" (other files, same decoded image) or "near".
        distance: bits in which their hashes differ, 0 to 255; 0 for exact copies.
        across_splits: one is a training image and the other is not, or they are held out in different folders.
        across_classes: they are in the folders of different classes.
    """

    first: Path
    second: Path
    same: Literal["bytes", "pixels", "near"]
    distance: int
    across_splits: bool
    across_classes: bool


@dataclass(frozen=True, eq=False)
class Audit(Presented):
    """What was found; paths are relative to `root`.

    Attributes:
        root: the audited folder.
        images: how many images could be read.
        corrupt: the files that could not.
        exact: every copy, paired with the one to keep.
        near: all pairs of near-copies, closest first; of exact copies only the one to keep is compared.
        sha256: of all readable files' names and bytes.
        pictures: thumbnails of the worst pairs, by path; None where the file cannot be read any more.
    """

    root: Path
    images: int
    corrupt: tuple[images.Skipped, ...]
    exact: tuple[Pair, ...]
    near: tuple[Pair, ...]
    sha256: str
    pictures: Mapping[Path, Image.Image | None] = field(default_factory=dict[Path, "Image.Image | None"])

    @property
    def worst(self) -> tuple[Pair, ...]:
        """Exact copies, then near-copies, each with those of two classes first, then those across the splits."""
        return (*_worst_first(self.exact), *_worst_first(self.near))

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per pair of copies."""
        return {
            "first": [str(pair.first) for pair in self.worst],
            "second": [str(pair.second) for pair in self.worst],
            "same": [pair.same for pair in self.worst],
            "distance": [pair.distance for pair in self.worst],
            "across_splits": [pair.across_splits for pair in self.worst],
            "across_classes": [pair.across_classes for pair in self.worst],
        }

    def pictured(self, pairs: int, sources: Mapping[Path, images.Source]) -> Audit:
        """The same, with thumbnails of the worst pairs.

        Which these are is known once all images are compared: a few files are opened again, so that no picture of
        the others has to be held.
        """
        paths = dict.fromkeys(path for pair in self.worst[: max(pairs, 0)] for path in (pair.first, pair.second))
        return replace(self, pictures={path: _picture(sources[path]) for path in paths})

    @property
    def leaked(self) -> tuple[Path, ...]:
        """Held-out images that are also training images, exactly."""
        return tuple(pair.second for pair in self.exact if pair.across_splits and pair.first.parts[0] == "train")


def _worst_first(pairs: Sequence[Pair]) -> list[Pair]:
    return sorted(pairs, key=lambda pair: (not pair.across_classes, not pair.across_splits))


def _picture(source: images.Source) -> Image.Image | None:
    try:
        image = images.decode(source, at_least=_PICTURE).copy()
    except DeepscopeError:
        return None
    image.thumbnail((_PICTURE, _PICTURE))
    return image


@dataclass(frozen=True)
class Candidate:
    """An image to compare with the others.

    Attributes:
        path: its name in the result.
        split: "train", or the folder that it is held out in; empty where the data is undivided.
        label: its class; empty where it has none.
        source: the image, or its file.
    """

    path: Path
    split: str
    label: str
    source: images.Source


def audit(root: str | Path, session: Session | None = None, *, near: int = NEAR, figures: int = 0) -> Audit:
    """Find corrupt files, copies and near-copies below a folder. Classes and splits are read from the folders' names.

    Args:
        root: `ROOT/CLASS/...`, `ROOT/train|test/CLASS/...`, or any other folder.
        session: shows the progress.
        near: bits, 0 to 255, in which near-copies differ at most.
        figures: number of pairs with thumbnails: the worst.

    Raises:
        FileError: there is no such folder.
        DataError: it holds no image files.
        SettingError: `near` is out of its range.

    Example:
        >>> from deepscope.data.audit import audit
        >>> import shutil, tempfile
        >>> from pathlib import Path
        >>> from deepscope.data.photographs import bundled
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("one.png", "two.png"):
        ...         _ = shutil.copy(bundled("chelsea.png"), Path(folder, name))
        ...     found = audit(folder)
        >>> found.columns()["first"], found.columns()["second"]
        (['one.png'], ['two.png'])
    """
    session = session or Session()
    root = Path(root).expanduser()
    if not 0 <= near <= BITS:
        raise SettingError("near", f"must be from 0 to {BITS}; {NEAR} is usual", got=near)
    if not root.is_dir():
        raise FileError(f"{root} is not a folder: name one that holds images", path=root)
    found = images.find([root])
    if not found.paths:
        raise DataError(f"{root} holds no image files: name a folder that does", data=root)
    divided = held_out_folder(root) is not None
    names = [path.relative_to(root) for path in found.paths]
    listed = [Candidate(name, *place(name, divided), path) for name, path in zip(names, found.paths)]
    return compare(listed, session, root=root, near=near, figures=figures, skipped=found.skipped)


def compare(
    candidates: Sequence[Candidate],
    session: Session,
    *,
    root: Path,
    near: int = NEAR,
    figures: int = 0,
    skipped: Sequence[images.Skipped] = (),
) -> Audit:
    """`audit` for images in any form, whose splits and classes are known.

    Args:
        candidates: the images.
        session: shows the progress.
        root: stands for all of them in the result.
        near: bits, 0 to 255, in which near-copies differ at most.
        figures: how many pairs are pictured: the worst.
        skipped: what was named and holds no image.
    """
    prints: list[Fingerprint] = []
    corrupt = list(skipped)
    with ThreadPoolExecutor(images.decoding_threads()) as threads:
        try:
            looked = zip(candidates, threads.map(fingerprint, [one.source for one in candidates]), strict=True)
            for one, seen in session.track(looked, "auditing images", total=len(candidates)):
                if isinstance(seen, str):
                    corrupt.append(images.Skipped(str(one.path), seen))
                else:
                    prints.append(Fingerprint(one.path, one.split, one.label, *seen))
        finally:
            threads.shutdown(cancel_futures=True)  # ctrl-C does not wait for the rest of the folder
    exact, kept = _copies(prints)
    digest = sha256("".join(f"{seen.path}\0{seen.file}\n" for seen in prints).encode(errors="surrogateescape"))
    found = Audit(root, len(prints), tuple(corrupt), tuple(exact), tuple(_near(kept, near)), digest.hexdigest())
    return found.pictured(figures, {one.path: one.source for one in candidates})


def _copies(prints: Sequence[Fingerprint]) -> tuple[list[Pair], list[Fingerprint]]:
    """Each copy paired with the one to keep; and everything without the copies."""
    groups: dict[bytes, list[Fingerprint]] = defaultdict(list)
    for seen in prints:
        groups[seen.pixels].append(seen)
    pairs, kept = [], []
    for group in groups.values():
        first, *others = sorted(group, key=lambda seen: (seen.split != "train", seen.path))
        kept.append(first)
        pairs += [_pair(first, other, "bytes" if first.file == other.file else "pixels", 0) for other in others]
    return sorted(pairs, key=lambda pair: (pair.first, pair.second)), kept


def _near(prints: Sequence[Fingerprint], most: int) -> Iterator[Pair]:
    """All pairs whose hashes differ in at most `most` bits and whose colours are alike, closest first."""
    hashed = [(seen, seen.bits) for seen in prints if seen.bits is not None]
    if not hashed:
        return
    signs = np.where(np.stack([bits for _, bits in hashed]), np.float32(1), np.float32(-1))
    pairs = []
    for top in range(0, len(signs), _TILE):
        for left in range(top, len(signs), _TILE):
            # The dot product of two sign vectors is (bits that agree) - (bits that differ).
            distances = (BITS - signs[top : top + _TILE] @ signs[left : left + _TILE].T) / 2
            rows, columns = np.nonzero(distances <= most)
            upper = rows + top < columns + left
            for row, column in zip(rows[upper], columns[upper], strict=True):
                first, second = top + row, left + column
                if np.abs(hashed[first][0].colours - hashed[second][0].colours).max() <= NEAR_COLOUR:
                    pairs.append((int(distances[row, column]), first, second))
    for distance, first, second in sorted(pairs):
        yield _pair(hashed[first][0], hashed[second][0], "near", distance)


def _pair(a: Fingerprint, b: Fingerprint, same: Literal["bytes", "pixels", "near"], distance: int) -> Pair:
    return Pair(a.path, b.path, same, distance, a.split != b.split, a.label != b.label)

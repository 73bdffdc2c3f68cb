"""Write corrupted copies of images."""

from __future__ import annotations

import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deepscope import images
from deepscope.data.corruptions import SIDE, Corruption, GaussianNoise
from deepscope.data.dataset import load_any
from deepscope.data.digits import DigitSplit
from deepscope.data.folders import ClassFolders
from deepscope.errors import DataError, FileError
from deepscope.render import Presented
from deepscope.session import Session


@dataclass(frozen=True, eq=False)
class Copies:
    """Copies that were written.

    Attributes:
        paths: the images that were copied.
        digests: SHA-256 of each of them.
        skipped: images that could not be read, and why.
    """

    paths: tuple[Path, ...]
    digests: tuple[bytes, ...]
    skipped: tuple[images.Skipped, ...]


@dataclass(frozen=True, eq=False)
class Example:
    """A thumbnail of an image and of all severities of a corruption; None where its file cannot be read any more."""

    path: Path
    image: Image.Image | None
    damaged: tuple[Image.Image, ...]


@dataclass(frozen=True, eq=False)
class Corrupted(Presented):
    """Corrupted copies of images, in a folder.

    Attributes:
        corruption: the corruption.
        folder: that holds the copies.
        copies: of which images, and what was skipped.
        examples: images from the whole list beside all severities of the corruption.
        skipped: what was found and could not be used.
    """

    corruption: Corruption
    folder: Path
    copies: Copies
    examples: tuple[Example, ...]
    skipped: tuple[images.Skipped, ...]

    def __len__(self) -> int:
        return len(self.copies.paths)

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per image that was copied."""
        return {"image": [str(path) for path in self.copies.paths]}


def corrupt(
    data: str | Path,
    corruption: Corruption = GaussianNoise(),
    *,
    folder: str | Path,
    figures: int = 4,
    seed: int = 0,
    session: Session | None = None,
) -> Corrupted:
    """Write corrupted copies of images: class folders and splits are kept.

    Args:
        data: a folder of images, with class folders or not; or a dataset's name.
        corruption: the corruption.
        folder: to write to; it must not exist.
        figures: how many images are also returned beside all severities.
        seed: of what is drawn.
        session: device, progress and folders; its own seed counts where it is given.

    Raises:
        DataError: the data does not exist, or holds no image files that can be read.
        FileError: there is a folder of that name, or it lies in the data.

    Example:
        >>> from pathlib import Path
        >>> from deepscope.data.corrupt import corrupt
        >>> import shutil, tempfile
        >>> from deepscope.data.photographs import bundled
        >>> with tempfile.TemporaryDirectory() as place:
        ...     photos = Path(place, "photos")
        ...     photos.mkdir()
        ...     _ = shutil.copy(bundled("chelsea.png"), photos)
        ...     found = corrupt(photos, folder=Path(place, "noisy"))
        >>> len(found), found.corruption.name
        (1, 'gaussian-noise')
    """
    session, folder = Session.of(session, seed=seed), Path(folder)
    found = load_any(data, session)
    if isinstance(found, DigitSplit):
        raise DataError(f"{data} holds digits, not image files: give a folder of images")
    paths = found.everything.paths if isinstance(found, ClassFolders) else found.paths
    copies = write_corrupted(paths, corruption, folder, session)
    examples = _examples(copies.paths, corruption, figures, session)
    return Corrupted(corruption, folder, copies, examples, (*found.skipped, *copies.skipped))


def _examples(paths: Sequence[Path], corruption: Corruption, count: int, session: Session) -> tuple[Example, ...]:
    """Images from the whole list, each beside all severities of the corruption."""
    shown = [paths[row] for row in np.linspace(0, len(paths) - 1, max(min(count, len(paths)), 0)).astype(int)]
    grades = [replace(corruption, severity=place) for place, _ in enumerate(corruption.strengths, start=1)]
    found = []
    for path in shown:
        try:
            image = images.decode(path)
        except images.UnreadableImage:  # gone since its copy was written
            found.append(Example(path, None, ()))
            continue
        damaged = tuple(grade.applied(image, session) for grade in grades)
        small = image.copy()
        small.thumbnail((SIDE, SIDE))
        found.append(Example(path, small, damaged))
    return tuple(found)


def check_outside(folder: Path, data: Iterable[Path]) -> None:
    """Refuse an output folder that is, or is inside, a folder of the data, also by links and other spellings.

    Raises:
        FileError: it is.
    """
    owned = {(found.st_dev, found.st_ino) for found in (own.stat() for own in data if own.exists())}
    place = folder.resolve()
    for parent in (place, *place.parents):
        if parent.exists() and (parent.stat().st_dev, parent.stat().st_ino) in owned:
            raise FileError(f"{folder} is inside the data ({parent}): name a folder outside of it", path=folder)


def write_corrupted(paths: Sequence[Path], corruption: Corruption, folder: Path, session: Session) -> Copies:
    """Write corrupted copies of images, as PNG: `folder` has the same folders below it as the images have.

    What is drawn depends on each image's pixels alone. The folder appears when it is complete.

    Args:
        paths: the images.
        corruption: what happens to them.
        folder: to write to.
        session: seed and progress.

    Raises:
        FileError: there is a folder of that name, or it lies in the images' own.
        DataError: no image could be read.
    """
    check_outside(folder, {path.parent for path in paths})
    if folder.exists():
        raise FileError(f"{folder} exists already: remove it, or name another folder", path=folder)
    root = Path(os.path.commonpath([path.parent for path in paths]))
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")

    def write(path: Path) -> images.Skipped | bytes:
        place = path.relative_to(root)
        try:
            content = images.content(path)
            image = images.decode(content)
        except images.UnreadableImage as error:
            return images.Skipped(str(path), error.reason)
        to = partial / place.parent / f"{place.stem if stems[path.with_suffix('')] == 1 else place.name}.png"
        to.parent.mkdir(parents=True, exist_ok=True)
        corruption.applied(image, session).save(to)
        return images.digest(content)

    stems = Counter(path.with_suffix("") for path in paths)
    partial.mkdir(parents=True)
    try:
        with ThreadPoolExecutor(images.decoding_threads()) as pool:
            found = list(session.track(pool.map(write, paths), f"writing {corruption.name}", total=len(paths)))
        copied = [(path, digest) for path, digest in zip(paths, found, strict=True) if isinstance(digest, bytes)]
        skipped = tuple(item for item in found if isinstance(item, images.Skipped))
        if not copied:
            raise DataError(f"none of the {len(paths)} images can be read: {skipped[0].reason}")
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Copies(tuple(path for path, _ in copied), tuple(digest for _, digest in copied), skipped)

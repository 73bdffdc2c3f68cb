"""The plan of a job: its images, listed and cut into shards, in about ten bytes per image."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from deepscope.batch.shard import Shard
from deepscope.errors import DataError
from deepscope.images import Skipped
from deepscope.inputs import nothing_readable
from deepscope.inputs.listing import listed
from deepscope.inputs.places import Place, packed, unpacked
from deepscope.inputs.truth import Known
from deepscope.models import VisionModel
from deepscope.session import Session


def plan(
    named: Sequence[str | Path], model: VisionModel, session: Session, *, size: int, limit: int | None = None
) -> tuple[list[Shard], list[Skipped]]:
    """List the images and cut the list.

    Args:
        named: files and folders; tar files, tables and lists of files.
        model: whose classes folders may name.
        session: progress, and the seed of the draw.
        size: images per shard.
        limit: most images, drawn at random; all where None.

    Returns:
        the shards, and what was named and holds no image.

    Raises:
        DataError, FileError: as `listed`; or there is no image.
    """
    skipped: list[Skipped] = []
    folders: dict[str, None] = {}
    cut: list[tuple[int, bytes]] = []
    with session.progress("listing images") as advance:
        for part in _cut(_with_folders(listed(named, skipped), folders), size):
            cut.append((len(part), packed(part)))
            advance(len(part))
    count = sum(number for number, _ in cut)
    if not count:
        raise DataError(nothing_readable(skipped))
    if limit is not None and limit < count:
        rows = iter(session.some(range(count), limit))
        cut = [
            (len(part), packed(part))
            for part in _cut(_some((place for _, c in cut for place in unpacked(c)), rows), size)
        ]
    known = Known.of(model, map(Path, folders), named)
    return [_shard(number, count, content, known) for number, (count, content) in enumerate(cut)], skipped


def _shard(number: int, count: int, content: bytes, known: Known) -> Shard:
    if len(known.folders) > 1:
        known = known.some(sorted({_folder(place.file) for place in unpacked(content) if not place.name}))
    return Shard(number, count, content, known)


def _with_folders(places: Iterable[Place], folders: dict[str, None]) -> Iterator[Place]:
    """The places; notes the folders of those that are files."""
    for place in places:
        if not place.name:
            folders[_folder(place.file)] = None
        yield place


def _folder(file: str) -> str:
    """As `str(Path(file).parent)`."""
    return os.path.dirname(file) or "."  # noqa: PTH120 (a million names)


def _cut(places: Iterator[Place], size: int) -> Iterator[list[Place]]:
    while part := list(islice(places, size)):
        yield part


def _some(places: Iterable[Place], rows: Iterator[int]) -> Iterator[Place]:
    """The places of those rows, which are in order."""
    wanted = next(rows, None)
    for row, place in enumerate(places):
        if row == wanted:
            yield place
            wanted = next(rows, None)

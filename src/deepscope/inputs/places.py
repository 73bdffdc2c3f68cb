"""Where each of many images lies, as a few bytes: a file, a member of a tar file, or a row of a table."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from deepscope.inputs.container import Label
from deepscope.inputs.containers import container_of


class Place(NamedTuple):
    """One image, none of whose bytes were read yet.

    Attributes:
        file: the image's file, or the file that it is in.
        size: of the file, in bytes.
        modified: when the file was written, in nanoseconds.
        name: of the image in the file; empty where it is the file itself.
        start: its first byte in a tar file, or its row in a table.
        length: of a tar file's member, in bytes.
        label: its class, where the file that it is in says so.
    """

    file: str
    size: int
    modified: int
    name: str = ""
    start: int = 0
    length: int = 0
    label: Label = None

    @property
    def path(self) -> Path:
        """What the image is called; one in a tar file always below that file, whatever its name there begins with."""
        return Path(self.file, self.name.lstrip("/")) if self.name else Path(self.file)


def packed(places: Iterable[Place]) -> bytes:
    """Places as bytes: about ten for each image."""
    return zlib.compress(json.dumps(list(places), separators=(",", ":")).encode(errors="surrogateescape"), 1)


def unpacked(content: bytes) -> list[Place]:
    """What was packed."""
    return [Place(*one) for one in json.loads(zlib.decompress(content))]


def opened(places: Iterable[Place]) -> Iterator[tuple[str | bytes, Label]]:
    """Each image, its file or its bytes, and its label. A tar file or a table is opened once.

    Raises:
        FileError: a tar file or a table is damaged.
    """
    for file, group in groupby(places, key=lambda place: place.file):
        container = container_of(file)
        if container is None:
            yield from ((place.file, place.label) for place in group)
            continue
        inside = list(group)
        for place, (content, label) in zip(inside, container.contents(Path(file), inside), strict=True):
            yield content, place.label if label is None else label

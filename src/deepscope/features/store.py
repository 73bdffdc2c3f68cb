"""Features on disk, found again by what they depend on and by the bytes of the image.

A store is a folder for one kind of features: `about.json` tells a reader which. Every process that adds features
appends them to a segment of its own, one record per image: the SHA-256 of the image, the vector, and the CRC-32 of
both and of the kind. The store is the union of its segments. A record that was cut off, damaged, or made for another
store does not match its check sum, and counts as missing. CRC-32 finds every flip of up to 32 neighbouring bits and all
but one in 4e9 of other damages, at a third of the time of SHA-256: 2 to 3 % of hashing the images.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepscope.files import atomic
from deepscope.kept import Cache

_SEGMENT = re.compile(r"\d+-[0-9a-f]+-(\d{1,9})\.rows")
_KEY, _CHECK = 32, 4
_BLOCK = 1 << 16


class Store:
    """The cached vectors of one kind of features.

    Args:
        cache: holds all stores.
        about: everything that the features depend on besides the image, ready for JSON.
    """

    def __init__(self, cache: Cache, about: Mapping[str, Any]) -> None:
        self._cache, self._about = cache, dict(about)
        identity = hashlib.sha256(json.dumps(self._about, sort_keys=True).encode()).digest()
        self._start = zlib.crc32(identity)
        self._folder = cache.folder / identity.hex()[:32]
        self._mine: Path | None = None
        self._segments: list[tuple[Path, int]] = []
        self._found: dict[bytes, list[tuple[int, int]]] = {}
        self._open: FileIO | None = None
        self._ahead: dict[tuple[int, int], memoryview] = {}
        self._held: dict[bytes, NDArray[np.float32]] = {}
        self.hold = False
        """Whether what is added is also held in memory, because the disk has lost some of it."""
        self.refresh()

    def __contains__(self, key: bytes) -> bool:
        return key in self._found or key in self._held

    def refresh(self) -> None:
        """See what this and other processes have added."""
        self._segments, self._found = [], {}
        with self._cache.guarded():
            for path in sorted(self._folder.glob("*.rows")):
                if (named := _SEGMENT.fullmatch(path.name)) and path.is_file():
                    self._index(path, int(named[1]))

    def _index(self, path: Path, dimension: int) -> None:
        """Find the keys of a segment's whole records; they are not verified yet."""
        size = _size(dimension)
        segment = len(self._segments)
        self._segments.append((path, size))
        with path.open("rb", buffering=0) as file:
            for row in range(os.fstat(file.fileno()).st_size // size):
                file.seek(row * size)
                self._found.setdefault(file.read(_KEY), []).append((segment, row))

    def add(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Append (N, D) vectors; once this returns, a kill does not lose them. What cannot be written is held."""
        packed = np.ascontiguousarray(vectors, "<f4")
        rows = (key + row.tobytes() for key, row in zip(keys, packed, strict=True))
        records = (row + self._check(row) for row in rows)
        written = False
        with self._cache.guarded():
            self._append(b"".join(records), packed.shape[1])
            written = True
        if self.hold or not written:
            self._held.update(zip(keys, packed, strict=True))

    def read(self, keys: Sequence[bytes]) -> NDArray[np.float32] | None:
        """(N, D) vectors of these images; None where one is damaged or gone, and from then on missing here."""
        places = [self._found[key][-1] if key in self._found else (-1, -1) for key in keys]
        vectors: NDArray[np.float32] | None = None
        lost: set[bytes] = set()
        with ExitStack() as opened:
            for at in sorted(range(len(keys)), key=places.__getitem__):  # segment by segment, from front to back
                if (vector := self._vector(keys[at], opened)) is None:
                    lost.add(keys[at])
                    continue
                if vectors is None:
                    vectors = np.empty((len(keys), len(vector)), np.float32)
                vectors[at] = vector
        self._ahead.clear()
        return None if lost else vectors

    def _vector(self, key: bytes, opened: ExitStack) -> NDArray[np.float32] | None:
        """The first whole record of an image, the newest first; the others are forgotten."""
        if key in self._held:
            return self._held[key]
        places = self._found.get(key, [])
        while places:
            record = self._record(*places[-1], opened)
            if record[:_KEY] == key and record[-_CHECK:] == self._check(record[:-_CHECK]):
                return np.frombuffer(record[_KEY:-_CHECK], "<f4")
            self._cache.damaged()
            places.pop()
        self._found.pop(key, None)
        return None

    def _record(self, segment: int, row: int, opened: ExitStack) -> memoryview:
        """A record as it is on the disk, empty where it cannot be read; what follows it is read with it."""
        path, size = self._segments[segment]
        if (segment, row) not in self._ahead:
            self._ahead.clear()
            with self._cache.guarded():
                if self._open is None or self._open.name != str(path) or self._open.closed:
                    opened.close()
                    self._open = opened.enter_context(path.open("rb", buffering=0))
                self._open.seek(row * size)
                block = memoryview(self._open.read(max(_BLOCK // size, 1) * size))
                self._ahead = {(segment, row + at): block[at * size :][:size] for at in range(len(block) // size)}
        return self._ahead.get((segment, row), memoryview(b""))

    def _append(self, records: bytes, dimension: int) -> None:
        """Write to a segment that no other process writes to: all of it or nothing."""
        if self._mine is None:
            with atomic(self._folder / "about.json") as temporary:
                temporary.write_text(json.dumps({**self._about, "dimension": dimension}, indent=1))
            self._mine = self._folder / f"{time.time_ns():020d}-{secrets.token_hex(4)}-{dimension}.rows"
        before = self._mine.stat().st_size if self._mine.exists() else 0
        try:
            with self._mine.open("ab") as segment:
                segment.write(records)
        except BaseException:
            with suppress(OSError):
                os.truncate(self._mine, before) if before else self._mine.unlink()
            raise

    def _check(self, row: bytes | memoryview) -> bytes:
        return zlib.crc32(row, self._start).to_bytes(_CHECK, "little")


def _size(dimension: int) -> int:
    """Bytes of a record."""
    return _KEY + 4 * dimension + _CHECK

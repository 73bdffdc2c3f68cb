"""Features on disk, found again by what they depend on and by the bytes of the image.

A store is a folder for one kind of features: `about.json` says which, and every process that adds features
appends them to a segment of its own, one record (SHA-256 of the image, vector) an image. A record that was cut
off by a kill is not seen; the store is the union of its segments, in whatever order and number they were written.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepscope.files import atomic

_SEGMENT = ".rows"


class Store:
    """The cached vectors of one kind of features.

    Args:
        root: of all stores.
        about: everything that the features depend on besides the image, ready for JSON.
    """

    def __init__(self, root: Path, about: Mapping[str, Any]) -> None:
        self._about = dict(about)
        self._folder = root / hashlib.sha256(json.dumps(self._about, sort_keys=True).encode()).hexdigest()[:32]
        self._mine: Path | None = None
        self._segments: list[NDArray[Any]] = []
        self._found: dict[bytes, tuple[int, int]] = {}
        self.refresh()

    def __contains__(self, key: bytes) -> bool:
        return key in self._found

    def refresh(self) -> None:
        """See what this and other processes have added."""
        self._segments, self._found = [], {}
        try:
            dimension = int(json.loads((self._folder / "about.json").read_text())["dimension"])
        except (OSError, ValueError, KeyError):
            return  # nothing was added yet
        record = _record(dimension)
        for path in sorted(self._folder.glob(f"*{_SEGMENT}")):
            whole = path.stat().st_size // record.itemsize
            if whole:
                segment = np.memmap(path, record, "r", shape=(whole,))
                self._found.update(
                    (key.tobytes(), (len(self._segments), row)) for row, key in enumerate(segment["key"])
                )
                self._segments.append(segment)

    def add(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Append (N, D) vectors; once this returns, a kill does not lose them."""
        if self._mine is None:
            if not (self._folder / "about.json").is_file():
                with atomic(self._folder / "about.json") as temporary:
                    temporary.write_text(json.dumps({**self._about, "dimension": vectors.shape[1]}, indent=1))
            self._mine = self._folder / f"{time.time_ns():020d}-{os.getpid()}{_SEGMENT}"
        records = np.empty(len(keys), _record(vectors.shape[1]))
        records["key"] = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32)
        records["vector"] = vectors
        with self._mine.open("ab") as segment:
            segment.write(records.tobytes())

    def read(self, keys: Sequence[bytes]) -> NDArray[np.float32]:
        """(N, D) vectors of these images, all of which must be here."""
        where = np.array([self._found[key] for key in keys]).reshape(-1, 2)
        dimension = self._segments[0]["vector"].shape[1]
        vectors = np.empty((len(keys), dimension), np.float32)
        for number, segment in enumerate(self._segments):
            rows = np.flatnonzero(where[:, 0] == number)
            vectors[rows] = segment["vector"][where[rows, 1]]
        return vectors


def _record(dimension: int) -> np.dtype[Any]:
    return np.dtype([("key", np.uint8, (32,)), ("vector", "<f4", (dimension,))])

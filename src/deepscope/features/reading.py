"""Images opened once: hashed, and decoded only where something has to be computed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Protocol

from torch import Tensor

from deepscope import images
from deepscope.errors import DeepscopeError
from deepscope.inputs.examples import Source
from deepscope.models import Preprocessing


class Pass(Protocol):
    """What is computed of the images."""

    @property
    def missing(self) -> set[bytes]:
        """Digests of images that it has to be computed of."""
        ...

    def lacks(self, key: bytes) -> bool:
        """Whether it is not kept of the image of this digest."""
        ...


@dataclass(eq=False)
class Reader:
    """Opens an image, hashes it, and decodes the same bytes for passes that lack it. Called from several threads.

    Attributes:
        geometry: makes the pixels.
        passes: what is to be computed.
        keys: digest of each image that was opened so far; empty for the others.
        levels: gives uint8 levels in place of float pixels: a quarter of the bytes.
        unread: digests of images that cannot be used -> why.
        seen: digests of images that were met in this round: copies are decoded once.
        share: this process's number, and how many processes share the work.
    """

    geometry: Preprocessing
    passes: Sequence[Pass]
    keys: list[bytes]
    levels: bool = False
    unread: dict[bytes, str] = field(default_factory=dict[bytes, str])
    seen: set[bytes] = field(default_factory=set[bytes])
    share: tuple[int, int] = (0, 1)
    lock: Lock = field(default_factory=Lock)

    def __call__(self, numbered: tuple[int, Source]) -> Tensor | None:
        """(3, H, W) pixels or levels of an image that this process computes; None where nothing is missing."""
        row, source = numbered
        content, key, refusal = _opened(source)
        try:
            if refusal:
                self.keys[row] = self.keys[row] or key
                raise refusal
            if self.keys[row] not in (b"", key):  # in the second round
                raise images.UnreadableImage(str(source), "it changed while it was read: run again")
            self.keys[row] = key
            if not self._mine(key):
                return None
            if isinstance(content, Tensor):
                return content
            return self.geometry.levels(content) if self.levels else self.geometry(content)
        except images.Exhausted:
            raise
        except DeepscopeError as error:
            reason = error.reason if isinstance(error, images.UnreadableImage) else str(error)
            self.unread[self.keys[row]] = reason
            raise

    def _mine(self, key: bytes) -> bool:
        """Whether an image is met for the first time, misses features, and falls to this process."""
        with self.lock:
            if key in self.seen:
                return False
            self.seen.add(key)
            lacking = [each for each in self.passes if each.lacks(key)]
            for each in lacking:
                each.missing.add(key)
        return bool(lacking) and int.from_bytes(key[:8], "little") % self.share[1] == self.share[0]


def _opened(source: Source) -> tuple[Source, bytes, images.UnreadableImage | None]:
    """What is decoded, its digest, and why it cannot be opened."""
    if isinstance(source, Tensor):
        content = f"{source.dtype} {tuple(source.shape)}".encode() + source.contiguous().numpy().tobytes()
        return source, hashlib.sha256(content).digest(), None
    if not isinstance(source, (str, Path)):
        return source, images.digest(source), None
    try:
        content = images.content(source)
    except images.UnreadableImage as refusal:
        return source, hashlib.sha256(repr(source).encode()).digest(), refusal
    return content, hashlib.sha256(content).digest(), None

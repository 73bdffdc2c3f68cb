"""Downloads: resumed, checked, renamed into place when whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A file on the web and where it belongs.

    Attributes:
        urls: the same file at several places, tried in order.
        to: below `HOME/data`: the file, or the folder that an archive is unpacked into.
        most: bytes that are accepted at most.
        sha256: of the file, unpacked where it is a `.gz`; empty where none is published: then the
            first download's digest is recorded beside the data, and later ones have to agree.
        place: makes the file an archive: a member's name -> its path below `to`, or None to leave it.
        files: how many files the archive has to give.
    """

    urls: tuple[str, ...]
    to: str
    most: int
    sha256: str = ""
    place: Callable[[str], str | None] | None = None
    files: int = 0

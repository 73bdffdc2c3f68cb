"""The images that are copies of one another, for the explorer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from deepscope.checks.given_data import given_data
from deepscope.data.audit import Audit, Pair
from deepscope.data.folders import held_out_folder, place
from deepscope.errors import DeepscopeError
from deepscope.gallery import Copy, Entry, Gallery
from deepscope.inputs.examples import Source, thumbnail_of
from deepscope.inputs.given import digest_of
from deepscope.presenters.gallery import Encoder, key_of, names_of
from deepscope.session import Session

LEAK, COPY = "leak", "copy"
_PAIRS = 200
"""Pairs whose images can be explored, at most: the worst."""
_SMALL = 0.5
"""The side of their pictures, of that of an evaluated image."""


def copies(found: Audit, data: str, session: Session) -> list[Gallery]:
    """The images of the worst pairs, each with its copies. None where there are no pairs.

    Args:
        found: the audit of the data.
        data: the name of the data, as the check was given it.
        session: holds data that the caller gave.
    """
    pairs = sorted(found.worst, key=lambda pair: not pair.across_splits)[:_PAIRS]
    named = {path for pair in pairs for path in (pair.first, pair.second)}
    held, encode = given_data(data, session), Encoder(len(named), _SMALL)
    sources = held.sources() if held else {path: (found.root / path, found.root / path) for path in named}
    divided = held.train is not None if held else held_out_folder(found.root) is not None
    entries: dict[Path, Entry] = {}
    for path in sorted(named):
        source, own = sources[path]
        if (entry := _entry(source, own, encode)) is not None:
            split, _ = place(path, divided)
            entries[path] = replace(entry, split=split if split in ("", "train") else "test")
    for pair in pairs:
        for path, other in ((pair.first, pair.second), (pair.second, pair.first)):
            if path in entries and other in entries:
                entries[path] = _with(entries[path], entries[other], other, pair)
    found_any = tuple(entry for entry in entries.values() if entry.copies)
    return [Gallery(found_any, title="Copies and near-copies")] if found_any else []


def _entry(source: Source, path: Path, encode: Encoder) -> Entry | None:
    """An image with its picture; None where it cannot be read any more."""
    try:
        key = key_of(path, digest_of(source))
    except (OSError, DeepscopeError):
        return None
    pixels = thumbnail_of(source)
    return None if pixels is None else Entry(key, *names_of(path), picture=encode(pixels))


def _with(entry: Entry, other: Entry, path: Path, pair: Pair) -> Entry:
    """The same with one more copy, and the reason to look at it."""
    said = {"bytes": "the same file", "pixels": "the same pixels"}.get(pair.same)
    said = said or f"{pair.distance} of 255 bits of the hash differ"
    flag = LEAK if pair.across_splits else COPY
    where = " in the other split" * pair.across_splits + " in another class" * pair.across_classes
    why = f"{'Near-copy' if pair.same == 'near' else 'Copy'}{where}: {path.as_posix()} ({said})."
    flags: Mapping[str, str] = {flag: why, **entry.flags}
    return replace(entry, copies=(*entry.copies, Copy(other.key, said)), flags=flags)

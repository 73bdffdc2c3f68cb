"""Hides Pillow's warnings without affecting other code.

`warnings.catch_warnings` replaces the filters of the whole process, which other threads then see or undo. Instead, one
ordinary filter stays: it ignores a category of warnings from Pillow's modules, and Python asks the category itself what
belongs to it (`__subclasscheck__`): everything in a thread that is decoding, and nothing in any other.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class _Thread(threading.local):
    decoding = False


_THREAD = _Thread()


class _AnyWhileDecoding(type):
    def __subclasscheck__(cls, category: type) -> bool:
        return _THREAD.decoding


class WhileDecoding(Warning, metaclass=_AnyWhileDecoding):
    """A category that all warnings belong to in a thread that is decoding an image. It is never raised."""


_LOCK = threading.Lock()


@contextmanager
def silent_pillow() -> Iterator[None]:
    """Pillow's warnings (damaged EXIF, large images) are not shown in this block; `decode` refuses what is unusable."""
    with _LOCK:
        if not warnings.filters or warnings.filters[0][2] is not WhileDecoding:  # others replace or precede it
            warnings.filterwarnings("ignore", category=WhileDecoding, module=r"PIL\.")
    _THREAD.decoding = True
    try:
        yield
    finally:
        _THREAD.decoding = False

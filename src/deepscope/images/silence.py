"""Pillow's warnings, kept from the screen without touching anybody else's."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Decoding(threading.local):
    """The module pattern of the warnings filter below: Pillow's modules, in threads that are decoding."""

    active = False
    pattern = "(?!)"  # for who copies the filters elsewhere, as scikit-learn does for its workers: matches nothing

    def match(self, module: str) -> bool:
        return self.active and module.startswith("PIL.")


_DECODING = _Decoding()
_IGNORE_PILLOW: Any = ("ignore", None, Warning, _DECODING, 0)
_FILTERS_LOCK = threading.Lock()


@contextmanager
def silent_pillow() -> Iterator[None]:
    """Pillow's warnings (damaged EXIF, large images) are not shown here; they are judged in this module.

    `warnings.catch_warnings` swaps the process's filters, which other threads then see or undo. This
    filter stays, and matches nothing outside this block and this thread.
    """
    filters: Any = warnings.filters
    with _FILTERS_LOCK:
        if filters[:1] != [_IGNORE_PILLOW]:  # tests and notebooks replace or precede it
            if _IGNORE_PILLOW in filters:
                filters.remove(_IGNORE_PILLOW)
            filters.insert(0, _IGNORE_PILLOW)
    _DECODING.active = True
    try:
        yield
    finally:
        _DECODING.active = False

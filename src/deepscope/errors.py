"""Errors that a person can fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from deepscope.names import one_line, plain

_FEW = 32
"""The most names that a message lists."""


class InputError(Exception):
    """What the user gave cannot be used. The command line prints it as one line and exits with 2.

    The message says what is wrong, where, and how to fix it, in that order, in one line. Control characters of the
    names in it are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def nearest(text: str, options: Iterable[str], *, most: int = 3) -> list[str]:
    """The options closest to `text`, best first; case, spaces and underscores do not count."""
    by_plain: dict[str, dict[str, None]] = {}
    for option in options:
        by_plain.setdefault(plain(option), {})[option] = None
    wanted = plain(text)
    close = difflib.get_close_matches(wanted, by_plain, n=most, cutoff=0.5)
    inside = [key for key in by_plain if wanted and wanted in key and key not in close]
    return [option for key in (*close, *inside) for option in by_plain[key]][:most]


def unknown(kind: str, text: str, options: Iterable[str], *, listing: str = "") -> InputError:
    """The error for a name that does not exist: says the nearest names, and where all are listed."""
    options = list(options)
    close = nearest(text, options)
    hint = f"did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
    listed = f"{listing} lists them all" if listing else ""
    if not close and not listing and len(options) <= _FEW:
        listed = f"choose from {', '.join(options)}"
    fix = " ".join(part for part in (hint, listed) if part)
    return InputError(f"no {kind} is named {text!r}" + (f": {fix}" if fix else ""))


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, an accelerator's, or that of PyTorch's CPU allocator."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SHORTAGES)


_SHORTAGES = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc", "STATUS_ALLOC_FAILED")
"""What PyTorch's plain RuntimeErrors say on Linux, on Windows, from C++ and from CUDA's libraries."""

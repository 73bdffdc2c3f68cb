"""The command line: built from the registered commands, run with one set of common flags.

Nothing heavy is imported here, so that ctrl-C ends the program in one line also while the libraries load, and help
pages come from the outline of the commands (`outline`), which needs none of their libraries.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

__all__ = ["main"]

_INTERRUPTED = 130  # what shells expect of a program that ctrl-C stopped


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command line and exit."""
    with stops_at_once():
        from deepscope.cli import program
    program.main(arguments)


@contextmanager
def stops_at_once() -> Iterator[None]:
    """While libraries load, ctrl-C ends the process: an exception would surface as whatever the library makes of it."""
    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # ctrl-C is ignored, or another program's
        return
    signal.signal(signal.SIGINT, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _stop(*_: object) -> None:
    os.write(2, b"deepscope: stopped before it began\n")
    os._exit(_INTERRUPTED)

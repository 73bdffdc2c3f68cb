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

_STOPPED = 128  # shells add the number of the signal that stopped a program


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command line and exit."""
    with stops_at_once():
        from deepscope.cli import program
    program.main(arguments)


@contextmanager
def stops_at_once() -> Iterator[None]:
    """While libraries load, ctrl-C and SIGTERM end the process: libraries make all sorts of things of an exception."""
    main_thread = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if not main_thread or before[signal.SIGINT] is not signal.default_int_handler:
        yield  # ctrl-C is ignored, or another program's
        return
    ours = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in ours:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


def _stop(number: int, _: object) -> None:
    os.write(2, b"deepscope: stopped before it began\n")
    os._exit(_STOPPED + number)

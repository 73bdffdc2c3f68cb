"""The command line: built from the registered commands, run with one set of common flags.

Nothing heavy is imported here, so that ctrl-C ends the program in one line also while the libraries load.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

__all__ = ["main"]

_INTERRUPTED = 130  # what shells expect of a program that ctrl-C stopped


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command line and exit."""
    python = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # neither ignored nor another program's
    if python:
        signal.signal(signal.SIGINT, _stop)
    from deepscope.cli import program

    if python:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    program.main(arguments)


def _stop(*_: object) -> None:
    """End at once: an exception would surface as whatever the library being imported makes of it."""
    os.write(2, b"deepscope: stopped before it began\n")
    os._exit(_INTERRUPTED)

"""Ctrl-C and SIGTERM that Python ignores where they arrive, and that must stop the program nonetheless."""

from __future__ import annotations

import signal
import sys
import threading
from _thread import interrupt_main

_LATER = 0.02
"""Seconds after which an ignored signal is delivered again."""


def interrupt_again(ignored: sys.UnraisableHookArgs) -> None:
    """Interrupt the main thread again where Python ignored a KeyboardInterrupt; an unraisable hook.

    Python runs the handler of a signal between two instructions. After a collection of garbage or a long operation, the
    next one is often that of a weak reference's callback or a destructor, and whatever is raised there is ignored.
    """
    if issubclass(ignored.exc_type, KeyboardInterrupt):
        later = threading.Timer(_LATER, _interrupt)  # not now: here, too, an exception would be ignored
        later.daemon = True
        later.start()
    else:
        sys.__unraisablehook__(ignored)


def _interrupt() -> None:
    """Send the main thread the signal that it handles: background jobs of a shell ignore ctrl-C, and so may others."""
    handled = (number for number in (signal.SIGINT, signal.SIGTERM) if callable(signal.getsignal(number)))
    if (number := next(handled, None)) is None:
        return
    if hasattr(signal, "pthread_kill"):  # not on Windows
        signal.pthread_kill(threading.main_thread().ident or 0, number)  # it also ends a wait for a file or a pipe
    else:
        interrupt_main(number)

"""A process that makes sections for the report, and what it tells the report."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from types import ModuleType

import torch

from deepscope.command import Section
from deepscope.devices import reuse_freed_memory
from deepscope.interrupts import interrupt_again
from deepscope.report.keeping import Outcome, Shelf
from deepscope.session import Session

_PATIENCE = 5
"""Seconds for which a stopped process may clean up."""
_STOPPED = 128
"""Shells add the number of the signal that stopped a program."""
_KILLED = 9
"""SIGKILL, which Windows has no name for."""


@dataclass(frozen=True)
class Made:
    """What a process says of a finished section: topics of notes and names of engines, as in its session."""

    outcome: Outcome
    said: set[str]
    engines: set[str]


@dataclass(frozen=True)
class Remark:
    """A note that is given once: another process may have the same one at the same time."""

    topic: str
    text: str


class Ready:
    """What a process says when it has loaded its libraries: if it ends later, a section was the cause."""


class Helper:
    """A process that makes sections, one after the other, and this end of the pipe to it.

    Args:
        shelf: that they are stored on.
        threads: of PyTorch.

    Attributes:
        ready: whether it has said so; the caller sets it.

    Raises:
        OSError: the system starts no more processes, or has no files left for the pipe.
    """

    def __init__(self, shelf: Shelf, threads: int) -> None:
        self.ready = False
        spawning = multiprocessing.get_context("spawn")
        self.pipe, far = spawning.Pipe()
        self._said = shelf.session.said
        self._process = spawning.Process(target=_work, args=(far, shelf, threads), daemon=True)
        try:
            with _apart():
                self._process.start()
        except OSError:
            self.pipe.close()
            raise
        finally:
            far.close()  # so that the pipe ends with the process

    def take(self, section: Section, part: str) -> bool:
        """Give it a section; False where it has died."""
        try:
            self.pipe.send((section, part, self._said))
        except OSError:
            return False
        return True

    def ended(self) -> str:
        """How a process ended that should not have, as a predicate."""
        self._process.join()
        code = self._process.exitcode or 0
        how = f"by signal {-code}" if code < 0 else f"with status {code}"
        return f"ended {how}" + ": it may have run out of memory" * (code == -_KILLED)

    def end(self) -> None:
        """Tell it to stop."""
        self._process.terminate()

    def stop(self) -> None:
        """Wait until it has stopped, and end it where it does not."""
        self._process.join(_PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.pipe.close()


@contextmanager
def _apart() -> Iterator[None]:
    """What starts in the block takes nothing over from this process that it should not.

    Python would run the caller's script again in it, where all of it has effects or there is none to read. It would
    look for its own modules in the working folder first. And ctrl-C, which reaches all processes of a terminal, would
    end it with a traceback while it loads the libraries.
    """
    main, safe = sys.modules["__main__"], os.environ.get("PYTHONSAFEPATH")
    masks = hasattr(signal, "pthread_sigmask")  # not on Windows
    with ExitStack() as after:
        after.callback(sys.modules.__setitem__, "__main__", main)
        sys.modules["__main__"] = ModuleType("__main__")
        after.callback(_set_safe, safe)
        _set_safe("1")
        if masks:
            from multiprocessing.resource_tracker import ensure_running

            ensure_running()  # it lets the signal through again when it starts
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            after.callback(signal.pthread_sigmask, signal.SIG_SETMASK, before)
        yield


def _set_safe(value: str | None) -> None:
    """Whether Python looks for modules in the working folder when it starts, from Python 3.11."""
    if value is None:
        os.environ.pop("PYTHONSAFEPATH", None)
    else:
        os.environ["PYTHONSAFEPATH"] = value


class _Lines(io.TextIOBase):
    """What a process prints, for the one that started it: that has a bar at the bottom of the terminal.

    Args:
        pipe: to that process.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._begun = pipe, ""
        self._lock = threading.RLock()

    def write(self, text: str, /) -> int:
        """Send whole lines."""
        with self._lock, suppress(OSError):  # it has gone, and this process ends too
            lines, end, self._begun = (self._begun + text).rpartition("\n")
            if end:
                self._pipe.send(lines + end)
        return len(text)

    def send(self, message: Ready | Remark | Made) -> None:
        """Send something that is not text."""
        with self._lock:
            self._pipe.send(message)


@dataclass(frozen=True)
class _Remarking(Session):
    """The session of a process that leaves it to the report to give each note once."""

    lines: _Lines = field(kw_only=True, repr=False, compare=False)

    def note_once(self, topic: str, text: str) -> None:
        """Send it."""
        if not self.quiet and topic not in self.said:
            self.said.add(topic)
            self.lines.send(Remark(topic, text))


def _work(pipe: Connection, shelf: Shelf, threads: int) -> None:
    """Make the sections that arrive, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C reaches all processes of a terminal; the first one stops us
    signal.signal(signal.SIGTERM, _leave)
    sys.unraisablehook = interrupt_again
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.stdout = sys.stderr = lines = _Lines(pipe)
    torch.set_num_threads(threads)
    reuse_freed_memory()
    session = _Remarking(**vars(shelf.session), lines=lines)
    shelf = replace(shelf, session=session)
    try:
        lines.send(Ready())
        while True:
            section, part, said = pipe.recv()
            session.said.update(said)
            lines.send(Made(shelf.get(section, part=part), session.said, session.engines))
    except (EOFError, OSError):
        pass
    except KeyboardInterrupt:
        sys.exit(_STOPPED + signal.SIGTERM)


def _leave(*_: object) -> None:
    raise KeyboardInterrupt  # what can resume keeps what it has, and no temporary file is left


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # it was killed, and nobody waits for a result

"""What makes the sections of a page: this process, one after the other, or several processes at once."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Protocol, cast

import torch
from typing_extensions import Self

from deepscope.command import Budget, Section
from deepscope.devices import processes, reuse_freed_memory
from deepscope.kept import workspace
from deepscope.report.keeping import Outcome, Shelf, failed
from deepscope.session import Advance, Session
from deepscope.studies import Study

_PROCESSES = 2
"""At most: each holds a network of its own."""
_WORTH = 0.5
"""Minutes of work from which a second process is worth the seconds that it takes to start."""
_PATIENCE = 5
"""Seconds for which a stopped process may clean up."""
_GLANCE = 0.5
"""Seconds between two glances at the clock while processes work."""
_LATER = 0.02
"""Seconds after which a process is told again to stop."""
_STOPPED = 128
"""Shells add the number of the signal that stopped a program."""
_KILLED = 9
"""SIGKILL, which Windows has no name for."""


class Maker(Protocol):
    """Makes sections; at most `size` of them are started and not finished."""

    size: int

    def __enter__(self) -> Self:
        """Get ready."""
        ...

    def __exit__(self, *_: object) -> None:
        """Stop what is not finished."""
        ...

    def start(self, section: Section, part: str) -> None:
        """Begin with a section, or say that it is the next one. `part` stands before its progress."""
        ...

    def finished(self) -> Outcome:
        """Wait for one of those that were started."""
        ...


def maker(chosen: Sequence[Section], shelf: Shelf, minutes: Mapping[str, float], budget: Budget) -> Maker:
    """Processes for the quick studies, most of which do not gain from a second thread; this process for all else.

    Args:
        chosen: the sections.
        shelf: that they are stored on.
        minutes: that each is expected to take, by name; none where it is kept or cannot run.
        budget: that they run in. The full one needs the memory for itself.
    """
    chapters = {section.chapter for section in chosen if minutes.get(section.name)}
    size = min(_PROCESSES, torch.get_num_threads(), len(chapters))
    alone = size < 2 or sum(minutes.values()) < _WORTH or budget == "full" or shelf.session.device.type != "cpu"
    return InTurn(shelf) if alone or not _elsewhere(chosen, shelf.session) else AtOnce(shelf, size, minutes)


def _elsewhere(chosen: Sequence[Section], session: Session) -> bool:
    """Whether a new process can make the sections: it has nothing that the caller defined or holds in this one."""
    ours = __name__.partition(".")[0]
    known = all(isinstance(one, Study) and type(one).__module__.partition(".")[0] == ours for one in chosen)
    started = multiprocessing.current_process().daemon or processes() > 1  # beside others, or may not start any
    return known and not (started or session.models or session.data)


class InTurn:
    """Makes one section after the other, in this process.

    Args:
        shelf: that they are stored on.
    """

    size = 1

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._next: tuple[Section, str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self, section: Section, part: str) -> None:
        """Remember the section: `finished` makes it."""
        self._next = section, part

    def finished(self) -> Outcome:
        """Make it."""
        assert self._next is not None
        section, part = self._next
        return self._shelf.get(section, part=part)


class AtOnce:
    """Makes several sections at once, each in a process of its own that then takes the next.

    A process that dies, because memory ran out or a library crashed, costs its section only.

    Args:
        shelf: that they are stored on.
        size: number of processes, which divide PyTorch's threads.
        minutes: that each section is expected to take, by name: one bar shows the progress of all.
    """

    def __init__(self, shelf: Shelf, size: int, minutes: Mapping[str, float]) -> None:
        self.size = size
        self._shelf, self._minutes = shelf, minutes
        self._closing = ExitStack()
        self._advance: Advance | None = None
        self._threads = max(1, torch.get_num_threads() // size)
        self._idle: list[_Helper] = []
        self._busy: dict[Connection, tuple[_Helper, Section, float]] = {}
        self._over = self._shown = 0.0

    def __enter__(self) -> Self:
        workspace(self._shelf.session)  # what there is to say of the cache is said here, not once in each process
        work = round(sum(self._minutes.values()) * 60)
        self._advance = self._closing.enter_context(self._shelf.session.progress("seconds of work", total=work))
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()
        helpers = [*self._idle, *(one for one, *_ in self._busy.values())]
        for one in helpers:
            one.end()
        for one in helpers:
            one.stop()

    def start(self, section: Section, part: str) -> None:
        """Give the section to a process."""
        while self._idle and not self._idle[-1].take(section, part):
            self._idle.pop().stop()
        if self._idle:
            one = self._idle.pop()
        else:
            one = _Helper(self._shelf, self._threads)
            one.take(section, part)  # where it died already, `finished` says so
        self._busy[one.pipe] = one, section, time.monotonic()
        self._show()

    def finished(self) -> Outcome:
        """The first outcome that arrives."""
        while True:
            while not (ready := wait(list(self._busy), _GLANCE)):
                self._show()
            pipe = cast(Connection, ready[0])
            one, section, _ = self._busy[pipe]
            try:
                told = pipe.recv()
            except (EOFError, OSError):
                outcome = failed(section, one.obituary())
                break
            if isinstance(told, _Made):
                outcome = told.outcome
                self._shelf.session.said.update(told.said)
                self._shelf.session.engines.update(told.engines)
                self._idle.append(one)
                break
            if sys.stderr is not None:  # closed
                sys.stderr.write(told)
        del self._busy[pipe]
        self._over += self._seconds(section)
        self._show()
        return outcome

    def _seconds(self, section: Section) -> float:
        return self._minutes.get(section.name, 0.0) * 60

    def _show(self) -> None:
        """As much as time has passed is done of a section that runs, and no more than was expected of it."""
        assert self._advance is not None
        now = time.monotonic()
        done = self._over + sum(min(self._seconds(section), now - began) for _, section, began in self._busy.values())
        names = ", ".join(section.name for _, section, _ in self._busy.values())
        self._advance(done - self._shown, f"{names}: seconds of work" if names else None)
        self._shown = done


class _Helper:
    """A process, and this end of the pipe to it."""

    def __init__(self, shelf: Shelf, threads: int) -> None:
        spawning = multiprocessing.get_context("spawn")
        self.pipe, far = spawning.Pipe()
        self._said = shelf.session.said
        self._process = spawning.Process(target=_work, args=(far, shelf, threads), daemon=True)
        with _apart():
            self._process.start()
        far.close()  # so that the pipe ends with the process

    def take(self, section: Section, part: str) -> bool:
        """Give it a section; False where it has died."""
        try:
            self.pipe.send((section, part, self._said))
        except OSError:
            return False
        return True

    def obituary(self) -> str:
        """Why a process ended that should not have."""
        self._process.join()
        code = self._process.exitcode or 0
        how = f"by signal {-code}" if code < 0 else f"with status {code}"
        return f"its process ended {how}" + ": the memory may not be enough" * (code == -_KILLED)

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
        after.callback(os.environ.pop if safe is None else os.environ.__setitem__, "PYTHONSAFEPATH", safe)
        os.environ["PYTHONSAFEPATH"] = "1"  # from Python 3.11
        if masks:
            from multiprocessing.resource_tracker import ensure_running

            ensure_running()  # it lets the signal through again when it starts
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            after.callback(signal.pthread_sigmask, signal.SIG_SETMASK, before)
        yield


@dataclass(frozen=True)
class _Made:
    """What a process says of a finished section: topics of notes and names of engines, as in its session."""

    outcome: Outcome
    said: set[str]
    engines: set[str]


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

    def send(self, made: _Made) -> None:
        """Send what was made."""
        with self._lock:
            self._pipe.send(made)


def _work(pipe: Connection, shelf: Shelf, threads: int) -> None:
    """Make the sections that arrive, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C reaches all processes of a terminal; the first one stops us
    signal.signal(signal.SIGTERM, _leave)
    sys.unraisablehook = _leave_again
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.stdout = sys.stderr = lines = _Lines(pipe)
    torch.set_num_threads(threads)
    reuse_freed_memory()
    session = shelf.session
    try:
        while True:
            section, part, said = pipe.recv()
            session.said.update(said)
            lines.send(_Made(shelf.get(section, part=part), session.said, session.engines))
    except (EOFError, OSError):
        pass
    except KeyboardInterrupt:
        sys.exit(_STOPPED + signal.SIGTERM)


def _leave(*_: object) -> None:
    raise KeyboardInterrupt  # what can resume keeps what it has, and no temporary file is left


def _leave_again(ignored: sys.UnraisableHookArgs) -> None:
    """The same where Python ignored it, as in a destructor; an unraisable hook."""
    if issubclass(ignored.exc_type, KeyboardInterrupt):
        later = threading.Timer(_LATER, os.kill, (os.getpid(), signal.SIGTERM))  # now, it would be ignored again
        later.daemon = True
        later.start()
    else:
        sys.__unraisablehook__(ignored)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # it was killed, and nobody waits for a result

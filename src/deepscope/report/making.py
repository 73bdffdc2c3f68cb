"""What makes the sections of a page: this process, one after the other, or several processes at once."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection, wait
from typing import Protocol, cast

import torch
from typing_extensions import Self

from deepscope.command import Budget, Section
from deepscope.devices import processes
from deepscope.kept import workspace
from deepscope.report.keeping import Outcome, Shelf, failed
from deepscope.report.process import Helper, Made
from deepscope.session import Advance, Session
from deepscope.studies import Study

_PROCESSES = 2
"""At most: each holds a network of its own."""
_WORTH = 0.5
"""Minutes of work from which a second process is worth the seconds that it takes to start."""
_GLANCE = 0.5
"""Seconds between two glances at the clock while processes work."""


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
        self._idle: list[Helper] = []
        self._busy: dict[Connection, tuple[Helper, Section, float]] = {}
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
            one = Helper(self._shelf, self._threads)
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
            if isinstance(told, Made):
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

"""What makes the sections of a page: this process, one after the other, or several processes at once."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection, wait
from typing import NamedTuple, Protocol, cast

import torch
from typing_extensions import Self

from deepscope.command import Budget, Section
from deepscope.devices import processes
from deepscope.kept import workspace
from deepscope.report.keeping import Outcome, Shelf, failed
from deepscope.report.process import Helper, Made, Ready, Remark
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


class _Busy(NamedTuple):
    """A process, the section that it makes, and since when."""

    helper: Helper
    section: Section
    part: str
    since: float


class AtOnce:
    """Makes several sections at once, each in a process of its own that then takes the next.

    A process that dies, because memory ran out or a library crashed, costs its section only. Where none can be started,
    this process makes the sections.

    Args:
        shelf: that they are stored on.
        size: number of processes, which divide PyTorch's threads; 1 from when one could not be started.
        minutes: that each section is expected to take, by name: one bar shows the progress of all.
    """

    def __init__(self, shelf: Shelf, size: int, minutes: Mapping[str, float]) -> None:
        self.size = size
        self._shelf, self._minutes = shelf, minutes
        self._closing = ExitStack()
        self._advance: Advance | None = None
        self._threads = max(1, torch.get_num_threads() // size)
        self._idle: list[Helper] = []
        self._busy: dict[Connection, _Busy] = {}
        self._here: tuple[Section, str] | None = None
        self._refused = False
        self._over = self._shown = 0.0

    def __enter__(self) -> Self:
        workspace(self._shelf.session)  # what there is to say of the cache is said here, not once in each process
        work = round(sum(self._minutes.values()) * 60)
        self._advance = self._closing.enter_context(self._shelf.session.progress("seconds of work", total=work))
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()
        helpers = [*self._idle, *(one.helper for one in self._busy.values())]
        for one in helpers:
            one.end()
        for one in helpers:
            one.stop()

    def start(self, section: Section, part: str) -> None:
        """Give the section to a process; remember it where none can be started, and `finished` makes it."""
        while self._idle and not self._idle[-1].take(section, part):
            self._idle.pop().stop()
        one = self._idle.pop() if self._idle else self._another(section, part)
        if one is None:
            self._here = section, part
        else:
            self._busy[one.pipe] = _Busy(one, section, part, time.monotonic())
        self._show()

    def finished(self) -> Outcome:
        """The first outcome that arrives."""
        while self._here is None:
            while not (ready := wait(list(self._busy), _GLANCE)):
                self._show()
            busy = self._busy[cast(Connection, ready[0])]
            try:
                told = busy.helper.pipe.recv()
            except (EOFError, OSError):
                return self._after_the_end(busy)
            if isinstance(told, Made):
                self._shelf.session.said.update(told.said)
                self._shelf.session.engines.update(told.engines)
                self._idle.append(busy.helper)
                return self._done(busy, told.outcome)
            if isinstance(told, Ready):
                busy.helper.ready = True
            elif isinstance(told, Remark):
                self._shelf.session.note_once(told.topic, told.text)
            elif sys.stderr is not None:  # closed
                sys.stderr.write(told)
        (section, part), self._here = self._here, None
        return self._shelf.get(section, part=part)

    def _another(self, section: Section, part: str) -> Helper | None:
        """A new process that has the section; None where none can be started."""
        if self._refused:
            return None
        try:
            one = Helper(self._shelf, self._threads)
        except OSError as error:
            self._give_up(error.strerror or str(error))
            return None
        one.take(section, part)  # where it died already, `finished` finds out
        return one

    def _after_the_end(self, busy: _Busy) -> Outcome:
        """The outcome of a section whose process ended: made here, where it had not come as far as the section."""
        ended = busy.helper.ended()
        if busy.helper.ready:
            return self._done(busy, failed(busy.section, f"its process {ended}"))
        busy.helper.stop()
        self._give_up(f"it {ended}")
        return self._done(busy, self._shelf.get(busy.section, part=busy.part))

    def _give_up(self, why: str) -> None:
        """Start no more processes. Each section that this one makes has a bar of its own."""
        if not self._refused:
            self._refused, self.size = True, 1
            self._closing.close()
            self._advance = None
            text = f"no further process can be started ({why}): sections are made one at a time from here on"
            self._shelf.session.note(text)

    def _done(self, busy: _Busy, outcome: Outcome) -> Outcome:
        del self._busy[busy.helper.pipe]
        self._over += self._seconds(busy.section)
        self._show()
        return outcome

    def _seconds(self, section: Section) -> float:
        return self._minutes.get(section.name, 0.0) * 60

    def _show(self) -> None:
        """As much as time has passed is done of a section that runs, and no more than was expected of it."""
        if self._advance is None:
            return
        now = time.monotonic()
        done = self._over + sum(min(self._seconds(one.section), now - one.since) for one in self._busy.values())
        names = ", ".join(one.section.name for one in self._busy.values())
        self._advance(done - self._shown, f"{names}: seconds of work" if names else None)
        self._shown = done

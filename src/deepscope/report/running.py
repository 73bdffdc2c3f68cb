"""Running the sections of a page, each kept as soon as it is finished."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from deepscope.checks import Check
from deepscope.checks.pace import Pace
from deepscope.command import Budget, Section
from deepscope.names import counted
from deepscope.render.text import duration
from deepscope.report.keeping import Outcome, Shelf
from deepscope.report.making import maker
from deepscope.session import Session

_TRUST = 0.5
"""Minutes for which the estimates are trusted before the measured pace takes over."""
_BRIEF = 0.1
"""Minutes of a section that is not worth waiting for."""


@dataclass(frozen=True)
class State:
    """How far a report is.

    Attributes:
        outcomes: of the finished sections.
        said: the page's introduction.
        running: the sections that are being made; none at the end.
        waiting: those after them.
        left: minutes until the end, roughly.
        stopped: whether the report was interrupted in the sections that were running.
    """

    outcomes: tuple[Outcome, ...]
    said: str
    running: tuple[Section, ...] = ()
    waiting: tuple[Section, ...] = ()
    left: float = 0.0
    stopped: bool = False

    @property
    def remaining(self) -> str:
        """The time left, in words."""
        return duration(round(self.left * 60))


class Clock:
    """How much longer it takes: what each section took here before, else its own estimate, scaled by the pace so far.

    Args:
        waiting: sections to run, and the minutes that each is expected to take.
        at_once: sections that run at the same time; it may change.
    """

    def __init__(self, waiting: dict[str, float], at_once: int = 1) -> None:
        self._minutes, self.at_once = dict(waiting), at_once
        self._started: dict[str, float] = {}
        self._planned = 0.0
        self._began = time.monotonic()

    @property
    def minutes(self) -> float:
        """Since the beginning."""
        return (time.monotonic() - self._began) / 60

    def start(self, section: Section) -> None:
        """The section runs from now on."""
        self._started[section.name] = self.minutes

    def done(self, section: Section) -> None:
        """The section is finished, or was already."""
        self._started.pop(section.name, None)
        self._planned += self._minutes.pop(section.name, 0.0)

    def left(self) -> float:
        """Minutes."""
        expected, now = self._minutes, self.minutes
        begun = sum(min(expected.get(name, 0.0), now - since) for name, since in self._started.items())
        pace = (now + _TRUST) / ((self._planned + begun) / self.at_once + _TRUST)
        return (sum(expected.values()) - begun) / self.at_once * pace


def expected(chosen: Sequence[Section], shelf: Shelf, budget: Budget, pace: Pace | None = None) -> dict[str, float]:
    """Minutes of each section that is not kept: as last time, else its estimate; none where its data is missing.

    Args:
        chosen: the sections.
        shelf: holds finished ones.
        budget: that they run in.
        pace: of the model that checks examine.
    """

    def minutes(section: Section) -> float:
        known = shelf.minutes(section)
        return estimate(section, budget, pace) if known is None else known

    waiting = [section for section in chosen if not shelf.has(section)]
    return {section.name: minutes(section) if section.ready(shelf.session) else 0.0 for section in waiting}


def estimate(section: Section, budget: Budget, pace: Pace | None) -> float:
    """Minutes of a section that did not run here before: of a check, what it does at the model's measured pace."""
    if pace is not None and isinstance(section, Check):
        return pace.minutes(section.work(pace))
    return section.minutes[budget]


def run(chosen: Sequence[Section], shelf: Shelf, budget: Budget, pace: Pace | None = None) -> Iterator[State]:
    """Make or keep each section. A state whenever others run, and one at the end or where the report is interrupted."""
    minutes = expected(chosen, shelf, budget, pace)
    audit = any(isinstance(section, Check) for section in chosen)
    finished: dict[str, Outcome] = {}
    waiting, running = list(chosen), list[Section]()
    with maker(chosen, shelf, minutes, budget) as making:
        clock = Clock(minutes, making.size)

        def state() -> State:
            outcomes = tuple(finished[section.name] for section in chosen if section.name in finished)
            said = introduction(outcomes, budget, shelf.session, clock.minutes, audit=audit)
            return State(outcomes, said, tuple(running), tuple(waiting), clock.left())

        try:
            while waiting or running:
                while len(running) < making.size and (section := following(waiting, running, minutes, making.size)):
                    waiting.remove(section)
                    place = len(chosen) - len(waiting)
                    part = f"[{place}/{len(chosen)}] {section.name}"
                    shelf.session.note(f"{part}: about {duration(round(clock.left() * 60))} left")
                    making.start(section, part)
                    clock.start(section)
                    running.append(section)
                if not all(shelf.has(section) for section in running):  # a kept one is read in a moment
                    yield state()
                outcome = making.finished()
                clock.at_once = making.size
                running.remove(outcome.section)
                finished[outcome.section.name] = outcome
                clock.done(outcome.section)
        except KeyboardInterrupt:
            if running:  # else the page would say that it is finished
                yield replace(state(), stopped=True)
            raise
        yield state()


def following(
    waiting: Sequence[Section], running: Sequence[Section], minutes: Mapping[str, float], at_once: int
) -> Section | None:
    """The section to start next; None where it must wait for one that runs.

    In the order of the page where one runs at a time. Else two of a chapter never run at once, because they share
    trainings; what takes a few seconds comes first, so that there is something to read, and then the longest chapter,
    so that all processes end together.
    """
    if at_once == 1:
        return next(iter(waiting), None)
    busy = {section.chapter for section in running}
    free = [section for section in waiting if section.chapter not in busy]
    chapters: dict[str, float] = {}
    for section in free:
        cost = minutes.get(section.name, 0.0)
        if cost < _BRIEF:
            return section
        chapters[section.chapter] = chapters.get(section.chapter, 0.0) + cost
    return max(free, key=lambda section: chapters[section.chapter], default=None)


def introduction(outcomes: Sequence[Outcome], budget: Budget, session: Session, minutes: float, *, audit: bool) -> str:
    """A paragraph that says what was run, on what, and in which budget."""
    where = "the data and weights of DEEPSCOPE_HOME" if (session.home / "data").is_dir() else "bundled data and weights"
    few = ": few images and short trainings, for a first look; the full budget measures on all of them"
    if audit:
        where = "your images"
        few = ": costly checks use some of them, for a first look; the full budget uses more"
    kept = sum(outcome.kept for outcome in outcomes)
    return (
        f"The {budget} budget, on {where}{few * (budget == 'quick')}. "
        f"Seed {session.seed}, {session.device}, {session.precision}. "
        f"{counted(len(outcomes), 'section')}"
        f"{f', {kept} of them kept from an earlier run' * bool(kept)}; "
        f"this run took {duration(max(1, round(minutes * 60)))}."
    )

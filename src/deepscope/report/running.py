"""Running the sections of a page, one after the other, each kept as soon as it is finished."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from deepscope.checks import Check
from deepscope.checks.pace import Pace
from deepscope.command import Budget, Section
from deepscope.render.text import duration
from deepscope.report.keeping import Outcome, Shelf
from deepscope.session import Session

_TRUST = 0.5
"""Minutes for which the estimates are trusted before the measured pace takes over."""


@dataclass(frozen=True)
class State:
    """How far a report is.

    Attributes:
        outcomes: of the finished sections.
        said: the page's introduction.
        running: the section that is being made; None at the end.
        waiting: those after it.
        left: minutes until the end, roughly.
        stopped: whether the report was interrupted in the section that was running.
    """

    outcomes: tuple[Outcome, ...]
    said: str
    running: Section | None = None
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
    """

    def __init__(self, waiting: dict[str, float]) -> None:
        self._minutes = dict(waiting)
        self._planned = 0.0
        self._began = time.monotonic()

    @property
    def minutes(self) -> float:
        """Since the beginning."""
        return (time.monotonic() - self._began) / 60

    def done(self, section: Section) -> None:
        """The section is finished, or was already."""
        self._planned += self._minutes.pop(section.name, 0.0)

    def left(self) -> float:
        """Minutes."""
        pace = (self.minutes + _TRUST) / (self._planned + _TRUST)
        return sum(self._minutes.values()) * pace


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
    """Make or keep each section. A state before each, and one at the end or where the report is interrupted."""
    outcomes: list[Outcome] = []
    audit = any(isinstance(section, Check) for section in chosen)
    clock = Clock(expected(chosen, shelf, budget, pace))
    for place, section in enumerate(chosen):
        part = f"[{place + 1}/{len(chosen)}] {section.name}"
        shelf.session.note(f"{part}: about {duration(round(clock.left() * 60))} left")
        said = introduction(outcomes, budget, shelf.session, clock.minutes, audit=audit)
        state = State(tuple(outcomes), said, section, tuple(chosen[place + 1 :]), clock.left())
        if not shelf.has(section):  # a kept one is read in a moment
            yield state
        try:
            outcomes.append(shelf.get(section, part=part))
        except KeyboardInterrupt:
            yield replace(state, stopped=True)
            raise
        clock.done(section)
    yield State(tuple(outcomes), introduction(outcomes, budget, shelf.session, clock.minutes, audit=audit))


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
        f"{len(outcomes)} section{'s' * (len(outcomes) != 1)}"
        f"{f', {kept} of them kept from an earlier run' * bool(kept)}; "
        f"this run took {duration(max(1, round(minutes * 60)))}."
    )

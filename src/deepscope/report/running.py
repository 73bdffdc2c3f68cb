"""Running the sections of a page, one after the other, each kept as soon as it is finished."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from deepscope.checks import Check
from deepscope.command import Budget, Section
from deepscope.render.text import duration
from deepscope.report.keeping import Outcome, Shelf
from deepscope.session import Session


class Clock:
    """How much longer it takes: the sections' own estimates, scaled by how the finished ones compared with theirs."""

    def __init__(self, waiting: Sequence[Section], budget: Budget) -> None:
        self._minutes = {section.name: section.minutes[budget] for section in waiting}
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
        pace = self.minutes / self._planned if self._planned else 1.0
        return sum(self._minutes.values()) * pace


def run(chosen: Sequence[Section], shelf: Shelf, budget: Budget) -> Iterator[tuple[list[Outcome], str]]:
    """Make or keep each section; after each, all outcomes so far and the page's introduction."""
    outcomes: list[Outcome] = []
    clock = Clock([section for section in chosen if not shelf.has(section)], budget)
    for place, section in enumerate(chosen, start=1):
        part = f"[{place}/{len(chosen)}] {section.name}"
        shelf.session.note(f"{part}: about {duration(clock.left() * 60)} left")
        outcomes.append(shelf.get(section, part=part))
        clock.done(section)
        yield outcomes, introduction(outcomes, budget, shelf.session, clock.minutes)


def introduction(outcomes: Sequence[Outcome], budget: Budget, session: Session, minutes: float) -> str:
    """A paragraph that says what was run, on what, and in which budget."""
    where = "the data and weights of DEEPSCOPE_HOME" if (session.home / "data").is_dir() else "bundled data and weights"
    if any(isinstance(outcome.section, Check) for outcome in outcomes):
        where = "your images"
    few = ": few images and short trainings, for a first look; the full budget measures on all of them"
    kept = sum(outcome.kept for outcome in outcomes)
    return (
        f"The {budget} budget, on {where}{few * (budget == 'quick')}. "
        f"Seed {session.seed}, {session.device}, {session.precision}. "
        f"{len(outcomes)} sections, {kept} of them kept from an earlier run; this run took {duration(minutes * 60)}."
    )

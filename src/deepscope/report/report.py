"""`deepscope report`: run the studies of the source and write the page."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar, Literal

from deepscope.errors import InputError, unknown
from deepscope.files import atomic
from deepscope.jobs import Job, PartFailed
from deepscope.report.keeping import Outcome, run_or_keep
from deepscope.report.page import page
from deepscope.results import Column, Note, Result, Table
from deepscope.session import Session
from deepscope.studies import Budget, Study

_FOLDER = Path("deepscope-report")


@dataclass(frozen=True)
class Report(Job):
    """Run the studies of the source report and write one self-contained HTML page.

    Every question is answered from measured numbers, the published figure beside the measured one. Finished studies
    are kept: a report that was interrupted goes on where it stopped, and only studies whose inputs changed run again.

    Attributes:
        budget: "quick" takes minutes on bundled data, "full" runs everything on the data of DEEPSCOPE_HOME; by
            default quick where there is no home, full where there is.
        chapters: only the chapters whose numbers begin like this ("1", "2.1").
        studies: only the studies of these names.
        list: say what would run and what it costs, and run nothing.
    """

    name: ClassVar[str] = "report"
    example: ClassVar[str] = "deepscope report --chapters 1.1 --out report/"

    _: KW_ONLY
    budget: Literal["auto", "quick", "full"] = "auto"
    chapters: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()
    list: bool = False

    def run(self, session: Session) -> Result:
        """Run or keep each study, write the page after each, so that there always is one.

        Raises:
            PartFailed: the page is written, but a study in it failed.
        """
        budget = self._budget(session)
        chosen = self._chosen(budget)
        if self.list:
            return _listing(chosen, budget)
        folder = session.out or _FOLDER
        outcomes: list[Outcome] = []
        began, planned = time.monotonic(), sum(study.minutes[budget] for study in chosen)
        for place, study in enumerate(chosen, start=1):
            left = sum(later.minutes[budget] for later in chosen[place - 1 :])
            session.note(f"[{place}/{len(chosen)}] {study.name}: about {_span(left)} left of {_span(planned)}")
            outcomes.append(run_or_keep(study, session, folder / "studies" / study.name))
            _write(folder / "index.html", outcomes, budget, session, time.monotonic() - began)
        session.note(f"the page is {(folder / 'index.html').resolve()}")
        failed = [outcome for outcome in outcomes if outcome.failure]
        if failed:
            names = ", ".join(outcome.study.name for outcome in failed)
            raise PartFailed(
                f"{len(failed)} of {len(outcomes)} studies failed ({names}); {folder / 'index.html'} has the rest"
            )
        return _summary(outcomes, folder / "index.html")

    def _budget(self, session: Session) -> Budget:
        if self.budget != "auto":
            return self.budget
        return "full" if (session.home / "data").is_dir() else "quick"

    def _chosen(self, budget: Budget) -> list[Study]:
        members = Study.members()
        for name in self.studies:
            if name not in members:
                raise unknown("study", name, members, listing="`deepscope report --list`")
        wanted = [
            study
            for name, study in members.items()
            if (not self.studies or name in self.studies)
            and (not self.chapters or study.chapter.startswith(self.chapters))
        ]
        if not wanted:
            chapters = sorted({study.chapter for study in members.values()})
            raise InputError(f"no study is of chapter {' or '.join(self.chapters)}: there are {'; '.join(chapters)}")
        return [study.within(budget) for study in sorted(wanted, key=lambda study: (study.chapter, study.name))]


def _listing(chosen: Sequence[Study], budget: Budget) -> Result:
    rows = tuple((study.chapter, study.name, study.minutes[budget]) for study in chosen)
    columns = (Column("chapter"), Column("study"), Column("minutes on two cores", ".1f"))
    total = sum(study.minutes[budget] for study in chosen)
    return Result(
        title=f"What the {budget} report runs",
        metrics={"studies": len(chosen), "minutes": total},
        blocks=(Table(columns, rows), Note(f"About {_span(total)} in all; studies already finished take no time.")),
    )


def _write(path: Path, outcomes: Sequence[Outcome], budget: Budget, session: Session, seconds: float) -> None:
    where = "the data and weights of DEEPSCOPE_HOME" if (session.home / "data").is_dir() else "bundled data and weights"
    introduction = (
        f"The {budget} budget, on {where}; seed {session.seed}, {session.device}. {len(outcomes)} studies, "
        f"{sum(outcome.kept for outcome in outcomes)} of them kept from an earlier run, {_span(seconds / 60)}."
    )
    with atomic(path) as temporary:
        text = page(outcomes, title="Deep learning applications, measured", introduction=introduction)
        temporary.write_text(text, encoding="utf-8")


def _summary(outcomes: Sequence[Outcome], path: Path) -> Result:
    rows = tuple(
        (outcome.study.chapter, outcome.study.name, outcome.result.title, "kept" if outcome.kept else "run")
        for outcome in outcomes
    )
    return Result(
        title="Report",
        metrics={
            "studies": len(outcomes),
            "kept": sum(outcome.kept for outcome in outcomes),
            **{f"{o.study.name}/{name}": value for o in outcomes for name, value in o.result.metrics.items()},
        },
        blocks=(
            Table((Column("chapter"), Column("study"), Column("found"), Column("")), rows),
            Note(f"The page is {path}.", "Page"),
        ),
    )


def _span(minutes: float) -> str:
    if minutes < 1:
        return f"{minutes * 60:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"

"""`deepscope report`: all studies of the report (Delefosse & Vin), or all checks of a classifier, on one page."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from deepscope.checks import Check
from deepscope.checks.held_out import held_out
from deepscope.checks.pace import Pace
from deepscope.command import Budget, Command, Keeping, NotMet, PartFailed, Section
from deepscope.command.output import refuse_data
from deepscope.errors import FileError, SettingError, unknown
from deepscope.models import DEFAULT, VisionModel
from deepscope.names import short
from deepscope.render.text import duration
from deepscope.report.card import ModelCard, refuse_foreign_card, verdict_blocks
from deepscope.report.keeping import Outcome, Shelf
from deepscope.report.making import maker
from deepscope.report.page import Page, refuse_foreign, write
from deepscope.report.requirements import Assessed, Requirement, assess, parsed, read_requirements
from deepscope.report.running import expected, run
from deepscope.results import Column, Note, Result, Table
from deepscope.session import Session
from deepscope.studies import Study

_FOLDER = Path("deepscope-report")

Family = TypeVar("Family", bound=Section)


@dataclass(frozen=True)
class Report(Command):
    """Write one HTML page: the experiments of the report (Delefosse & Vin), or an audit of your own classifier.

    Without data, the studies of the report run: every question is answered with measured figures next to the
    published ones. With data and a model, your classifier is audited. Finished sections are kept: an interrupted
    report resumes where it stopped, and only sections whose inputs have changed run again.

    Attributes:
        model: your classifier: anything that `deepscope models` lists, or a folder of `deepscope transfer fit`.
        data: your images: a folder with one folder per class, with or without `train/` and `test/`.
        labels: for a model with several labels per image, a CSV file with those of each: `file,labels` with labels
            separated by semicolons, or a column of 0 and 1 per label; by default `labels.csv` in the data's folder.
        budget: "quick" takes minutes, "full" as long as the full data needs; by default full for the studies where
            DEEPSCOPE_HOME has data, and quick otherwise.
        chapters: only chapters whose number starts with one of these ("1", "2.1").
        studies: only the studies or checks with these names.
        require: bounds on figures of the audit, such as "accuracy>=0.9" or "leaks<=0": a check's name stands for the
            figure that its section shows first, CHECK/METRIC for any other. If one is missed, the exit status is 1.
        requirements: a TOML file with such bounds: in the table [require], and in [recommend] those that only warn.
        list: only list the sections that would run, with their estimated times.
    """

    name: ClassVar[str] = "report"
    example: ClassVar[str] = "deepscope report --model my-model --data holiday-photos/ --out report/"

    _: KW_ONLY
    model: str | None = None
    data: str | None = None
    labels: str | None = None
    budget: Literal["auto", "quick", "full"] = "auto"
    chapters: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()
    require: tuple[str, ...] = ()
    requirements: Path | None = None
    list: bool = False

    def run(self, session: Session) -> Result:
        """Make or keep each section, and write the page after each, so that there always is one.

        Raises:
            PartFailed: the page is written, but a section of it failed.
            NotMet: a requirement is missed.
        """
        budget, required = self._budget(session), self._required()
        chosen = self._chosen(budget)
        model: VisionModel | None = None
        pace: Pace | None = None
        title, about = "Deep learning applications, measured", ""
        if self.data is not None:  # refused now rather than in every section
            held = held_out(self.model or DEFAULT, self.data, session, self.labels)
            model, pace = held.model, Pace.of(held, session)
            title, about = f"{model.title} on {short(self.data)}", model.identity
        folder = session.out or _FOLDER
        shelf = Shelf(folder / "studies", session, about)
        if self.list:
            return _listing(chosen, budget, shelf, pace)
        refuse_data(folder, self, session)
        refuse_foreign(folder / "index.html")
        if os.path.lexists(shelf.folder) and not shelf.folder.is_dir():
            text = f"{shelf.folder} is not a folder, and holds the finished sections: move it away, or name another one"
            raise FileError(text, path=shelf.folder)
        if model is not None:
            refuse_foreign_card(folder)
        outcomes: Sequence[Outcome] = ()
        keeping, page, card = Keeping("the page"), Page(title), None
        for state in run(chosen, shelf, budget, pace):
            outcomes, keeping = state.outcomes, Keeping("the page")
            if model is not None:
                done = not state.running
                card = ModelCard.of(model, str(self.data), outcomes, assess(required, outcomes) if done else ())
            with keeping:
                try:
                    write(folder / "index.html", page.html(state, card))
                except KeyboardInterrupt:  # while it was drawn, which takes seconds: it must not say that it runs
                    if state.running:
                        write(folder / "index.html", page.html(replace(state, stopped=True), card))
                    raise
                if card is not None:
                    card.save(folder)
        if not keeping.failure:
            session.note(f"the page is {(folder / 'index.html').resolve()}")
        if failed := [outcome.section.name for outcome in outcomes if outcome.failure]:
            where = f"{folder / 'index.html'} has the rest"
            raise PartFailed(f"{len(failed)} of {len(outcomes)} sections failed ({', '.join(failed)}); {where}")
        result = keeping.done(_summary(outcomes, None if keeping.failure else folder / "index.html", card))
        if missed := [_missed(one) for one in card.requirements if one.verdict == "fail"] if card else []:
            raise NotMet(result, f"{len(missed)} of {len(required)} requirements are missed: {'; '.join(missed)}")
        return result

    def _required(self) -> tuple[Requirement, ...]:
        for name in ("require", "requirements"):
            if getattr(self, name) and self.data is None:
                raise SettingError(name, "needs {data}: requirements are on the figures of an audit")
        return (*parsed(self.require), *(read_requirements(self.requirements) if self.requirements else ()))

    def _budget(self, session: Session) -> Budget:
        if self.budget != "auto":
            return self.budget
        return "full" if self.data is None and (session.home / "data").is_dir() else "quick"

    def _chosen(self, budget: Budget) -> Sequence[Section]:
        if self.data is not None:
            model = self.model or DEFAULT
            chosen = [check.within(budget, data=self.data, model=model) for check in self._wanted(Check)]
            return [replace(check, labels=self.labels) for check in chosen]
        if self.labels is not None:
            raise SettingError("labels", "needs {data}: name the folder of images that it lists")
        if self.model is not None:
            raise SettingError("model", "needs {data}: name the folder of images to examine it on")
        return [study.within(budget) for study in self._wanted(Study)]

    def _wanted(self, family: type[Family]) -> Sequence[type[Family]]:
        """The requested studies or checks, in the order of the page."""
        members = family.members()
        for name in self.studies:
            if name not in members:
                raise unknown(family.area, name, members, listing="`deepscope report --list`")
        wanted = [
            member
            for name, member in members.items()
            if (not self.studies or name in self.studies)
            and (not self.chapters or member.chapter.startswith(self.chapters))
        ]
        if not wanted:
            chapters = "; ".join(sorted({member.chapter for member in members.values()}))
            raise SettingError("chapters", f"must be among {chapters}", got=", ".join(self.chapters))
        return sorted(wanted, key=lambda member: (member.chapter, member.name))


def _missed(one: Assessed) -> str:
    """The requirement; with the reason where its figure does not exist or was not measured."""
    return str(one.requirement) if math.isfinite(one.estimate.value) else f"{one.requirement} ({one.reason})"


def _listing(chosen: Sequence[Section], budget: Budget, shelf: Shelf, pace: Pace | None) -> Result:
    """The sections that would run, with their time: as last time, else of checks here and of studies on two cores."""
    minutes = expected(chosen, shelf, budget, pace)
    at_once = maker(chosen, shelf, minutes, budget).size
    rows = tuple((s.chapter, s.name, minutes.get(s.name, 0.0), _state(s, shelf)) for s in chosen)
    columns = (
        Column("chapter"),
        Column("study"),
        Column("minutes" if pace else "minutes on two cores", ".1f"),
        Column(""),
    )
    total = sum(minutes.values()) / at_once
    together = f", {at_once} sections at a time" * (at_once > 1)
    return Result(
        title=f"Sections of the {budget} report",
        metrics={"studies": len(chosen), "minutes": total},
        blocks=(
            Table(columns, rows),
            Note(f"About {duration(total * 60)} in all{together}; what is already finished takes no time."),
        ),
    )


def _state(section: Section, shelf: Shelf) -> str:
    if shelf.has(section):
        return "kept"
    return "" if section.ready(shelf.session) else "its data is missing"


def _summary(outcomes: Sequence[Outcome], path: Path | None, card: ModelCard | None) -> Result:
    rows = tuple((o.section.chapter, o.section.name, o.result.title, "kept" if o.kept else "run") for o in outcomes)
    return Result(
        title="Report",
        metrics={
            "studies": len(outcomes),
            "kept": sum(outcome.kept for outcome in outcomes),
            **{f"{o.section.name}/{name}": value for o in outcomes for name, value in o.result.metrics.items()},
        },
        blocks=(
            *(() if card is None or card.verdict is None else verdict_blocks(card)),
            Table((Column("chapter"), Column("study"), Column("found"), Column("")), rows),
            *([Note(f"The page is {path}.", "Page")] if path else []),
        ),
    )

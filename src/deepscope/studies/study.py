"""`Study`: an experiment of the report (Delefosse & Vin), repeated and completed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from typing_extensions import Self

from deepscope.command import Budget, Section
from deepscope.results import Column, Table

__all__ = ["ANSWERS", "Answer", "Budget", "Study", "Verdict", "answers", "decided"]

ANSWERS = "Answers"
"""The title of the table that closes every study."""
Verdict = Literal["reproduced", "differs", "answered", "not decided", "not measured here"]
"""How a measured figure compares with the published one; "answered" where the report gives no figure, "not decided"
where the images or trainings are too few to tell."""


def decided(holds: bool, fails: bool) -> Verdict:
    """The verdict on a claim that intervals or tests show to hold, show to fail, or leave open."""
    return "reproduced" if holds else "differs" if fails else "not decided"


class Study(Section):
    """An experiment that answers questions of the report, each with its numbers and a verdict.

    Its chapter is that of the report. `deepscope study NAME` runs one.
    """

    area: ClassVar[str] = "study"

    @classmethod
    def within(cls, budget: Budget) -> Self:
        """The study with the settings that the budget allows; the same for both where it is cheap."""
        return cls()

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.example = f"deepscope study {cls.name} --out {cls.name}/"


@dataclass(frozen=True)
class Answer:
    """One question of the report, with its answer.

    Attributes:
        question: short form, with its number in the report.
        published: the figure in the report; a dash where there is none.
        measured: the figure found here, with its interval.
        verdict: how the two compare.
        because: the evidence for the answer; for what was not measured, what is missing.
    """

    question: str
    published: str
    measured: str
    verdict: Verdict
    because: str = ""


def answers(items: Sequence[Answer]) -> Table:
    """The table of answers that closes every study."""
    columns = ("question", "published", "measured", "verdict", "because")
    return Table(
        columns=tuple(Column(name) for name in columns),
        rows=tuple(tuple(getattr(item, name) for name in columns) for item in items),
        title=ANSWERS,
        kind="answers",
    )

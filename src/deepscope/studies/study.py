"""`Study`: an experiment of the source report, repeated and finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from typing_extensions import Self

from deepscope.jobs.job import Job
from deepscope.results import Column, Table

Budget = Literal["quick", "full"]
"""How long the studies of a report may take: minutes on bundled data, or as long as the real data needs."""
Verdict = Literal["reproduced", "differs", "answered", "not measured here"]
"""How a measured figure stands to the published one; "answered" where the source gave no figure."""


class Study(Job):
    """An experiment: a job that answers questions of the source, each with its numbers and a verdict.

    `deepscope study NAME` runs one.
    """

    area: ClassVar[str] = "study"
    chapter: ClassVar[str]
    """The chapter of the source: "1.1 VGG16 architecture"."""
    minutes: ClassVar[Mapping[Budget, float]]
    """What it takes on two cores, roughly, for each budget."""

    @classmethod
    def within(cls, budget: Budget) -> Self:
        """The study with the settings that the budget allows; the same for both where it is cheap."""
        return cls()

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.example = f"deepscope study {cls.name} --out {cls.name}/"


@dataclass(frozen=True)
class Answer:
    """One question of the source, answered.

    Attributes:
        question: in a few words, with its number in the source.
        published: what the source reports; a dash where it reports nothing.
        measured: what was found here, with its interval.
        verdict: how the two stand to each other.
        because: what the answer rests on; for what was not measured, what is missing.
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
        title="Answers",
    )

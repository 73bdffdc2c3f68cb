"""`Study`: an experiment of the source report, repeated and finished."""

from __future__ import annotations

from typing import Any, ClassVar

from deepscope.jobs.job import Job


class Study(Job):
    """An experiment: a job that answers questions of the source, each with its numbers and a verdict.

    Verdicts are "reproduced", "differs", or "not measured here" with the reason. `deepscope study NAME` runs one;
    `deepscope report` runs all and writes the page.
    """

    area: ClassVar[str] = "study"

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.example = f"deepscope study {cls.name} --out {cls.name}/"

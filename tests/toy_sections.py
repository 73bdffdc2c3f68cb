"""Sections of a report that take no time: one that works, one that fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

import numpy as np

from deepscope.command import Headline
from deepscope.results import Animation, Column, ImageGrid, Note, Picture, Result, Table
from deepscope.session import Session
from deepscope.statistics import Estimate
from deepscope.studies import Answer, Budget, Study, answers

RAN: list[str] = []


@dataclass(frozen=True)
class _Tiny:
    chapter: ClassVar[str] = "9.9 Tests"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.5, "full": 90.0}
    name: ClassVar[str] = "works"
    area: ClassVar[str] = "study"
    example: ClassVar[str] = "deepscope study works"
    text: str = "<b>&</b>"

    @classmethod
    def within(cls, budget: Budget) -> _Tiny:
        return cls()

    def settings(self) -> dict[str, str]:
        return {"text": self.text}

    def inputs(self, home: Path) -> list[Path]:
        return [home / "data"]

    def ready(self, session: Session) -> bool:
        return True

    def headline(self, result: Result) -> Headline | None:
        return Headline(
            "It <b>holds</b>. It was measured.",
            "of the <b>",
            Estimate(0.914, 0.9, 0.93),
            published="0.9 <i>",
            verdict="reproduced",
            tone="good",
            picture=result.figure(),
        )

    def run(self, session: Session) -> Result:
        RAN.append(self.name)
        pixels = np.zeros((8, 8, 3), np.uint8)
        return Result(
            "A <i>title</i>",
            metrics={"figure": 1.5},
            blocks=(
                ImageGrid(((Picture(pixels, "a & b"),),), title="Grid"),
                Animation(np.zeros((3, 8, 8, 3), np.uint8), title="Moving"),
                Table((Column("n", "d"), Column("text")), ((2, "b"), (10, "a"), (None, "c"))),
                Note(self.text),
                answers([Answer("1. Why?", "0.9", "0.91 [0.90, 0.92]", "reproduced")]),
            ),
        )


class Works(_Tiny):
    """Stands outside the registry: it looks like a study, and `deepscope study` does not list it."""


class Breaks(_Tiny):
    name: ClassVar[str] = "breaks"

    def run(self, session: Session) -> Result:
        raise RuntimeError("the disk caught <fire>")


def study(tiny: type[_Tiny] = Works) -> Study:
    """One of them, as the report takes it."""
    return cast("Study", tiny())

"""`Section`: a command that makes one section of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from deepscope.command.command import Command
from deepscope.results import Figure, Result
from deepscope.session import Session
from deepscope.statistics import Estimate

Budget = Literal["quick", "full"]
"""How long the sections of a report may take: minutes, or as long as the full data needs."""


@dataclass(frozen=True)
class Headline:
    """What a section shows first: a picture, one figure with its interval, and what was found.

    Attributes:
        finding: two sentences in plain words, computed from the result's figures.
        label: what the figure is, as the end of a sentence that begins with it: "of the digits are right".
        estimate: the figure; None where too little was measured for one.
        form: how it is written: as a share in per cent, as a count, or as a plain number.
        published: what the report or a paper says; empty where nothing.
        verdict: how the two compare, or what to make of it, in a word or two; empty where too little was measured.
        tone: of the verdict, as a colour.
        picture: the figure to look at; None where there is none.
        weight: the section of a chapter with the largest weight stands for the chapter.
    """

    finding: str
    label: str = ""
    estimate: Estimate | None = None
    form: Literal["share", "count", "number"] = "share"
    published: str = ""
    verdict: str = ""
    tone: Literal["good", "attention", "plain"] = "plain"
    picture: Figure | None = None
    weight: int = 0


class Section(Command):
    """A command whose result is a section of a report."""

    chapter: ClassVar[str]
    """The heading that it belongs to: "1.1 VGG16 architecture"."""
    minutes: ClassVar[Mapping[Budget, float]]
    """Approximate time for each budget on two cores of an AMD EPYC; in the quick one, beside another section."""

    def inputs(self, home: Path) -> Sequence[Path]:
        """The files and folders that the result depends on: it is computed again when one of them changes.

        Args:
            home: the folder of data and weights.
        """
        return [home / "data", home / "weights"]

    def ready(self, session: Session) -> bool:
        """Whether the data is available that the section cannot run without."""
        return True

    def headline(self, result: Result) -> Headline | None:
        """What the page shows of the section's result first, computed from its figures alone."""
        return None

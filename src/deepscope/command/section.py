"""`Section`: a command that makes one section of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from deepscope.command.command import Command

Budget = Literal["quick", "full"]
"""How long the sections of a report may take: minutes, or as long as all of the data needs."""


class Section(Command):
    """A command whose result is a section of a report. Each is also a command of its own."""

    chapter: ClassVar[str]
    """The heading that it stands below: "1.1 VGG16 architecture"."""
    minutes: ClassVar[Mapping[Budget, float]]
    """What it takes on two cores, roughly, for each budget."""

    def inputs(self, home: Path) -> Sequence[Path]:
        """The files and folders that the result depends on: it is made again when one of them changes.

        Args:
            home: the folder of data and weights.
        """
        return [home / "data", home / "weights"]

"""`Section`: a command that makes one section of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from deepscope.command.command import Command

Budget = Literal["quick", "full"]
"""How long the sections of a report may take: minutes, or as long as the full data needs."""


class Section(Command):
    """A command whose result is a section of a report."""

    chapter: ClassVar[str]
    """The heading that it belongs to: "1.1 VGG16 architecture"."""
    minutes: ClassVar[Mapping[Budget, float]]
    """Approximate time on two cores, for each budget."""

    def inputs(self, home: Path) -> Sequence[Path]:
        """The files and folders that the result depends on: it is computed again when one of them changes.

        Args:
            home: the folder of data and weights.
        """
        return [home / "data", home / "weights"]

"""`Check`: what an engineer asks of a classifier before shipping it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from typing_extensions import Self

from deepscope.command import Budget, Section
from deepscope.models import DEFAULT


@dataclass(frozen=True)
class Check(Section):
    """A section of the page about a person's own classifier and data. `deepscope check NAME` runs one.

    Its first blocks are notes of level "verdict": what was found, in a sentence each.

    Attributes:
        data: a folder with a folder of images for each class, divided into `train/` and `test/` or not; or a
            dataset's name.
        model: the classifier.
    """

    area: ClassVar[str] = "check"

    data: str
    _: KW_ONLY
    model: str = DEFAULT

    def __init_subclass__(cls, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        cls.example = f"deepscope check {cls.name} holiday-photos/ --model my-model"

    @classmethod
    @abstractmethod
    def within(cls, budget: Budget, *, data: str, model: str) -> Self:
        """The check with the settings that the budget allows."""

    def inputs(self, home: Path) -> Sequence[Path]:
        """The data, and the model where it is a file or folder."""
        data = Path(self.data).expanduser()
        return [data if data.exists() else home / "data" / self.data, Path(self.model), home / "weights"]

"""`Check`: a question about a classifier before it is shipped."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import ClassVar

from typing_extensions import Self

from deepscope.checks.pace import Pace, Work
from deepscope.command import Budget, Section
from deepscope.models import DEFAULT
from deepscope.results import Result


@dataclass(frozen=True)
class Check(Section):
    """A section of the page about a user's own classifier and data. `deepscope check NAME` runs one.

    Its first blocks are notes of level "verdict", one sentence per finding.

    Attributes:
        data: a folder with one folder of images per class, with or without `train/` and `test/`; or a
            dataset's name.
        model: the classifier.
        labels: a CSV file with the labels of each image, for a model with several per image; by default `labels.csv` in
            the folder of the data.
    """

    area: ClassVar[str] = "check"
    listed: ClassVar[Mapping[str, str]] = {}
    """Metrics that a model card lists beside the headline's figure, and what each is."""
    shares: ClassVar[tuple[str, ...]] = ()
    """Patterns of the metrics that lie in [0, 1]; "" is the headline's figure."""
    data: str
    _: KW_ONLY
    model: str = DEFAULT
    labels: str | None = None

    def __init_subclass__(cls, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        cls.example = f"deepscope check {cls.name} holiday-photos/ --model my-model"

    @classmethod
    @abstractmethod
    def within(cls, budget: Budget, *, data: str, model: str) -> Self:
        """The check with the settings that the budget allows."""

    @abstractmethod
    def work(self, known: Pace) -> Work:
        """What the check does, of which the time left follows. `tests/checks/test_pace.py` counts it."""

    @classmethod
    def is_share(cls, metric: str) -> bool:
        """Whether a metric, or with "" the headline's figure, is known to lie in [0, 1]."""
        name = metric.removesuffix("/low").removesuffix("/high")
        return any(fnmatchcase(name, pattern) for pattern in cls.shares)

    def left_out(self, result: Result) -> Mapping[str, str]:
        """What the result does not hold, and what measures it: a model card lists it."""
        return {}

    def inputs(self, home: Path) -> Sequence[Path]:
        """The data, and the model and the labels where they are files or folders."""
        data = Path(self.data).expanduser()
        labels = [] if self.labels is None else [Path(self.labels).expanduser()]
        return [data if data.exists() else home / "data" / self.data, Path(self.model), home / "weights", *labels]

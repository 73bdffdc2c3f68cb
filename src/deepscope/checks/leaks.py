"""Problems of the data: corrupt files, copies, leaks from train to test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from deepscope.checks.check import Check
from deepscope.checks.copies import copies
from deepscope.checks.given_data import audit_data
from deepscope.checks.pace import Pace, Work
from deepscope.command import Budget, Headline
from deepscope.inputs import labels_beside
from deepscope.models import DEFAULT, load_model
from deepscope.models.capabilities import RGB, require
from deepscope.names import counted
from deepscope.presenters.data import present
from deepscope.results import Note, Result
from deepscope.session import Session
from deepscope.statistics import Estimate


@dataclass(frozen=True)
class Leaks(Check):
    """Corrupt files, copies, images in two classes, and images in both train and test.

    Attributes:
        data: a folder with one folder of images per class, with or without `train/` and `test/`; or a
            dataset's name.
        model: the data is the same for every classifier of pictures; one of stacks of channels is refused.
        labels: a CSV file with the labels of each image: folders are then not read as classes.
    """

    chapter: ClassVar[str] = "5 The data"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.5, "full": 0.5}

    @classmethod
    def within(cls, budget: Budget, *, data: str, model: str) -> Leaks:
        """All of the data either way."""
        return cls(data, model=model)

    def work(self, known: Pace) -> Work:
        """Every image is opened and compared."""
        return Work(seconds=0.002 * (known.images + known.train))

    def run(self, session: Session) -> Result:
        """Audit every image."""
        if self.model != DEFAULT:  # what cannot be decoded as a picture may be a whole stack of channels
            require(load_model(self.model, session), "leaks", RGB)
        found = audit_data(self.data, session, figures=8, listed=self._listed)
        result = present(found)
        count = {name: round(value) for name, value in result.metrics.items()}
        text = (
            f"{_all(result)} images: {count['corrupt']} corrupt; {count['duplicates/exact']} exact copies, "
            f"{count['duplicates/exact-across-splits']} of them across the splits and "
            f"{count['duplicates/exact-across-classes']} across classes; {count['duplicates/near']} near-copies, "
            f"{count['duplicates/near-across-splits']} across the splits."
        )
        advice = (block for block in result.blocks if not (isinstance(block, Note) and block.level == "verdict"))
        return replace(result, blocks=(Note(text, "Leaks", "verdict"), *advice, *copies(found, self.data, session)))

    @property
    def _listed(self) -> bool:
        """Whether a file of labels says what the images show, and not their folders."""
        return self.labels is not None or labels_beside(Path(self.data).expanduser()) is not None

    def headline(self, result: Result) -> Headline:
        """How many images are damaged, copied, or on both sides of the split."""
        names = ("corrupt", "duplicates/exact", "duplicates/near", "duplicates/exact-across-splits")
        corrupt, exact, near, across = (round(result.metrics[name]) for name in names)
        across += round(result.metrics["duplicates/near-across-splits"])
        found, copied = corrupt + across, exact + near
        finding = f"Of {counted(_all(result), 'image')}, {_are(corrupt)} corrupt and {_are(copied)} "
        finding += "copies or near-copies of another." if copied > 1 else "a copy or near-copy of another."
        if copied:
            finding += f" {across or 'None'} of them {'lie' if across > 1 else 'lies'} in both train and test."
        return Headline(
            finding,
            f"{'image is' if found == 1 else 'images are'} corrupt, or in both train and test",
            Estimate(found, found, found),
            form="count",
            verdict="look at these" if found else "clean",
            tone="attention" if found else "good",
            picture=result.figure(),
        )


def _are(number: int) -> str:
    return f"{number} are" if number > 1 else f"{number or 'none'} is"


def _all(result: Result) -> int:
    """The images that can be read, and those that are corrupt."""
    return round(result.metrics["images"] + result.metrics["corrupt"])

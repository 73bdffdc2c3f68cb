"""Which properties of the images, besides what they show, predict the label or the classifier's errors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import ClassVar

from deepscope import images
from deepscope.checks.check import Check
from deepscope.checks.given_data import given_data, labelled
from deepscope.checks.held_out import held_out
from deepscope.checks.pace import Pace, Work
from deepscope.command import Budget, Headline
from deepscope.errors import DataError, DeepscopeError
from deepscope.inputs import Given, Photos, stream_photos
from deepscope.models import load_model
from deepscope.models.capabilities import RGB, require, require_one_class
from deepscope.presenters.shortcuts import present
from deepscope.results import Block, Note, Provenance, Result
from deepscope.session import Session
from deepscope.settings import Count
from deepscope.shortcuts import Shortcuts as Found
from deepscope.shortcuts import error_shortcuts, label_shortcuts
from deepscope.statistics import Estimate


@dataclass(frozen=True)
class Shortcuts(Check):
    """Light, size, compression, borders and repeated patches that predict labels or correlate with the model's errors.

    Attributes:
        data: a folder with a folder of images for each class, divided into `train/` and `test/` or not; or a
            dataset's name.
        model: the classifier whose errors are examined, if it has the data's classes.
        labels: not used: it compares images with one class each.
        limit: most images to use, drawn at random.
    """

    chapter: ClassVar[str] = "5 The data"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.5, "full": 2}

    listed: ClassVar[Mapping[str, str]] = {
        "errors/properties/predictive": "properties beside the content predict the classifier's answer within a class"
    }

    _: KW_ONLY
    limit: Count = 2000

    @classmethod
    def within(cls, budget: Budget, *, data: str, model: str) -> Shortcuts:
        """Some hundred images, or some thousand."""
        return cls(data, model=model, limit=500 if budget == "quick" else cls.limit)

    def work(self, known: Pace) -> Work:
        """Images are measured twice, for labels and for errors, and classified once."""
        count = min(self.limit, known.images)
        return Work(passes=count, seconds=0.015 * (count + min(self.limit, known.train or known.images)))

    def run(self, session: Session) -> Result:
        """Measure the images, and compare classes and errors."""
        model = load_model(self.model, session)
        require_one_class(model, "shortcuts")
        require(model, "shortcuts", RGB)
        labels = label_shortcuts(labelled(self.data, session), limit=self.limit, session=session)
        result = present(labels)
        blocks, metrics = list(result.blocks), dict(result.metrics)
        paths = list(labels.paths)
        try:
            errors, notes = self._errors(session)
        except DataError as error:
            return replace(result, blocks=(*blocks, _unanswered(error)), provenance=self._provenance(paths, session))
        shown = present(errors)
        verdicts = [block for block in (*blocks, *shown.blocks) if isinstance(block, Note) and block.level == "verdict"]
        rest: list[Block] = [block for block in (*notes, *blocks, *shown.blocks) if block not in verdicts]
        metrics |= {f"errors/{name}": value for name, value in shown.metrics.items()}
        return Result(
            title=result.title,
            metrics=metrics,
            blocks=(*verdicts, *rest),
            arrays={**result.arrays, **{f"errors/{name}": array for name, array in shown.arrays.items()}},
            provenance=self._provenance([*paths, *errors.paths], session),
        )

    def headline(self, result: Result) -> Headline:
        """How many properties predict the label, and the errors."""
        verdicts = [block.text for block in result.blocks if isinstance(block, Note) and block.level == "verdict"]
        count = result.metrics["properties/predictive"]
        errors, one = result.metrics.get("errors/properties/predictive", 0), count == 1
        return Headline(
            " ".join(verdicts),
            f"{'property' if one else 'properties'} beside the content {'predicts' if one else 'predict'} the label",
            Estimate(count, count, count),
            form="count",
            verdict="shortcuts" if count or errors else "none found",
            tone="attention" if count or errors else "good",
            picture=result.figure(),
        )

    def _provenance(self, paths: Sequence[Path], session: Session) -> Provenance:
        held = given_data(self.data, session)
        return files_read(paths) if held is None else Provenance(data=f"{len(paths)} images, sha256 {held.digest}")

    def _errors(self, session: Session) -> tuple[Found, tuple[Block, ...]]:
        held = held_out(self.model, self.data, session, self.labels)
        read = stream_photos(held.model, held.images, session, limit=self.limit, text="classifying")
        photos = Photos.joined([batch.keeping(0) for batch in read])
        labels = [min(answer) for answer in photos.answers]
        predicted = [
            label if answer in right else answer
            for answer, right, label in zip(photos.predicted.tolist(), photos.answers, labels)
        ]
        classes, name = held.model.categories, held.model.title
        items = list(held.images.items)
        chosen = Given([items[row] for row in photos.rows])
        return error_shortcuts(chosen, labels, predicted, classes, name=name, session=session), held.notes


def _unanswered(error: DataError) -> Note:
    return Note(f"Errors were not looked at: {error}", "The classifier's errors", "warning")


def files_read(paths: Sequence[Path]) -> Provenance:
    """What was read, if anything: the digest covers every file's name and bytes.

    It is computed when the work is done. Of a file that cannot be read by then it covers the name alone, and says so.
    """
    digest, gone = hashlib.sha256(), 0
    for path in paths:
        digest.update(path.name.encode(errors="surrogateescape"))
        try:
            for part in images.parts(path):
                digest.update(part)
        except DeepscopeError:
            gone += 1
    unread = f" ({gone} of them unreadable)" if gone else ""
    return Provenance(data=f"{len(paths)} images{unread}, sha256 {digest.hexdigest()}" if paths else "")

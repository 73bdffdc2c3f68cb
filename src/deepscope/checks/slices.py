"""On which similar images the classifier fails more often than on others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

from deepscope.checks.check import Check
from deepscope.checks.held_out import held_out
from deepscope.command import Budget
from deepscope.gallery import Entry, Gallery
from deepscope.inputs import Given, Photos, stream_photos
from deepscope.models.capabilities import require_one_class
from deepscope.presenters.gallery import key_of, names_of
from deepscope.presenters.shown import origin
from deepscope.presenters.slices import present, said
from deepscope.results import Note, Result
from deepscope.session import Session
from deepscope.settings import Count
from deepscope.shortcuts.slices import Slices as FailingSlices
from deepscope.shortcuts.slices import failing_slices


@dataclass(frozen=True)
class Slices(Check):
    """Clusters of images with more errors than elsewhere, found on one half of the images and tested on the other.

    Attributes:
        data: a folder with a folder of images for each class, divided into `train/` and `test/` or not; or a
            dataset's name.
        model: the classifier; `deepscope models` lists them.
        labels: not used: it compares images of one class each.
        limit: most images to use, drawn at random.
    """

    chapter: ClassVar[str] = "1 Accuracy and calibration"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 1, "full": 4}

    _: KW_ONLY
    limit: Count | None = None

    @classmethod
    def within(cls, budget: Budget, *, data: str, model: str) -> Slices:
        """Some hundred images, or all."""
        return cls(data, model=model, limit=500 if budget == "quick" else None)

    def run(self, session: Session) -> Result:
        """Classify the held-out images, and look for slices among them."""
        held = held_out(self.model, self.data, session, self.labels)
        require_one_class(held.model, "slices")
        read = stream_photos(held.model, held.images, session, limit=self.limit, text="classifying")
        photos = Photos.joined([batch.keeping(0) for batch in read])
        labels = [held.model.categories[min(answer)] for answer in photos.answers]
        wrong = [predicted not in answer for predicted, answer in zip(photos.predicted.tolist(), photos.answers)]
        provenance = origin([held.model], photos.paths, photos.digests)
        if len(wrong) < 60:
            text = f"{len(wrong)} images are too few to find slices and to test them: give at least 60."
            note = Note(text, "Failing slices", "verdict")
            return Result(
                f"Where {held.model.name} fails more often", blocks=(note, *held.notes), provenance=provenance
            )
        items = list(held.images.items)
        chosen = Given([items[row] for row in photos.rows])
        found = failing_slices(held.model, chosen, labels, wrong, name=held.model.name, session=session)
        result = present(found)
        verdict, *rest = result.blocks
        blocks = (verdict, *held.notes, *rest, *_gallery(found, photos))
        return replace(result, blocks=blocks, provenance=provenance)


def _gallery(found: FailingSlices, photos: Photos) -> list[Gallery]:
    """The images of each confirmed slice, in both halves. Their pictures are those of the check of accuracy."""
    digests = dict(zip(photos.paths, photos.digests, strict=True))
    flags: dict[int, dict[str, str]] = {}
    for number, one in enumerate(found.confirmed, 1):
        for half, rows in (("confirmed", one.rows), ("found", one.finders)):
            why = f"{said(one)}. Errors {one.errors}, elsewhere {one.elsewhere}. This image {half} the slice."
            for row in rows.tolist():
                flags.setdefault(row, {})[f"failing slice {number}"] = why
    paths = [(found.paths[row], own) for row, own in sorted(flags.items())]
    entries = [Entry(key_of(path, digests[path]), *names_of(path), flags=own) for path, own in paths]
    return [Gallery(tuple(entries), title="The images of failing slices")] if entries else []

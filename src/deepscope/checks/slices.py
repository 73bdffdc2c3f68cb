"""On which similar images the classifier fails more often than on others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Annotated, Any, ClassVar

import numpy as np

from deepscope.batch import Sharding, run
from deepscope.checks.check import Check
from deepscope.checks.held_out import held_out
from deepscope.checks.many_images import held_out_files
from deepscope.checks.pace import Pace, Work
from deepscope.command import Budget, Headline
from deepscope.concepts import nearest
from deepscope.errors import DeepscopeError
from deepscope.gallery import Entry, Gallery
from deepscope.inputs import Given, Photos, read_photos, stream_photos
from deepscope.inputs.given import Item
from deepscope.models import VisionModel
from deepscope.models.capabilities import require_one_class
from deepscope.presenters.batch import origin_of
from deepscope.presenters.gallery import key_of, names_of
from deepscope.presenters.shown import origin
from deepscope.presenters.slices import concepts_of, present, said
from deepscope.results import Block, Note, Provenance, Result
from deepscope.session import Session
from deepscope.settings import Count, Overrides
from deepscope.shortcuts.slice_parts import slices_in_parts
from deepscope.shortcuts.slices import FEWEST, failing_slices
from deepscope.shortcuts.slices import Slices as Found
from deepscope.shortcuts.slices_job import SlicesJob
from deepscope.statistics import Estimate

_INSIDE, _OUTSIDE = 12, 40
"""Images of each slice, and of no slice, whose concepts are compared."""


@dataclass(frozen=True)
class Slices(Check):
    """Clusters of images with more errors than elsewhere, found on one half of the images and tested on the other.

    Attributes:
        data: a folder with a folder of images for each class, divided into `train/` and `test/` or not; or a
            dataset's name.
        model: the classifier; `deepscope models` lists them.
        labels: not used: it compares images with one class each.
        limit: most images to use, drawn at random.
        parts: how a large job is cut into parts, and what computes them.
    """

    chapter: ClassVar[str] = "1 Accuracy and calibration"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 1, "full": 4}

    _: KW_ONLY
    limit: Count | None = None
    parts: Annotated[Mapping[str, Any], Overrides(Sharding)] = field(default_factory=dict[str, Any], hash=False)

    @classmethod
    def within(cls, budget: Budget, *, data: str, model: str) -> Slices:
        """Some hundred images, or all."""
        return cls(data, model=model, limit=500 if budget == "quick" else None)

    def work(self, known: Pace) -> Work:
        """Every image is classified and measured; its features are those of the map of the images."""
        count = min(self.limit or known.images, known.images)
        return Work(passes=count, seconds=0.012 * count)

    def run(self, session: Session) -> Result:
        """Classify the held-out images, and look for slices among them."""
        if self.parts:
            return self._in_parts(session)
        held = held_out(self.model, self.data, session, self.labels)
        require_one_class(held.model, "slices")
        read = stream_photos(held.model, held.images, session, limit=self.limit, text="classifying")
        photos = Photos.joined([batch.keeping(0) for batch in read])
        labels = [held.model.categories[min(answer)] for answer in photos.answers]
        wrong = [predicted not in answer for predicted, answer in zip(photos.predicted.tolist(), photos.answers)]
        provenance = origin([held.model], photos.paths, photos.digests)
        if len(wrong) < FEWEST:
            return _too_few(held.model.title, len(wrong), held.notes, provenance)
        items = list(held.images.items)
        chosen = Given([items[row] for row in photos.rows])
        found = failing_slices(held.model, chosen, labels, wrong, name=held.model.title, session=session)
        result = present(found)
        verdict, *rest = result.blocks
        near = _nearest(held.model, items, found, session)
        blocks = (verdict, *held.notes, *near, *rest, *_gallery(found, photos))
        return replace(result, blocks=blocks, provenance=provenance)

    def left_out(self, result: Result) -> Mapping[str, str]:
        """Everything, where there are too few images."""
        if "slices/confirmed" in result.metrics:
            return {}
        return {self.name: f"there are too few images: at least {FEWEST} are needed"}

    def headline(self, result: Result) -> Headline | None:
        """How many groups of images fail more often than others."""
        count = result.metrics.get("slices/confirmed")
        if count is None:
            return None
        return Headline(
            next(block.text for block in result.blocks if isinstance(block, Note) and block.level == "verdict"),
            f"{'group of similar images has' if count == 1 else 'groups of similar images have'} more errors "
            "than the others",
            Estimate(count, count, count),
            form="count",
            verdict="fails more often" if count else "none found",
            tone="attention" if count else "good",
            picture=result.figure(),
        )

    def _in_parts(self, session: Session) -> Result:
        """The same of any number of images, whose features and properties are Parquet files."""
        named, notes = held_out_files(self.model, self.data, session)
        found = run(SlicesJob(self.model), named, session, sharding=Sharding(**self.parts), limit=self.limit)
        if (known := found.tally["known"]) < FEWEST:
            return _too_few(found.model.title, known, notes, origin_of(found))
        result = present(slices_in_parts(found, name=found.model.title, session=session))
        verdict, *rest = result.blocks
        metrics = {**result.metrics, "parts": len(found.files)}
        return replace(result, metrics=metrics, blocks=(verdict, *notes, *rest), provenance=origin_of(found))


def _nearest(model: VisionModel, items: Sequence[Item], found: Found, session: Session) -> tuple[Block, ...]:
    """The concepts that the images of each confirmed slice show more than others; why not, where the layers are hidden.

    Some images of each slice and some others are enough to describe it, and cost one forward pass each.
    """
    if not found.confirmed:
        return ()
    inside = [each.rows[:_INSIDE].tolist() for each in found.confirmed]
    failing = {row for each in found.confirmed for row in each.rows.tolist()}
    others = session.some([row for row in np.flatnonzero(~found.first).tolist() if row not in failing], _OUTSIDE)
    if not others:
        return ()
    by_path = {item.path: item for item in items}
    wanted = [found.paths[row] for row in (*sorted({row for rows in inside for row in rows}), *others)]
    try:
        read = read_photos(model, Given([by_path[path] for path in wanted]), session, text="concepts of slices")
        places = {path: place for place, path in enumerate(read.paths)}
        groups = []
        for rows in inside:
            group = np.zeros(len(read), bool)
            group[[places[found.paths[row]] for row in rows if found.paths[row] in places]] = True
            groups.append(group)
        near = nearest(model, read.pixels, groups, session=session)
    except DeepscopeError as error:
        return (Note(f"Their nearest concepts are not shown: {error}", "Concepts of the slices"),)
    return concepts_of(found, near, model.displayed(read.pixels))


def _too_few(name: str, count: int, notes: Sequence[Block], provenance: Provenance) -> Result:
    text = f"{count} images are too few to find slices and to test them: give at least {FEWEST}."
    note = Note(text, "Failing slices", "verdict")
    return Result(f"Where {name} fails more often", blocks=(note, *notes), provenance=provenance)


def _gallery(found: Found, photos: Photos) -> list[Gallery]:
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

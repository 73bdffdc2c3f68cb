"""By which concepts the classifier recognises the classes that it confuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Annotated, ClassVar

from deepscope import concepts
from deepscope.checks.check import Check
from deepscope.checks.held_out import HeldOut, held_out
from deepscope.checks.pace import Pace, Work
from deepscope.command import Budget, Headline
from deepscope.errors import DataError
from deepscope.inputs import Given, Photos, stream_photos
from deepscope.models.capabilities import LAYERS, SCORES, require, require_one_class
from deepscope.models.feature_map import feature_layer, require_layers
from deepscope.presenters.concepts_find import present
from deepscope.presenters.shown import origin
from deepscope.results import Block, ImageGrid, Note, Result
from deepscope.session import Session
from deepscope.settings import Count, Range
from deepscope.statistics import Estimate

_FEWEST = 8
"""Images of a class: half of them give its concepts, the others check them."""


@dataclass(frozen=True)
class Concepts(Check):
    """The concepts of the classes that the classifier confuses most, and whether deletion confirms their order.

    Concepts are non-negative parts of the activations of the last feature map (CRAFT, Fel et al. 2023). Removing the
    important ones first must lower the class score faster than removing them in random order.

    Attributes:
        data: a folder with a folder of images for each class, divided into `train/` and `test/` or not; or a
            dataset's name.
        model: the classifier, with visible layers.
        labels: not used: it examines images with one class each.
        classes: how many classes.
        concepts: per class.
        limit: most images to classify, drawn at random, to see which classes are confused.
        each: most images per class.
        evaluated: most images per class that importance is computed on, and most that deletion is measured on.
    """

    chapter: ClassVar[str] = "2 Explanations"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.3, "full": 2}

    _: KW_ONLY
    classes: Count = 4
    concepts: Annotated[int, Range(2)] = 8
    limit: Count = 1000
    each: Annotated[int, Range(_FEWEST)] = 100
    evaluated: Annotated[int, Range(2)] = 30

    @classmethod
    def within(cls, budget: Budget, *, data: str, model: str) -> Concepts:
        """Two classes and some dozen images, or four and some hundred."""
        if budget == "full":
            return cls(data, model=model)
        return cls(data, model=model, classes=2, concepts=6, limit=120, each=40, evaluated=10)

    def work(self, known: Pace) -> Work:
        """Every image once, then those of each class: classified, factorised and mapped, and the layer's rest."""
        first = min(self.limit, known.images)
        each = min(self.each, known.images / known.classes + first / known.classes)
        passes = first + self.classes * (2.5 * each + 8 * min(self.evaluated, each / 2))
        return Work(passes=passes, seconds=2 * self.classes)

    def run(self, session: Session) -> Result:
        """Classify, choose classes, and find the concepts of each."""
        held = held_out(self.model, self.data, session, self.labels)
        require_one_class(held.model, "concepts")
        require(held.model, "concepts", LAYERS | SCORES)
        require_layers(held.model)
        read = stream_photos(held.model, held.images, session, limit=self.limit, text="classifying")
        parts, size = [], None
        for batch in read:
            if size is None and len(batch):
                size = batch.pixels[:1]
            parts.append(batch.keeping(0))
        assert size is not None  # stream_photos refuses to end without an image
        layer = feature_layer(held.model, size.to(held.model.device))  # refused before anything else is computed
        photos, found, why = Photos.joined(parts), list[concepts.Concepts](), list[str]()
        for label, reason in confused(photos):
            images = self._images(held, photos, label)
            if len(images) < _FEWEST:
                continue
            try:
                found.append(self._found(held, images, label, layer, session))
                why.append(reason)
            except DataError:  # most of them are classified as another class
                continue
            if len(found) == self.classes:
                break
        provenance = origin([held.model], photos.paths, photos.digests)
        return replace(self._result(held, photos, found, why), provenance=provenance)

    def _images(self, held: HeldOut, photos: Photos, label: int) -> Given:
        """Images that are classified as the class, then others of the class, which probably are."""
        items = list(held.images.items)
        rows = {row: None for row, one in zip(photos.rows, photos.predicted.tolist()) if one == label}
        seen = set(photos.rows)
        rows |= {row: None for row, answer in enumerate(held.answers) if label in answer and row not in seen}
        return Given([items[row] for row in list(rows)[: self.each]])

    def _found(self, held: HeldOut, images: Given, label: int, layer: str, session: Session) -> concepts.Concepts:
        return concepts.find(
            held.model,
            images,
            label,
            layer=layer,
            concepts=self.concepts,
            limit=None,
            evaluated=self.evaluated,
            session=session,
        )

    def _result(self, held: HeldOut, photos: Photos, found: list[concepts.Concepts], why: list[str]) -> Result:
        title = f"How {held.model.title} recognises its classes"
        metrics: dict[str, float] = {"images": len(photos), "classes": len(found)}
        if not found:
            text = f"No class has {_FEWEST} images that are classified as it: give more images."
            return Result(title, metrics=metrics, blocks=(Note(text, "Concepts", "verdict"), *held.notes))
        metrics["confirmed"] = sum(one.gain.low > 0 for one in found)
        verdicts: list[Block] = []
        rest: list[Block] = []
        for place, (one, reason) in enumerate(zip(found, why, strict=True), 1):
            own = present(one)
            metrics |= {
                f"class-{place}/{name}": value
                for name, value in own.metrics.items()
                if name.startswith(("images", "explained", "deletion/", "importance/"))
            }
            for block in own.blocks:
                named = replace(block, title=f"{one.target}: {block.title}")
                if isinstance(named, Note) and named.level == "verdict":
                    verdicts.append(replace(named, title=one.target, text=f"{named.text} {reason}"))
                else:
                    rest.append(named)
        return Result(title, metrics=metrics, blocks=(*verdicts, *held.notes, *rest))

    def headline(self, result: Result) -> Headline:
        """Whether the order of the concepts is confirmed."""
        count = round(result.metrics["classes"])
        if not count:
            return Headline("Too few images are classified as one class to find its concepts.")
        confirmed = round(result.metrics["confirmed"])
        gain = Estimate.of(result.metrics, "class-1/deletion/gain")
        first = result.blocks[0]
        return Headline(
            f"Concepts were found in the {count} classes that are confused or predicted most often. For {confirmed} of "
            "them, removing the important ones first lowers the class score faster than removing them at random.",
            f"lower score of {first.title} where important concepts are removed first, and not at random",
            gain,
            form="number",
            verdict="confirmed" if confirmed == count else "not confirmed",
            tone="plain" if confirmed == count else "attention",
            weight=-1,
            picture=next((block for block in result.blocks if isinstance(block, ImageGrid)), None),
        )


def confused(photos: Photos) -> Iterator[tuple[int, str]]:
    """Classes and why they are looked at: those confused most often first, then those predicted most often."""
    names, seen = photos.model.categories, set[int]()
    predicted = photos.predicted.tolist()
    pairs = Counter(
        (min(answer), label) for answer, label in zip(photos.answers, predicted) if label not in answer
    ).most_common()
    for (true, label), count in pairs:
        for one in (label, true):
            if one not in seen:
                seen.add(one)
                text = f"{count} of {len(photos)} images show {names[true]} and are classified as {names[label]}."
                yield one, text
    for label, count in Counter(predicted).most_common():
        if label not in seen:
            yield label, f"{count} of {len(photos)} images are classified as {names[label]}."

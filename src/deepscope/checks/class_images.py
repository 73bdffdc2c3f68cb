"""Images that maximise the scores of the classifier's classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from deepscope.checks.check import Check
from deepscope.checks.held_out import held_out
from deepscope.checks.pace import Pace, Work
from deepscope.command import Budget, Headline
from deepscope.inputs import Photos, read_photos
from deepscope.models.capabilities import GRADIENTS, RGB, require
from deepscope.presenters.shown import origin, picture
from deepscope.results import Column, ImageGrid, Note, Picture, Result, Table
from deepscope.session import Session
from deepscope.settings import Count
from deepscope.statistics import proportion
from deepscope.visualization import ClassImages as Made
from deepscope.visualization import Recognition, preset, visualize


@dataclass(frozen=True)
class ClassImages(Check):
    """Class images by gradient ascent, next to the most confidently classified photograph of each class.

    Content of a class image that does not belong to the class reveals spurious features.

    Attributes:
        data: a folder with one folder of images per class, with or without `train/` and `test/`; or a
            dataset's name.
        model: the classifier; `deepscope models` lists them.
        labels: a CSV file with the labels of each image, for a model with several per image; by default `labels.csv` in
            the folder of the data.
        classes: number of classes, the most frequent first.
        iterations: steps of the default recipe of `deepscope visualize`.
        limit: most photographs to choose from, drawn at random.
    """

    chapter: ClassVar[str] = "4 Class images"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.7, "full": 4}
    shares: ClassVar[tuple[str, ...]] = ("recognised/*", "probability/*")

    _: KW_ONLY
    classes: Count = 16
    iterations: Count = 320
    limit: Count = 400

    @classmethod
    def within(cls, budget: Budget, *, data: str, model: str) -> ClassImages:
        """A few classes and shorter ascents, or more."""
        few: dict[str, Any] = {"classes": 4, "iterations": 120, "limit": 100} if budget == "quick" else {}
        return cls(data, model=model, **few)

    def work(self, known: Pace) -> Work:
        """A gradient per class and iteration."""
        classes = min(self.classes, known.classes)
        return Work(passes=min(self.limit, known.images), gradients=classes * self.iterations)

    def run(self, session: Session) -> Result:
        """Make the images."""
        chosen = held_out(self.model, self.data, session, self.labels)
        model = chosen.model
        require(model, "class-images", GRADIENTS | RGB)
        photos = read_photos(model, chosen.images, session, batch_size=16, limit=self.limit)
        shows = photos.truth
        if model.head.kind != "multilabel":  # of several right classes the most probable one counts
            true = torch.tensor([photos.true_class(row) or 0 for row in range(len(photos))])
            shows = torch.zeros_like(shows).scatter_(1, true[:, None], True)
        counts = shows.sum(0)
        order = counts.argsort(descending=True, stable=True)[: self.classes]
        targets = order[counts[order] > 0].tolist()
        recipe = replace(preset("default"), iterations=self.iterations)
        made = visualize(model, targets, recipe=recipe, session=session)
        if not made.made.complete:
            raise KeyboardInterrupt  # what was made is in the cache: the same call resumes from there
        seen = made.evaluations[0].recognition
        named = proportion(int((seen.ranks < 1).sum()), len(targets))
        text = f"The classifier recognises {100 * named.value:.0f} % of its own {len(targets)} class images."
        return Result(
            title=f"Class images of {model.title}",
            metrics={"classes": len(targets), **seen.metrics()},
            blocks=(
                Note(f"{text} Whether they show the class is left to the reader.", "Class images", "verdict"),
                _gallery(photos, shows, targets, made),
                _table(made.labels, seen),
            ),
            provenance=origin([model], photos.paths, photos.digests),
        )

    def headline(self, result: Result) -> Headline:
        """How many of its own class images it recognises."""
        count = round(result.metrics["classes"])
        named = [value for name, value in result.metrics.items() if name.startswith("recognised/") and "/top1" in name]
        return Headline(
            f"The classifier recognises {round(named[0] * count)} of its own {count} class images. What such an image "
            "shows and the class does not have is what it has learnt by mistake.",
            picture=result.figure(),
        )


def _gallery(photos: Photos, shows: Tensor, targets: Sequence[int], made: Made) -> ImageGrid:
    cells: list[Picture] = []
    probabilities = made.evaluations[0].recognition.probabilities.tolist()
    for target, pixels, probability in zip(targets, made.pixels, probabilities):
        name = photos.model.categories[target]
        own = photos.probabilities[:, target].masked_fill(~shows[:, target], -1)
        best = int(own.argmax())
        cells += [
            picture(made.model.displayed(pixels), caption=f"{name}, class image ({probability:.2f})"),
            picture(
                photos.model.displayed(photos.pixels[best]), caption=f"{name}, photograph ({float(own[best]):.2f})"
            ),
        ]
    return ImageGrid(
        tuple(tuple(cells[at : at + 4]) for at in range(0, len(cells), 4)),
        title="Class images and photographs",
        caption="In brackets: the probability of the class.",
    )


def _table(labels: Sequence[str], seen: Recognition) -> Table:
    columns = (
        *(Column("class"), Column("rank", "d"), Column("probability", ".3f")),
        *(Column("total variation", ".4f"), Column("saturation", ".3f")),
    )
    rows = tuple(
        (label, int(rank) + 1, float(probability), float(variation), float(saturated))
        for label, rank, probability, variation, saturated in zip(
            labels, seen.ranks, seen.probabilities, seen.total_variation, seen.saturation
        )
    )
    return Table(
        columns, rows, title="Measures of the class images", caption="Rank 1: the class is the most probable one."
    )

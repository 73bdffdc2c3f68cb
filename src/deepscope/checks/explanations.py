"""Attribution maps of correct and wrong predictions, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from deepscope.attributions import as_methods
from deepscope.attributions.faithfulness import Deletion, Insertion
from deepscope.attributions.measuring import CHANCE, measure
from deepscope.checks.check import Check
from deepscope.checks.explained_images import MAPPED, Rows, Shown, figures, gallery
from deepscope.checks.held_out import HeldOut, held_out
from deepscope.checks.pace import Pace, Work
from deepscope.command import Budget, Headline
from deepscope.errors import DeepscopeError, UnsupportedError
from deepscope.inputs import Photos, stream_photos
from deepscope.models.capabilities import works
from deepscope.presenters.shown import origin, skipped_blocks
from deepscope.results import Cell, Column, Note, Result, Table
from deepscope.session import Session
from deepscope.settings import Count
from deepscope.statistics import Estimate, mean, simultaneous

_GRADIENTS = {"integrated-gradients": 150}
"""Gradients per map, where they are many: as measured on EfficientNet-Lite0, for an adaptive number of steps."""


@dataclass(frozen=True)
class Explanations(Check):
    """Attribution maps of correct and wrong predictions, and their faithfulness compared with random maps.

    Faithfulness is insertion minus deletion, less that of random maps: how much faster the probability changes with
    the pixels that a map ranks highest. The most faithful method is chosen on half of the images, and its figure is
    that of the other half, so that it is not the largest of several chance results.

    Attributes:
        data: a folder with one folder of images per class, with or without `train/` and `test/`; or a
            dataset's name.
        model: the classifier; `deepscope models` lists them.
        labels: a CSV file with the labels of each image, for a model with several per image; by default `labels.csv` in
            the folder of the data.
        methods: names of attribution methods; if none of them works on the model, all that do are measured.
        limit: most images to explain; half of them are wrong predictions, where there are enough.
        search: images to classify, drawn at random, to find wrong predictions.
        contrast: of mistakes, show why the predicted class and not the true one; otherwise, and where an image may have
            several labels, the predicted class alone.
        steps: steps of insertion and deletion.
        batch_size: images per batch; the figures do not depend on it.
    """

    chapter: ClassVar[str] = "2 Explanations"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 2, "full": 20}

    _: KW_ONLY
    methods: tuple[str, ...] = ("saliency", "integrated-gradients", "grad-cam")
    limit: Count = 100
    search: Count = 1000
    contrast: bool = True
    steps: Count = 28
    batch_size: Count = 8

    @classmethod
    def within(cls, budget: Budget, *, data: str, model: str) -> Explanations:
        """A few images and coarse steps, or many."""
        return cls(data, model=model) if budget == "full" else cls(data, model=model, limit=12, search=200, steps=10)

    def work(self, known: Pace) -> Work:
        """Images are searched for mistakes; each method makes maps, and is evaluated by insertion and deletion."""
        count = min(self.limit, known.images)
        passes = min(self.search, known.images) + count * (1 + len(self.methods)) * 2 * self.steps
        each = sum(_GRADIENTS.get(name, 2) for name in self.methods)
        return Work(passes=passes, gradients=each * (count + min(count, MAPPED)))

    def run(self, session: Session) -> Result:
        """Measure each method's maps of the predicted class."""
        methods = as_methods(self.methods)
        held = held_out(self.model, self.data, session, self.labels)
        model = held.model
        if not any(works(method, model) for method in methods):
            methods = [method for method in as_methods("all") if works(method, model)]
        photos = self._balanced(held, session)
        right = np.array(photos.correct, dtype=bool)
        groups: Rows = {"right": right, "wrong": ~right}
        asked = (Insertion(self.steps), Deletion(self.steps))
        found: dict[str, NDArray[np.float64]] = {}
        refused: dict[str, str] = {}
        for method in (None, *methods):
            name = CHANCE if method is None else method.name
            try:
                values = measure(method, photos, asked, session, batch_size=self.batch_size)
            except DeepscopeError as error:
                if method is None:
                    raise
                refused[name] = str(error)
                continue
            found[name] = values["insertion"] - values["deletion"]
        methods = [method for method in methods if method.name in found]
        if not methods:
            reasons = "; ".join(dict.fromkeys(refused.values()))
            raise UnsupportedError(f"no method applies to {model.name}; {reasons}", what="explanations")
        gained = {name: values - found[CHANCE] for name, values in found.items() if name != CHANCE}
        shown = Shown.of(methods, photos, self.batch_size, session, contrast=self.contrast)
        metrics = {"images": float(len(right)), "right": float(right.sum()), "wrong": float((~right).sum())}
        for name, values in gained.items():
            for group, rows in groups.items():
                if rows.any():
                    metrics |= mean(values[rows]).metrics(f"faithfulness/{name}/{group}")
        for name, gain in _leading(gained).items():
            metrics |= gain.metrics(f"leading/{name}")
        metrics |= {f"better-than-random/{name}": float(better) for name, better in _useful(gained).items()}
        return Result(
            title=f"Attribution maps of {model.title}",
            metrics=metrics,
            blocks=(
                Note(_verdict(metrics), "Attributions", "verdict"),
                *held.notes,
                *(Note(why, f"{name} does not apply") for name, why in refused.items()),
                *_without_order(gained),
                *figures(shown, groups),
                _table(gained, groups),
                *skipped_blocks(photos.skipped),
                gallery(shown, gained),
            ),
            arrays={f"faithfulness/{name}": values for name, values in gained.items()},
            provenance=origin([model], photos.paths, photos.digests),
        )

    def _balanced(self, held: HeldOut, session: Session) -> Photos:
        """Half of the images from wrong predictions, as far as there are any, the rest from right ones."""
        order = torch.randperm(len(held.answers), generator=session.rng("limit"))[: self.search].tolist()
        items = list(held.images.items)
        drawn = replace(held.images, items=[items[row] for row in order])
        found: list[Photos] = []
        count = {True: 0, False: 0}
        read = stream_photos(held.model, drawn, session, batch_size=self.batch_size)
        for batch in read:  # no more than `limit` of either kind is held
            rows = []
            for row, correct in enumerate(batch.correct):
                count[bool(correct)] += 1
                if count[bool(correct)] <= self.limit:
                    rows.append(row)
            found.append(replace(batch[rows], skipped=batch.skipped))
        photos = Photos.joined(found)
        right: dict[bool, list[int]] = {True: [], False: []}
        for row, correct in enumerate(photos.correct):
            right[bool(correct)].append(row)
        wrong = right[False][: max(self.limit // 2, self.limit - len(right[True]))]
        chosen = sorted((*wrong, *right[True][: self.limit - len(wrong)]))
        return replace(photos[chosen], skipped=photos.skipped)

    def headline(self, result: Result) -> Headline:
        """How much the most faithful maps tell."""
        best = next(iter(_named(result.metrics, "leading")), "")
        gain = Estimate.of(result.metrics, f"leading/{best}")
        return Headline(
            _verdict(result.metrics),
            f"faithfulness of {best}, above random maps" if best else "",
            gain if best else None,
            form="number",
            verdict="better than random" if best and gain.low > 0 and _any_useful(result.metrics) else "",
            tone="good",
            picture=result.figure(),
        )


def _any_useful(metrics: Mapping[str, float]) -> bool:
    return any(_named(metrics, "better-than-random").values())


def _leading(gained: Mapping[str, NDArray[np.float64]]) -> dict[str, Estimate]:
    """The method that is most faithful on every other image, and its gain on the rest; empty where it is not known."""
    chosen_on = {name: mean(values[::2]).value for name, values in gained.items()}
    known = {name: value for name, value in chosen_on.items() if not np.isnan(value)}
    if not known:
        return {}
    best = max(known, key=known.__getitem__)
    gain = mean(gained[best][1::2])
    return {best: gain} if gain.known else {}


def _useful(gained: Mapping[str, NDArray[np.float64]]) -> dict[str, bool]:
    """Whether each method is better than random maps, by intervals that hold for all of them together (Bonferroni)."""
    level = simultaneous(len(gained))
    return {name: mean(values, confidence=level).low > 0 for name, values in gained.items()}


def _named(metrics: Mapping[str, float], group: str) -> dict[str, float]:
    """Method -> value, of a group of metrics."""
    parts = {key: key.split("/") for key in metrics}
    return {name[1]: metrics[key] for key, name in parts.items() if name[0] == group and len(name) == 2}


def _verdict(metrics: Mapping[str, float]) -> str:
    """What the maps are worth, of the methods that were measured."""
    better = _named(metrics, "better-than-random")
    parts = [
        f"The most faithful maps are those of {name}, chosen on half of the images: on the other half they gain "
        f"{Estimate.of(metrics, f'leading/{name}')} of the probability over random maps."
        for name in _named(metrics, "leading")
    ]
    if not parts:
        parts = ["There are too few images to choose a method on half of them."]
    for text, wanted in (("Better than random maps", True), ("Not measurably better than random maps", False)):
        if names := sorted(name for name, value in better.items() if bool(value) == wanted):  # kept results are sorted
            parts.append(f"{text}: {', '.join(names)}.")
    return " ".join(parts)


def _without_order(gained: Mapping[str, NDArray[np.float64]]) -> list[Note]:
    """The maps that are in no mean."""
    counts = {name: int(np.isnan(values).sum()) for name, values in gained.items()}
    text = "Maps that are the same everywhere have no most important pixels, and are in no mean"
    said = ", ".join(f"{count} of {len(gained[name])} of {name}" for name, count in counts.items() if count)
    return [Note(f"{text}: {said}.", "Left out")] if said else []


def _table(gained: Mapping[str, NDArray[np.float64]], groups: Rows) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, values in gained.items():
        for group, chosen in groups.items():
            if chosen.any():
                estimate = mean(values[chosen])
                # a mean of nothing where all maps are flat, and of one image no interval
                ends = (estimate.low, estimate.high) if estimate.known else ("", "")
                figure = "no map" if np.isnan(estimate.value) else estimate.value
                rows.append((name, group, int(chosen.sum()), figure, *ends))
    columns = (
        *(Column("method"), Column("predictions"), Column("images", "d")),
        *(Column(text, "+.3f") for text in ("faithfulness", "low", "high")),
    )
    caption = (
        "Insertion minus deletion, less that of random maps; 95 % bootstrap interval. Above 0: better than random."
    )
    return Table(columns, tuple(rows), title="How far the maps can be trusted", caption=caption)

"""How much of its accuracy the classifier keeps when images are noisy, blurred, pale or badly compressed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from PIL import Image

from deepscope import images
from deepscope.checks.check import Check
from deepscope.checks.held_out import held_out
from deepscope.command import Budget, Headline
from deepscope.data.corruptions import SIDE, Corruption, shrunk
from deepscope.errors import DataError, SettingError
from deepscope.inputs import nothing_readable, stream_photos
from deepscope.models import VisionModel
from deepscope.presenters.shown import origin, skipped_blocks
from deepscope.render.text import share
from deepscope.results import Column, Curves, ImageGrid, Note, Picture, Result, Series, Table
from deepscope.session import Session
from deepscope.settings import Count, Range
from deepscope.statistics import Estimate, mean, proportion


@dataclass(frozen=True)
class Corruptions(Check):
    """Accuracy under ordinary damage: noise, blur, lost contrast, compression, at the strengths of ImageNet-C.

    Attributes:
        data: a folder with a folder of images for each class, divided into `train/` and `test/` or not; or a
            dataset's name.
        model: the classifier; `deepscope models` lists them.
        severities: strengths to try, of 1 to 5.
        limit: images, at most, drawn at random.
    """

    chapter: ClassVar[str] = "3 What it withstands"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.5, "full": 5}

    _: KW_ONLY
    severities: tuple[Annotated[int, Range(1, 5)], ...] = (1, 2, 3, 4, 5)
    limit: Count = 100

    @classmethod
    def within(cls, budget: Budget, *, data: str, model: str) -> Corruptions:
        """A few images and strengths, or many."""
        return cls(data, model=model) if budget == "full" else cls(data, model=model, severities=(1, 3, 5), limit=24)

    def run(self, session: Session) -> Result:
        """Damage the held-out images in every way, and classify them."""
        if not self.severities:
            raise SettingError("severities", "must hold at least one number from 1 to 5")
        severities = sorted(set(self.severities))
        kinds = [Corruption.named(name) for name in Corruption.members()]
        corruptions = [[replace(kind, severity=severity) for severity in severities] for kind in kinds]
        held = held_out(self.model, self.data, session)
        model = held.model
        opened, skipped = _opened(session.some(list(zip(held.paths, held.answers)), self.limit))
        originals = [one.image for one in opened]

        def right(shown: list[Image.Image]) -> list[bool]:
            predicted = _predicted(model, shown, session)
            return [label in one.answer for label, one in zip(predicted, opened, strict=True)]

        clean = _share(right(originals))
        kept = {
            grades[0].name: [right(_damaged(originals, grade, session)) for grade in grades]
            for grades in session.track(corruptions, "damaging")
        }
        shares = {name: [_share(at) for at in grades] for name, grades in kept.items()}
        together = mean(np.mean([at for grades in kept.values() for at in grades], axis=0))
        return Result(
            title=f"What ordinary damage does to {model.name}",
            metrics={
                "images": len(originals),
                **clean.metrics("accuracy/clean"),
                **together.metrics("accuracy/corrupted"),
                **{
                    key: value
                    for name, grades in shares.items()
                    for severity, share in zip(severities, grades, strict=True)
                    for key, value in share.metrics(f"accuracy/{name}/{severity}").items()
                },
            },
            blocks=(
                Note(_said(clean, together, severities, shares), "Ordinary damage", "verdict"),
                *held.notes,
                _curves(severities, clean, shares),
                _table(severities, shares),
                _figure(model, originals[0], corruptions, session),
                *skipped_blocks(skipped),
            ),
            provenance=origin([model], [one.path for one in opened], [one.digest for one in opened]),
        )

    def headline(self, result: Result) -> Headline:
        """What ordinary damage costs."""
        clean, left = (Estimate.of(result.metrics, f"accuracy/{name}") for name in ("clean", "corrupted"))
        last = max(self.severities)
        kinds = {name: Estimate.of(result.metrics, f"accuracy/{name}/{last}") for name in Corruption.members()}
        worst = min(kinds, key=lambda name: kinds[name].value)
        return Headline(
            f"Over all kinds and strengths of damage the accuracy is {share(left)} instead of {share(clean)}. The "
            f"worst is {worst}: {share(kinds[worst])} at severity {last}.",
            "accuracy on noisy, blurred, pale or compressed images",
            left,
            verdict="falls" if left.high < clean.low else "",
            tone="attention",
            picture=result.figure("What the damage looks like"),
        )


@dataclass(frozen=True)
class _Opened:
    """An image at the size at which it is damaged, with its file's SHA-256 and the classes that it shows."""

    path: Path
    image: Image.Image
    digest: bytes
    answer: frozenset[int]


def _opened(files: Sequence[tuple[Path, frozenset[int]]]) -> tuple[list[_Opened], list[images.Skipped]]:
    """The images that can be read, and the others."""
    opened: list[_Opened] = []
    skipped: list[images.Skipped] = []
    for path, answer in files:
        try:
            content = images.content(path)
            image = shrunk(images.decode(content, at_least=SIDE))
        except images.UnreadableImage as error:
            skipped.append(images.Skipped(str(path), error.reason))
        else:
            opened.append(_Opened(path, image, images.digest(content), answer))
    if not opened:
        raise DataError(nothing_readable(skipped))
    return opened, skipped


def _predicted(model: VisionModel, shown: Sequence[Image.Image], session: Session) -> list[int]:
    """The most probable class of each image."""
    read = stream_photos(model, list(shown), replace(session, quiet=True))
    return [label for batch in read for label in batch.predicted.tolist()]


def _damaged(originals: Sequence[Image.Image], corruption: Corruption, session: Session) -> list[Image.Image]:
    rng = session.rng("corruption", corruption.name, corruption.severity)
    return [corruption(image, rng) for image in originals]


def _share(right: Sequence[bool]) -> Estimate:
    return proportion(sum(right), len(right))


def _said(clean: Estimate, together: Estimate, severities: list[int], shares: Mapping[str, list[Estimate]]) -> str:
    worst = min(shares, key=lambda name: shares[name][-1].value)
    return (
        f"Noise, blur, pale or badly compressed images take accuracy from {clean} to {together} in the mean over all "
        f"kinds and strengths; the worst is {worst}: {shares[worst][-1]} at severity {severities[-1]}."
    )


def _curves(severities: list[int], clean: Estimate, shares: Mapping[str, list[Estimate]]) -> Curves:
    series = tuple(
        Series(name, np.array([0, *severities]), np.array([clean.value, *(share.value for share in kept)]))
        for name, kept in shares.items()
    )
    width = max((share.high - share.low) / 2 for kept in shares.values() for share in kept)
    caption = f"0: the image as it is, its shorter side at most 256 pixels. 95 % intervals are up to ±{width:.2f} wide."
    return Curves(series, "severity", "accuracy", "Accuracy under ordinary damage", caption)


def _table(severities: list[int], shares: Mapping[str, list[Estimate]]) -> Table:
    columns = (Column("damage"), *(Column(f"severity {severity}", ".3f") for severity in severities))
    rows = tuple((name, *(share.value for share in kept)) for name, kept in shares.items())
    return Table(columns, rows, title="Each kind of damage")


def _figure(
    model: VisionModel, image: Image.Image, corruptions: Sequence[Sequence[Corruption]], session: Session
) -> ImageGrid:
    """One image in every state, with what the classifier says of it."""
    rows = []
    for grades in corruptions:
        states = [_damaged([image], grade, session)[0] for grade in grades]
        captions = [model.categories[label] for label in _predicted(model, states, session)]
        captions[0] = f"{grades[0].name}: {captions[0]}"
        shown = zip(states, captions, strict=True)
        rows.append(tuple(Picture(np.asarray(state), caption=caption) for state, caption in shown))
    headings = tuple(f"severity {grade.severity}" for grade in corruptions[0])
    caption = "Below each picture: what the classifier sees."
    return ImageGrid(tuple(rows), "What the damage looks like", caption, headings)

"""Accuracy of the classifier on corrupted images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deepscope import images
from deepscope.batch import Sharding
from deepscope.checks.check import Check
from deepscope.checks.corruption_error import NONE, PUBLISHED, CorruptionError, corruption_error, reference_of
from deepscope.checks.given_data import as_picture
from deepscope.checks.held_out import held_out
from deepscope.checks.many_images import held_out_files
from deepscope.checks.pace import Pace, Work
from deepscope.classification.corruptions_job import CorruptionsJob
from deepscope.command import Budget, Headline
from deepscope.data.corruptions import SIDE, Corruption, shrunk
from deepscope.errors import DataError, SettingError
from deepscope.inputs import Given, nothing_readable, stream_photos
from deepscope.inputs.given import Item
from deepscope.models import DEFAULT, VisionModel, load_model
from deepscope.models.capabilities import RGB, require
from deepscope.models.preprocessing import from_levels
from deepscope.presenters.batch import in_parts
from deepscope.presenters.shown import origin, skipped_blocks
from deepscope.render.text import share
from deepscope.results import Block, Column, Curves, ImageGrid, Note, Picture, Result, Series, Table
from deepscope.session import Session
from deepscope.settings import Count, Overrides, Range
from deepscope.statistics import Estimate, mean, proportion

_USUAL = 100


@dataclass(frozen=True)
class Corruptions(Check):
    """Accuracy on corrupted images: the 15 corruptions of ImageNet-C, and Gaussian blur, at its five severities.

    The mean corruption error (mCE) relates the errors to those of a reference network, in per cent.

    Attributes:
        data: a folder with one folder of images per class, with or without `train/` and `test/`; or a
            dataset's name.
        model: the classifier; `deepscope models` lists them.
        labels: a CSV file with the labels of each image, for a model with several per image; by default `labels.csv` in
            the folder of the data.
        severities: severities from 1 to 5.
        limit: most images to use, drawn at random; by default 100, in parts all.
        reference: network of the same classes for the mean corruption error, or `alexnet-published` for the errors of
            AlexNet on ImageNet-C, the usual reference; `none` for no comparison; by default the bundled network,
            where it has the same classes.
        parts: how a large job is cut into parts, and what computes them.
    """

    chapter: ClassVar[str] = "3 Robustness"
    minutes: ClassVar[Mapping[Budget, float]] = {"quick": 0.6, "full": 10}
    shares: ClassVar[tuple[str, ...]] = ("", "accuracy/*")

    _: KW_ONLY
    severities: tuple[Annotated[int, Range(1, 5)], ...] = (1, 2, 3, 4, 5)
    limit: Count | None = None
    reference: str = DEFAULT
    parts: Annotated[Mapping[str, Any], Overrides(Sharding)] = field(default_factory=dict[str, Any], hash=False)

    @classmethod
    def within(cls, budget: Budget, *, data: str, model: str) -> Corruptions:
        """A few images and strengths, or many."""
        if budget == "full":
            return cls(data, model=model)
        return cls(data, model=model, severities=(1, 3, 5), limit=16, reference=NONE)

    def work(self, known: Pace) -> Work:
        """Each image in every state, by the model and by the reference; the first one is drawn as well."""
        count, states = min(self.limit or _USUAL, known.images), len(Corruption.members()) * len(set(self.severities))
        networks = 1 if self.reference in (NONE, PUBLISHED) else 2
        return Work(passes=networks * count * (1 + states) + states, seconds=0.011 * count * states)

    def run(self, session: Session) -> Result:
        """Apply every corruption to the held-out images, and classify them."""
        if not self.severities:
            raise SettingError("severities", "must hold at least one number from 1 to 5")
        if self.parts:
            return self._in_parts(session)
        severities = sorted(set(self.severities))
        kinds = [Corruption.named(name) for name in Corruption.members()]
        corruptions = [[replace(kind, severity=severity) for severity in severities] for kind in kinds]
        held = held_out(self.model, self.data, session, self.labels)
        model = held.model
        require(model, "corruptions", RGB)
        reference = reference_of(self.reference, model, severities, session)
        opened, skipped = _opened(session.some(list(zip(held.images.items, held.answers)), self.limit or _USUAL))
        originals = [one.image for one in opened]

        def right(shown: list[Image.Image], by: VisionModel = model) -> list[bool]:
            seen = [Item(one.seen(image), one.path, one.answer) for one, image in zip(opened, shown, strict=True)]
            read = stream_photos(by, Given(seen), replace(session, quiet=True))
            return [bool(correct) for batch in read for correct in batch.correct]

        clean = _share(right(originals))
        kept: dict[str, list[list[bool]]] = {}
        theirs: dict[str, list[list[bool]]] = {}
        for grades in session.track(corruptions, "corrupting"):
            damaged = [_damaged(originals, grade, session) for grade in grades]
            kept[grades[0].name] = [right(shown) for shown in damaged]
            if reference is not None:
                theirs[grades[0].name] = [right(shown, reference) for shown in damaged]
        relative = None
        if reference is not None or self.reference == PUBLISHED:
            relative = corruption_error(_wrong(kept), str(self.reference), _wrong(theirs) if theirs else None)
        shares = {name: [_share(at) for at in grades] for name, grades in kept.items()}
        together = mean(np.mean([at for grades in kept.values() for at in grades], axis=0))
        return Result(
            title=f"{model.title} on corrupted images",
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
                **({} if relative is None else relative.mean.metrics("mCE")),
                **({} if relative is None else {f"CE/{name}": value for name, value in relative.kinds.items()}),
            },
            blocks=(
                Note(_said(clean, together, severities, shares), "Corruptions", "verdict"),
                *_several(model),
                *held.notes,
                *_relative(relative),
                _curves(severities, clean, shares),
                _table(severities, shares),
                _figure(model, opened[0], corruptions, session),
                *skipped_blocks(skipped),
            ),
            provenance=origin([model], [one.path for one in opened], [one.digest for one in opened]),
        )

    def _in_parts(self, session: Session) -> Result:
        """The same as a job, whose rows are Parquet files."""
        model = load_model(self.model, session)
        if model.head.kind == "multilabel":
            raise SettingError("labels", "cannot be combined with {shard_size}, {workers} or {cluster}")
        if self.labels is not None:
            raise SettingError("labels", f"are for a model with several labels per image, and {model.name} has one")
        named, notes = held_out_files(self.model, self.data, session)
        result = in_parts(
            CorruptionsJob(self.model, severities=self.severities), named, self.parts, session, limit=self.limit
        )
        return replace(result, blocks=(*result.blocks, *notes))

    def headline(self, result: Result) -> Headline:
        """What ordinary damage costs."""
        clean, left = (Estimate.of(result.metrics, f"accuracy/{name}") for name in ("clean", "corrupted"))
        last = max(self.severities)
        kinds = {name: Estimate.of(result.metrics, f"accuracy/{name}/{last}") for name in Corruption.members()}
        worst = min(kinds, key=lambda name: kinds[name].value)
        return Headline(
            f"Over all kinds and strengths of damage, the accuracy on {result.metrics['images']:.0f} images is "
            f"{share(left)} instead of {share(clean)}. The worst is {worst}: {share(kinds[worst])} at severity {last}.",
            "accuracy on noisy, blurred, pale or compressed images",
            left,
            verdict="falls" if left.high < clean.low else "",
            tone="attention",
            picture=result.figure("What the damage looks like"),
        )


def _several(model: VisionModel) -> tuple[Note, ...]:
    """What is right where images have several labels."""
    if model.head.kind != "multilabel":
        return ()
    text = "An image is classified correctly where exactly the labels that it shows are above their thresholds."
    return (Note(text, "Accuracy"),)


@dataclass(frozen=True)
class _Opened:
    """An image at the size at which it is damaged, with its file's SHA-256 and the classes that it shows.

    Attributes:
        size: (width, height) of pixels that the network takes as they are; None of an image that preprocessing resizes.
    """

    path: Path
    image: Image.Image
    digest: bytes
    answer: frozenset[int]
    size: tuple[int, int] | None = None

    def seen(self, state: Image.Image) -> Image.Image | Tensor:
        """A state of the image in the form in which it was given."""
        if self.size is None:
            return state
        resized = state if state.size == self.size else state.resize(self.size, Image.Resampling.BICUBIC)
        return from_levels(torch.from_numpy(np.array(resized)).permute(2, 0, 1))


def _opened(items: Sequence[tuple[Item, frozenset[int]]]) -> tuple[list[_Opened], list[images.Skipped]]:
    """The images that can be read, and the others."""
    opened: list[_Opened] = []
    skipped: list[images.Skipped] = []
    for item, answer in items:
        source = as_picture(item.source)
        try:
            content = images.content(source) if isinstance(source, (str, Path)) else source
            image = images.decode(content, at_least=SIDE)
        except images.UnreadableImage as error:
            skipped.append(images.Skipped(str(item.path), error.reason))
        else:
            size = image.size if isinstance(item.source, Tensor) else None
            opened.append(_Opened(item.path, shrunk(image), images.digest(content), answer, size))
    if not opened:
        raise DataError(nothing_readable(skipped))
    return opened, skipped


def _predicted(model: VisionModel, shown: Sequence[Image.Image | Tensor], session: Session) -> list[int]:
    """The most probable class of each image."""
    read = stream_photos(model, list(shown), replace(session, quiet=True))
    return [label for batch in read for label in batch.predicted.tolist()]


def _damaged(originals: Sequence[Image.Image], corruption: Corruption, session: Session) -> list[Image.Image]:
    return [corruption.applied(image, session) for image in originals]


def _wrong(right: Mapping[str, list[list[bool]]]) -> dict[str, NDArray[np.bool_]]:
    return {name: ~np.array(grades) for name, grades in right.items()}


def _relative(error: CorruptionError | None) -> tuple[Block, ...]:
    """The mean corruption error, and what it is relative to."""
    if error is None:
        return ()
    text = (
        f"Mean corruption error {error.mean} %: errors on the 15 corruptions of ImageNet-C as a percentage of those of "
        f"{error.reference}. Frost has a texture of deepscope's own, so compare figures with published ones with care."
    )
    columns = (Column("corruption"), Column("error relative to the reference, %", ".1f"))
    rows = tuple(error.kinds.items())
    return (Note(text, "mCE"), Table(columns, rows, title="Corruption error"))


def _share(right: Sequence[bool]) -> Estimate:
    return proportion(sum(right), len(right))


def _said(clean: Estimate, together: Estimate, severities: list[int], shares: Mapping[str, list[Estimate]]) -> str:
    worst = min(shares, key=lambda name: shares[name][-1].value)
    return (
        f"Corruptions reduce accuracy from {clean} to {together} in the mean over all "
        f"kinds and strengths; the worst is {worst}: {shares[worst][-1]} at severity {severities[-1]}."
    )


def _curves(severities: list[int], clean: Estimate, shares: Mapping[str, list[Estimate]]) -> Curves:
    series = tuple(
        Series(name, np.array([0, *severities]), np.array([clean.value, *(share.value for share in kept)]))
        for name, kept in shares.items()
    )
    width = max((share.high - share.low) / 2 for kept in shares.values() for share in kept)
    caption = f"0: the image as it is, its shorter side at most 256 pixels. 95 % intervals are up to ±{width:.2f} wide."
    return Curves(series, "severity", "accuracy", "Accuracy on corrupted images", caption)


def _table(severities: list[int], shares: Mapping[str, list[Estimate]]) -> Table:
    columns = (Column("damage"), *(Column(f"severity {severity}", ".3f") for severity in severities))
    rows = tuple((name, *(share.value for share in kept)) for name, kept in shares.items())
    return Table(columns, rows, title="Accuracy by corruption")


def _figure(
    model: VisionModel, one: _Opened, corruptions: Sequence[Sequence[Corruption]], session: Session
) -> ImageGrid:
    """One image after every corruption, with its predicted class."""
    rows = []
    for grades in corruptions:
        states = [_damaged([one.image], grade, session)[0] for grade in grades]
        seen = [one.seen(state) for state in states]
        captions = [model.categories[label] for label in _predicted(model, seen, session)]
        captions[0] = f"{grades[0].name}: {captions[0]}"
        shown = zip(states, captions, strict=True)
        rows.append(tuple(Picture(np.asarray(state), caption=caption) for state, caption in shown))
    headings = tuple(f"severity {grade.severity}" for grade in corruptions[0])
    caption = "Below each image: the predicted class."
    return ImageGrid(tuple(rows), "Examples of the corruptions", caption, headings)

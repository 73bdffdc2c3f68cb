"""`deepscope gan evaluate`: how good, how varied and how new a generator's images are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import torch

from deepscope.commands.command import Command
from deepscope.commands.gan_figures import cells, generated_by
from deepscope.errors import DeepscopeError
from deepscope.gans import DIGITS, Gan, Labelled, Pictures, load, load_pictures, stacked
from deepscope.gans.quality import (
    Judge,
    Nearest,
    bundled_features,
    classification_accuracy_score,
    draw,
    fitting_judge,
    inception_features,
    likeness,
    novelty,
    variety,
)
from deepscope.results import Column, ImageGrid, Note, Result, Table
from deepscope.session import Session

_SHOWN = 8


@dataclass(frozen=True)
class GanEvaluate(Command):
    """Measure a trained generator against held-out images of its data; real images give each figure's bound.

    Those are the test images, or what `gan train --hold-out` kept back.

    Attributes:
        folder: of `gan train`.
        data: what to measure against; what the generator learnt from where none is named.
        judge: folder of `gan judge`; the one in the package where it fits.
        samples: images to generate; the Frechet distance takes as many as there are held-out ones.
        score_epochs: of the classifier that is trained on generated images (classification accuracy score); 0 leaves
            it out.
    """

    area: ClassVar[str] = "gan"
    name: ClassVar[str] = "evaluate"
    example: ClassVar[str] = "deepscope gan evaluate digits/ --judge judge/ --out quality/"

    folder: Path
    _: KW_ONLY
    data: str | None = None
    judge: Path | None = None
    samples: int = 10_000
    score_epochs: int = 6

    def run(self, session: Session) -> Result:
        """Generate, measure, and show the nearest training images."""
        if self.samples < 10 or self.score_epochs < 0:
            raise DeepscopeError("--samples is at least 10, --score-epochs at least 0")
        gan = load(self.folder)
        gan.generator.to(session.device)
        pictures, judge = material(gan, self.data, self.judge, session)
        samples = draw(gan, pictures, self.samples, session)
        metrics, notes = measure(gan, pictures, samples, judge, session, score_epochs=self.score_epochs)
        copies, near = novelty(samples, pictures)
        metrics["memorised"] = copies
        return Result(
            title=f"What the images of {self.folder} are worth",
            metrics=metrics,
            blocks=(
                _table(metrics),
                *(Note(text, "Not measured", "warning") for text in notes),
                _nearest(samples, near, pictures),
            ),
            provenance=generated_by(self.folder, gan),
        )


def material(gan: Gan, data: str | None, judge: Path | None, session: Session) -> tuple[Pictures, Judge | None]:
    """The real images that a generator is measured against, and who judges.

    Raises:
        DeepscopeError: they are not like the generator's.
    """
    held_out = gan.held_out if data in (None, gan.data) else 0
    pictures = load_pictures(data or gan.data, gan.architecture.side, session, hold_out=held_out)
    found = fitting_judge(judge, pictures.channels, pictures.classes)
    if gan.stacked:
        pictures = stacked(pictures, len(pictures.train), session)
    if pictures.channels != gan.channels or (gan.labelled and pictures.classes != gan.classes):
        raise DeepscopeError(
            f"{pictures.name} is not like what the generator makes ({gan.channels} channels, "
            f"{len(gan.classes)} classes; {pictures.channels} and {len(pictures.classes)} there): name its own data"
        )
    return pictures, found.to(session.device) if found else None


def measure(
    gan: Gan,
    pictures: Pictures,
    samples: Labelled,
    judge: Judge | None,
    session: Session,
    *,
    score_epochs: int,
    folder: Path | None = None,
) -> tuple[dict[str, float], list[str]]:
    """All figures that can be measured here, and what is missing for the others, in words."""
    metrics: dict[str, float] = {}
    notes: list[str] = []
    if judge is None:
        notes.append(
            "Classes and features of a judge: none is here for these images. "
            "`deepscope gan judge DATA --out judge/` trains one; give it with --judge judge/."
        )
        metrics |= likeness("bundled", bundled_features(session), samples.images, pictures, session)
    else:
        metrics |= variety(judge, samples, pictures, conditional=gan.labelled)
        if not gan.stacked:
            name = "digit" if pictures.classes == DIGITS else "judge"
            metrics |= likeness(name, judge.features, samples.images, pictures, session)
    try:
        found = likeness("inception", inception_features(session), samples.images, pictures, session)
        metrics |= {name: value for name, value in found.items() if name.startswith("inception")}
    except DeepscopeError as error:
        notes.append(f"{error}.")
    if gan.labelled and score_epochs:
        metrics |= classification_accuracy_score(gan, pictures, epochs=score_epochs, session=session, folder=folder)
    return metrics, notes


def _table(metrics: Mapping[str, float]) -> Table:
    rows = []
    for name, value in metrics.items():
        if not name.endswith(("/real", "-floor")):
            rows.append((name, value, metrics.get(f"{name}/real", metrics.get(f"{name}-floor"))))
    columns = (Column("measure"), Column("generated", ".4f"), Column("real images", ".4f"))
    caption = "Real images: held-out or training images in the samples' place, the best that can be expected."
    return Table(columns, tuple(rows), "Quality", caption)


def _nearest(samples: Labelled, near: Nearest, pictures: Pictures) -> ImageGrid:
    closest = near.distances.argsort()[:_SHOWN]
    pairs = torch.stack([samples.images[closest], pictures.train.images[near.rows[closest]]]).flatten(0, 1)
    captions = [f"{float(near.distances[row]):.3f}" for row in closest] + [""] * len(closest)
    title = "The samples that are nearest to training images"
    return ImageGrid(cells(pairs, _SHOWN, captions=captions), title, "Above samples, below training images; RMS.")

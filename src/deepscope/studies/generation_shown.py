"""Tables and figures of the studies of generation."""

from __future__ import annotations

import math
from collections.abc import Iterable

from deepscope.gans import balanced, diagnose, drawn, generate, latents
from deepscope.gans.grid import shared
from deepscope.presenters.gan_figures import cells, scale_of
from deepscope.results import Block, Column, Curves, ImageGrid, Note, Series, Table
from deepscope.session import Session
from deepscope.studies.generation_runs import TrainedGANs

_TABLE = ("digit-fid", "precision", "recall", "modes", "kl", "fidelity", "classification-accuracy-score", "memorised")
_ALONG = {
    "watched-fid": ("Fréchet distance of 1000 samples", "Fréchet distance"),
    "loss/generator": ("Generator's loss", "loss"),
    "loss/discriminator": ("Discriminator's loss", "loss"),
    "score/real": ("D(x)", "mean D(x) of real images"),
    "score/fake": ("D(G(z))", "mean D(G(z)) of samples"),
    "gradient/generator": ("Generator's gradient", "L2 norm of the gradient"),
    "modes": ("Classes among 1000 samples", "number of classes"),
    "diversity": ("Diversity", "diversity, relative to real images"),
}
CAPTIONS = {
    "Fréchet distance of 1000 samples": (
        "Distance between the features of 1,000 samples and of real digits, along the training: lower is "
        "better. The first seed of each arm."
    ),
    "Generator's loss": "Low where the discriminator takes the samples for real. The first seed of each arm.",
    "Discriminator's loss": "Low where it tells real images from samples. The first seed of each arm.",
    "D(x)": (
        "Mean probability that the discriminator gives real images of being real: 0.5 where it cannot decide,"
        " 1 where it is sure. The first seed of each arm."
    ),
    "D(G(z))": (
        "Mean probability that the discriminator gives samples of being real: 0.5 where it cannot decide, 0 "
        "where it is sure that they are not. The first seed of each arm."
    ),
    "Generator's gradient": "Its length: near 0, the generator no longer learns. The first seed of each arm.",
    "Classes among 1000 samples": (
        "How many of the classes occur: all ten digits, or a thousand combinations of three. Fewer means that"
        " the generator leaves some out. The first seed of each arm."
    ),
    "Diversity": (
        "How much images of one class differ, relative to real ones: 1 is as much as they do, 0 that all are "
        "the same. The first seed of each arm."
    ),
    "unconditional": "Samples of a generator without classes, not selected.",
    "conditional": (
        "A generator with classes: one class per row, and one latent vector z per column, which fixes the "
        "style. Not selected."
    ),
    "conditional-clusters": (
        "A generator whose classes are divided into clusters: one class per row, each digit of one of the clusters of "
        "its class, and one latent vector z per column. Not selected."
    ),
    "clusters": "A generator whose classes are clusters that were found without labels. Not selected.",
    "y-absent-from-d": (
        "A discriminator that does not see the label teaches the generator nothing about it: rows are "
        "classes, and hold any digit. Columns are latent vectors. Not selected."
    ),
    "saturating": "Samples where the generator minimises log(1 - D(G(z))), as the theory has it. Not selected.",
    "only-4.2": "Only the generator is trained (equation 4.2): it fools a discriminator that never learnt.",
    "only-4.3": "Only the discriminator is trained (equation 4.3): the generator stays as it was made.",
    "stacked": "Three digits in red, green and blue, by a plain DCGAN. Not selected.",
    "stacked-packed": "The same, where the discriminator sees pairs of images (PacGAN). Not selected.",
}
"""What the figures show, by their titles."""
_COLUMNS, _ROWS = 10, 4


def metrics(trained: TrainedGANs) -> dict[str, float]:
    """Every figure of every arm, with its interval."""
    found: dict[str, float] = {}
    for arm, runs in trained.outcomes.items():
        for name in runs[0].figures:
            found |= trained.mean(arm, name).metrics(f"{name}/{arm}")
    return found


def quality(trained: TrainedGANs) -> Table:
    """Each arm in a row, real images in the last."""
    names = [name for name in _TABLE if any(name in runs[0].figures for runs in trained.outcomes.values())]
    rows = [(arm, *(_known(trained.mean(arm, name).value) for name in names)) for arm in trained.outcomes]
    rows.append(("real images", *(_of_real_images(trained, name) for name in names)))
    columns = (Column("arm"), *(Column(name, ".4g") for name in names))
    return Table(columns, tuple(rows), "Quality of every arm", mark=len(rows) - 1)


def _of_real_images(trained: TrainedGANs, name: str) -> float | None:
    """What real images get in the samples' place, by the first arm that has it."""
    real = f"{name}-floor" if name.endswith("-fid") else f"{name}/real"
    return next(
        (trained.mean(arm, real).value for arm, runs in trained.outcomes.items() if real in runs[0].figures), None
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def along(trained: TrainedGANs, arms: Iterable[str]) -> list[Block]:
    """What changes along the training, from the first seed."""
    arms = list(arms)
    blocks: list[Block] = []
    for name, (title, y_title) in _ALONG.items():
        columns = [(arm, *trained.outcomes[arm][0].history.column(name)) for arm in arms]
        series = tuple(Series(arm, steps, values) for arm, steps, values in columns if len(steps))
        if series:  # stacked digits have no features to measure a distance by
            scale = scale_of(series)
            blocks.append(Curves(series, "training step", y_title, title, CAPTIONS[title], y_scale=scale))
    return blocks


def grids(trained: TrainedGANs, arms: Iterable[str], session: Session) -> list[Block]:
    """Images of each arm's first seed: with classes one z per column, else drawn as the data are."""
    blocks: list[Block] = []
    for arm in arms:
        gan = trained.outcomes[arm][0].trained.gan
        if gan.labelled:
            images = shared(gan, _COLUMNS, session).flatten(0, 1)
            caption = "One latent vector z per column, one class per row; samples are not selected."
        else:
            rng = session.rng("grid")
            labels = drawn(_COLUMNS * _ROWS, gan.shares, rng) if gan.shares else balanced(_COLUMNS * _ROWS, 0)
            images = generate(gan.generator, latents(len(labels), gan.generator, rng), labels)
            caption = "Samples of the generator, not selected."
        blocks.append(ImageGrid(cells(images, _COLUMNS), arm, CAPTIONS.get(arm, caption)))
    return blocks


def notes(trained: TrainedGANs) -> list[Block]:
    """Problems during the trainings, and how to read the figures."""
    rows = [
        (arm, text)
        for arm, runs in trained.outcomes.items()
        for text in dict.fromkeys(text for run in runs for text in diagnose(run.history))
    ]
    trouble = [Table((Column("arm"), Column("trouble")), tuple(rows), "Trouble along the trainings")] if rows else []
    return [
        *trouble,
        *(Note(text, "Diverged", "warning") for text in trained.diverged),
        Note("Means over seeds with 95 % Student intervals; one seed has none.", "How to read this"),
    ]

"""How the result of `deepscope attack certify` is shown."""

from __future__ import annotations

import numpy as np

from deepscope.attacks.certify import RADII, Certificates
from deepscope.attacks.smoothing import ABSTAINED
from deepscope.names import counted
from deepscope.presenters.shown import origin, skipped_blocks
from deepscope.render import presents
from deepscope.results import Column, Curves, Note, Result, Series, Table
from deepscope.statistics import proportion

_MOST = 200
"""Rows of the table of images."""


@presents(Certificates)
def present(found: Certificates) -> Result:
    """Certified and attacked accuracy over the radius."""
    abstained = int((found.predicted == ABSTAINED).sum())
    accuracy = proportion(int(found.correct.sum()), len(found))
    radii = tuple(found.attacked) or RADII
    shares = {f"certified/{radius:g}": found.certified(radius) for radius in radii}
    shares |= {f"attacked/{radius:g}": found.empirical(radius) for radius in found.attacked}
    return Result(
        title=(
            f"Certificates of {counted(len(found), 'image')}: {found.model.name} with noise of "
            f"{found.smoothing.sigma:g}"
        ),
        metrics={
            "images": len(found),
            "abstained": abstained,
            **accuracy.metrics("accuracy/smoothed"),
            **{
                key: value for name, share in shares.items() for key, value in share.metrics(f"accuracy/{name}").items()
            },
        },
        blocks=(
            Note(_said(found, abstained), "Certificates", "verdict"),
            _curves(found),
            _table(found),
            *skipped_blocks(found.skipped),
        ),
        provenance=origin([found.model], found.paths, found.digests),
    )


def _said(found: Certificates, abstained: int) -> str:
    settings = found.smoothing
    accuracy = proportion(int(found.correct.sum()), len(found))
    return (
        f"The smoothed classifier is right on {accuracy} of the images and abstains on {abstained}. Each certificate "
        f"holds with a probability of {1 - settings.alpha:g}: no change of the network's input of a smaller L2 norm "
        "changes the prediction of the smoothed classifier. It says nothing about the network without noise."
    )


def _curves(found: Certificates) -> Curves:
    """Both accuracies on one axis."""
    ends = found.radii[found.correct].sort().values.numpy()
    left = np.arange(len(ends), -1, -1) / len(found)  # beyond each radius
    series = [Series("certified", np.concatenate([[0.0], ends]), left, style="steps")]
    if found.attacked:
        at = np.array([0.0, *found.attacked])
        clean = proportion(int(found.correct.sum()), len(found))
        shares = [clean, *(found.empirical(radius) for radius in found.attacked)]
        low, high = (np.array([getattr(share, end) for share in shares]) for end in ("low", "high"))
        series.append(Series("under attack (PGD)", at, np.array([share.value for share in shares]), low, high))
    caption = (
        "Certified: no change of that norm can change the prediction. Under attack: a lost image was also tried at "
        "smaller radii. The robust accuracy lies between the two."
    )
    return Curves(tuple(series), "L2 radius (pixels in [0, 1])", "accuracy", "Certified and attacked accuracy", caption)


def _table(found: Certificates) -> Table:
    names = ["abstains" if label == ABSTAINED else found.model.categories[label] for label in found.predicted.tolist()]
    radii = [None if radius != radius else radius for radius in found.radii.tolist()]
    rows = zip((path.name for path in found.paths), names, found.correct.tolist(), radii)
    columns = (Column("image"), Column("predicted"), Column("correct"), Column("certified radius", ".3f"))
    caption = f"The first {_MOST} of {len(found)} images." if len(found) > _MOST else ""
    return Table(columns, tuple(rows)[:_MOST], title="Images", caption=caption)

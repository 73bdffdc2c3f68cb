"""How the result of `deepscope gan directions` is shown."""

from __future__ import annotations

import torch

from deepscope.gans import LatentDirections
from deepscope.presenters.gan_figures import cells, generated_by
from deepscope.render import presents
from deepscope.results import Column, ImageGrid, Result, Table

_SHOWN = 7
_BY = {"sefa": "SeFa (Shen and Zhou 2021)", "pca": "GANSpace (Härkönen et al. 2020)"}


@presents(LatentDirections)
def present(found: LatentDirections) -> Result:
    """A row of images per direction, and how much each changes them."""
    return Result(
        title=f"Directions of z by {_BY[found.method]}",
        metrics={f"change/direction-{number}": float(row.max()) for number, row in enumerate(found.changes, start=1)},
        blocks=(_grid(found), _table(found)),
        arrays={"vectors": found.vectors.numpy(), "z": found.z.numpy()},
        provenance=generated_by(found.gan),
    )


def _grid(found: LatentDirections) -> ImageGrid:
    steps = len(found.offsets)
    shown = torch.linspace(0, steps - 1, min(_SHOWN, steps)).round().long()
    names = tuple(f"{offset:+.1f}" for offset in found.offsets[shown].tolist())
    rows = cells(found.images[:, 0, shown].flatten(0, 1), len(shown))
    return ImageGrid(
        rows, "Images along each direction", "One row per direction; offsets in standard deviations.", names
    )


def _table(found: LatentDirections) -> Table:
    changes = found.changes
    rows = tuple(
        (number, share, float(row.max()))
        for number, (share, row) in enumerate(zip(found.shares.tolist(), changes, strict=True), start=1)
    )
    columns = (Column("direction"), Column("share of first layer", ".3f"), Column("change of images", ".3f"))
    caption = f"Change: largest RMS difference, pixels in [0, 1], within {float(found.offsets.max()):g} SD of z."
    return Table(columns, rows, "Directions", caption)

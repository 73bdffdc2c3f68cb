"""How the channels of a layer are shown."""

from __future__ import annotations

import math

from deepscope.concepts import Unit, Units
from deepscope.names import counted
from deepscope.presenters.shown import origin, picture, skipped_blocks
from deepscope.render import presents
from deepscope.results import Block, Column, GridCell, ImageGrid, Picture, Result, Table

_ROWS = 16
"""Channels per figure."""


@presents(Units)
def present(found: Units) -> Result:
    """The top patches of every channel, with an image that excites it where there is one, and a table."""
    dead = sum(unit.active == 0 for unit in found.units)
    return Result(
        title=f"Channels of {found.layer} of {found.model.name} over {counted(found.count, 'image')}",
        metrics={"images": found.count, "channels": len(found), "dead": dead},
        blocks=(*_figures(found), _table(found), *skipped_blocks(found.skipped)),
        provenance=origin([found.model], list(found.digests), list(found.digests.values())),
    )


def _figures(found: Units) -> list[Block]:
    shown = [unit for unit in found.units if unit.patches]
    parts = [shown[first : first + _ROWS] for first in range(0, len(shown), _ROWS)]
    caption = "The patches that excite each channel most, with the activation."
    if any(unit.visualization is not None for unit in shown):
        caption += " On the left an image that was made to excite it."
    return [
        ImageGrid(tuple(map(_row, part)), f"Channels {part[0].channel} to {part[-1].channel}", caption)
        for part in parts
    ]


def _row(unit: Unit) -> tuple[GridCell, ...]:
    made: list[GridCell] = []
    if unit.visualization is not None:
        made.append(picture(unit.visualization, caption=f"channel {unit.channel}"))
    name = "" if made else f"channel {unit.channel}: "
    for patch, value in zip(unit.patches, unit.activations):
        caption = f"{name}{value:.3g}" if math.isfinite(value) else name
        made.append(Picture(patch.permute(1, 2, 0).contiguous().numpy(), caption=caption))
        name = ""
    return tuple(made)


def _table(found: Units) -> Table:
    columns = (
        *(Column("channel", "d"), Column("largest", ".4g"), Column("mean", ".4g"), Column("active", ".3f")),
        *(Column("image"), Column("box")),
    )
    rows = tuple(
        (
            *(unit.channel, unit.activations[0], unit.mean, unit.active, unit.paths[0].name),
            ", ".join(map(str, unit.boxes[0])),
        )
        for unit in found.units
        if unit.activations
    )
    caption = (
        "Largest: activation over all images. Mean: of the largest activation of each image. Active: share of the "
        "images in which it is above 0. Box: of the patch in the first image, left, top, right, bottom."
    )
    return Table(columns, rows, f"Channels of {found.layer}", caption)

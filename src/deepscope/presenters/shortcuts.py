"""How shortcuts are shown."""

from __future__ import annotations

from deepscope.names import counted
from deepscope.presenters.shown import missing, picture, skipped_blocks
from deepscope.render import presents
from deepscope.results import Block, Column, ImageGrid, Note, Picture, Result, Table
from deepscope.shortcuts import Shortcuts
from deepscope.shortcuts.properties import NAMES

_SHOWN = 4
"""Findings that are shown as pictures, at most."""
_LISTED = 30
"""Findings that are listed, at most."""


@presents(Shortcuts)
def present(found: Shortcuts) -> Result:
    """A verdict, pictures of the strongest findings, and a table."""
    predictive = {row for row, _ in found.found}
    strongest = max((abs(found.auroc[pair] - 0.5) for pair in found.found), default=0.0)
    return Result(
        title=f"Shortcuts in {found.name}: what goes with {'the label' if found.kind == 'label' else 'errors'}",
        metrics={
            "images": len(found),
            "properties": len(NAMES),
            "properties/predictive": len(predictive),
            "strongest-auroc": 0.5 + float(strongest),
        },
        blocks=(_verdict(found), *_figures(found), _table(found), *skipped_blocks(found.skipped)),
        arrays={"values": found.values, "members": found.members, "auroc": found.auroc, "p": found.p_values},
    )


def _verdict(found: Shortcuts) -> Note:
    what = "the class of an image" if found.kind == "label" else "what the classifier answers for images of one class"
    title = "Shortcuts" if found.kind == "label" else "Shortcuts and errors"
    if not found.found:
        text = (
            f"None of {len(NAMES)} properties predicts {what} ({counted(len(found), 'image')}, {found.draws} "
            "permutations)."
        )
        return Note(text, title, "verdict")
    count = len({row for row, _ in found.found})
    said = "; ".join(_said(found, pair) for pair in found.found[:3])
    text = (
        f"{count} of {len(NAMES)} properties predict {what}, the strongest: {said}. A classifier may answer by these "
        "instead of by what the image shows: collect images in which they differ, or remove them."
    )
    return Note(text, title, "verdict")


def _said(found: Shortcuts, pair: tuple[int, int]) -> str:
    row, group = pair
    more = "higher" if found.auroc[pair] > 0.5 else "lower"
    return f"{NAMES[row]} {more} in {found.groups[group]} (AUROC {found.auroc[pair]:.2f})"


def _figures(found: Shortcuts) -> list[Block]:
    grids: list[Block] = []
    for pair in found.found[:_SHOWN]:
        inside, outside = found.typical(pair)
        row, group = pair
        rows = tuple(tuple(_cell(found, at, row) for at in side) for side in (inside, outside))
        other = "other classes" if found.kind == "label" else "the others"
        caption = (
            f"Above, images of {found.groups[group]} that show it most; below, images of {other} that show it least."
        )
        grids.append(ImageGrid(rows, _said(found, pair), caption))
    return grids


def _cell(found: Shortcuts, row: int, measured: int) -> Picture:
    pixels = found.pictures.get(row)
    name = f"{found.paths[row].name}: {NAMES[measured]} {_written(found.values[row, measured])}"
    return missing(caption=name) if pixels is None else picture(pixels, caption=name)


def _table(found: Shortcuts) -> Table:
    rows = tuple(
        (NAMES[row], found.groups[group], float(found.auroc[row, group]), float(found.p_values[row, group]))
        for row, group in found.found[:_LISTED]
    )
    columns = (Column("property"), Column("group"), Column("AUROC", ".3f"), Column("p, adjusted", ".3f"))
    more = f" The first {_LISTED} of {len(found.found)}." if len(found.found) > _LISTED else ""
    same = "" if found.kind == "label" else " of the same class"
    return Table(
        columns,
        rows,
        "What differs",
        f"AUROC: the chance that the property is larger for an image of the group than for another one{same}. P-values "
        f"of a permutation test, adjusted for all comparisons.{more}",
    )


def _written(value: float) -> str:
    """Three significant digits, and large numbers in full: people count pixels and bytes."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"

"""How failing slices are shown."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from deepscope.concepts import Near
from deepscope.presenters.shown import missing, picture, skipped_blocks
from deepscope.render import presents
from deepscope.results import Block, Column, ImageGrid, Note, Picture, Result, Table
from deepscope.shortcuts.slices import LEVEL, Slice, Slices


@presents(Slices)
def present(found: Slices) -> Result:
    """A verdict, pictures of the confirmed slices, and a table of all that were tested."""
    return Result(
        title=f"Where {found.name} fails more often",
        metrics={
            "images": len(found),
            "clusters": found.clusters,
            "slices/tested": len(found.slices),
            "slices/confirmed": len(found.confirmed),
        },
        blocks=(_verdict(found), *_figures(found), _table(found), *skipped_blocks(found.skipped)),
        arrays={"wrong": found.wrong, "first": found.first},
    )


def _verdict(found: Slices) -> Note:
    tested = f"{len(found.slices)} of {found.clusters} clusters had more errors than the average on one half"
    if not found.confirmed:
        text = f"No slice fails more often: {tested}, and the other half confirms none of them."
        return Note(text, "Failing slices", "verdict")
    worst = found.confirmed[0]
    count = len(found.confirmed)
    more, those = ("slices fail", "these") if count > 1 else ("slice fails", "this one")
    text = (
        f"{count} {more} more often: {tested}, and the other half confirms {those} (at most {100 * LEVEL:.0f} % false "
        f"discoveries). The clearest: {said(worst)}, errors {worst.errors}, elsewhere {worst.elsewhere}."
    )
    return Note(text, "Failing slices", "verdict")


def said(found: Slice) -> str:
    """What a slice shows, and what tells its images from the others."""
    classes = ", ".join(f"{100 * share:.0f} % {name}" for name, share in found.classes[:2])
    name, auroc = found.properties[0]
    return f"{classes}; {name} {'higher' if auroc > 0.5 else 'lower'} (AUROC {auroc:.2f})"


def _figures(found: Slices) -> list[Block]:
    grids: list[Block] = []
    for each in found.confirmed:
        rows = [row for row in found.pictures if row in set(each.rows.tolist())]
        cells = tuple(_cell(found, row) for row in rows)
        grids.append(ImageGrid((cells,), said(each), f"Errors {each.errors}, elsewhere {each.elsewhere}."))
    return grids


def concepts_of(found: Slices, near: Sequence[Sequence[Near]], pixels: Tensor) -> tuple[Block, ...]:
    """The concepts nearest to each confirmed slice.

    Args:
        found: the slices.
        near: the concepts of each confirmed slice.
        pixels: (N, 3, H, W) of the images that the patches are of.
    """
    grids: list[Block] = []
    for each, own in zip(found.confirmed, near, strict=True):
        rows = tuple(
            tuple(
                picture(patch.of(pixels[patch.image]), caption=f"concept {one.concept} (AUROC {one.auroc:.2f})")
                for patch in one.patches
            )
            for one in own
        )
        text = "Parts that its images show more than others; the AUROC says how well the part alone tells them apart."
        if rows:
            grids.append(ImageGrid(rows, f"Nearest concepts of the slice: {said(each)}", text))
    return tuple(grids)


def _cell(found: Slices, row: int) -> Picture:
    pixels, answer = found.pictures[row], "wrong" if found.wrong[row] else "right"
    caption = f"{found.paths[row].parent.name}/{found.paths[row].name}: {answer}"
    return missing(caption=caption) if pixels is None else picture(pixels, caption=caption)


def _table(found: Slices) -> Table:
    rows = tuple(
        (said(each), len(each.rows), each.errors.value, each.elsewhere.value, each.p_value, each.q_value)
        for each in found.slices
    )
    columns = (
        *(Column("slice"), Column("images", "d"), Column("errors", ".3f"), Column("elsewhere", ".3f")),
        *(Column("p", ".4f"), Column("q", ".4f")),
    )
    caption = "On the half that did not find them. p: Fisher's exact test, one-sided; q: adjusted (Benjamini-Hochberg)."
    return Table(columns, rows, "Slices that were tested", caption)

"""How the result of `deepscope data corrupt` is shown."""

from __future__ import annotations

from deepscope.data.corrupt import Corrupted
from deepscope.names import counted
from deepscope.presenters.shown import missing, origin, skipped_blocks, thumbnail
from deepscope.render import presents
from deepscope.results import ImageGrid, Note, Picture, Result


@presents(Corrupted)
def present(found: Corrupted) -> Result:
    """Where the copies are, and what the corruption does."""
    return Result(
        title=f"{counted(len(found), 'image')} after {found.corruption.name} of severity {found.corruption.severity}",
        metrics={"images": len(found), "skipped": len(found.skipped)},
        blocks=(
            Note(f"The copies are in {found.folder}: give that folder to any command.", "Saved"),
            *_figure(found),
            *skipped_blocks(found.skipped),
        ),
        provenance=origin([], found.copies.paths, found.copies.digests),
    )


def _figure(found: Corrupted) -> list[ImageGrid]:
    grades = range(1, len(found.corruption.strengths) + 1)
    rows: list[tuple[Picture, ...]] = []
    for example in found.examples:
        if example.image is None:
            rows.append((missing(caption=example.path.name), *(missing() for _ in grades)))
        else:
            rows.append((thumbnail(example.image, caption=example.path.name), *map(thumbnail, example.damaged)))
    headings = ("image", *(f"severity {grade}" for grade in grades))
    return [ImageGrid(tuple(rows), f"What {found.corruption.name} does", columns=headings)] if rows else []

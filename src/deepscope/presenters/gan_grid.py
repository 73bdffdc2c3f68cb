"""How the result of `deepscope gan grid` is shown."""

from __future__ import annotations

from deepscope.gans import ClassGrid
from deepscope.gans.grid import STYLED
from deepscope.presenters.gan_figures import cells, generated_by, pixel_array
from deepscope.render import presents
from deepscope.results import Block, ImageGrid, Note, Result

_LAID_OUT = "One class per row, and one latent vector z per column, which fixes the style."


@presents(ClassGrid)
def present(found: ClassGrid) -> Result:
    """The grid, and how far z determines the style."""
    images, columns = found.images.flatten(0, 1), found.images.shape[1]
    captions = [name * (column == 0) for name in found.gan.classes for column in range(columns)]
    return Result(
        title="Every class from the same z",
        metrics=dict(found.styles),
        blocks=(
            ImageGrid(cells(images, columns, captions=captions), "Every class from the same z", _LAID_OUT),
            *_styles(found),
        ),
        arrays={"images": pixel_array(images)},
        provenance=generated_by(found.gan),
    )


def _styles(found: ClassGrid) -> tuple[Block, ...]:
    if not found.styles:
        return ()
    slant, thickness = found.styles["style/slant"], found.styles["style/thickness"]
    text = (
        f"Over {STYLED} z, slant agrees within a column by {slant:.2f} and thickness by {thickness:.2f} (intraclass "
        "correlation)."
    )
    return (Note(text, "Style and z"),)

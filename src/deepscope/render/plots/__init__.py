"""Blocks as figures. The only place that imports matplotlib, and never its global state."""

from __future__ import annotations

import io

from PIL import Image
from typing_extensions import assert_never

from deepscope.render.plots import curves, grid, matrix
from deepscope.render.plots.animation import film, frames_with_captions, gif, webp
from deepscope.render.plots.canvas import DENSITY, Pixels, style
from deepscope.results import Animation, Block, Curves, Heatmap, ImageGrid, Note, Table

_WEBP_LIMIT = 16_383
"""Pixels a side that the format can hold."""

__all__ = ["DENSITY", "compact", "draw", "file", "film", "gif", "png", "webp"]


def draw(block: Block, *, titled: bool = True) -> Pixels | None:
    """The block as a still picture, or None where it is read, not looked at (a table, a note).

    Args:
        block: what to draw; an animation gives its last frame.
        titled: write the block's title above it. A page that has a heading of its own leaves it out.

    Returns:
        (H, W, 3) uint8 on white, two pixels for each CSS pixel.
    """
    with style():
        title = block.title if titled else ""
        match block:
            case ImageGrid():
                return grid.draw(block, title)
            case Heatmap():
                return matrix.draw(block, title)
            case Curves():
                return curves.draw(block, title)
            case Animation():
                return frames_with_captions(block)[-1]
            case Table() | Note():
                return None
            case _:
                assert_never(block)


def file(block: Block, *, titled: bool = True) -> bytes:
    """The block's figure as a file: GIF for an animation, PNG for the rest.

    Raises:
        ValueError: the block is not a picture.
    """
    if isinstance(block, Animation):
        return gif(block)
    pixels = draw(block, titled=titled)
    if pixels is None:
        raise ValueError(f"a {type(block).__name__} has no figure")
    return png(pixels)


def png(pixels: Pixels) -> bytes:
    """A drawn figure as a PNG file that knows its size on paper. Same pixels, same bytes."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", dpi=(96 * DENSITY, 96 * DENSITY))
    return file.getvalue()


def compact(pixels: Pixels) -> bytes:
    """A drawn figure as a WebP file for a page: a tenth of the PNG, to the eye the same."""
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    image.thumbnail((_WEBP_LIMIT, _WEBP_LIMIT))
    image.save(file, "WEBP", quality=88, method=4)
    return file.getvalue()

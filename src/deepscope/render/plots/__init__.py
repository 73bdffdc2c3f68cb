"""Blocks as figures. The only place that imports matplotlib, and never its global state."""

from __future__ import annotations

import io

from PIL import Image
from typing_extensions import assert_never

from deepscope.gallery import Gallery
from deepscope.render.plots import contact_sheet, curves, grid, matrix, tiles
from deepscope.render.plots.animation import film, frames_with_captions, gif, webp
from deepscope.render.plots.canvas import DENSITY, Pixels, style
from deepscope.render.plots.colours import overlay
from deepscope.render.plots.mp4 import mp4
from deepscope.results import Animation, Block, Curves, Figure, Heatmap, ImageGrid, Note, Table

_WEBP_LIMIT = 16_383
"""The largest side, in pixels, that the format can hold."""
_QUALITIES, _HEAVY = (88, 76, 60), 256 * 1024
"""Qualities of a figure's WebP, and the bytes beyond which the next one is tried: a whole report stays below 12 MB."""

__all__ = ["DENSITY", "compact", "draw", "files", "film", "gif", "mp4", "overlay", "png", "tile", "webp"]


def draw(block: Block, *, titled: bool = True) -> Pixels | None:
    """The block as a still image, or None for text (a table, a note).

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
            case Gallery():
                return grid.draw(contact_sheet.of(block), title) if block.pictured else None
            case Animation():
                return frames_with_captions(block)[-1]
            case Table() | Note():
                return None
            case _:
                assert_never(block)


def tile(figure: Figure) -> bytes:
    """The figure as a small WebP for a card."""

    def drawn(figure: Figure) -> Pixels:
        pixels = draw(figure, titled=False)
        assert pixels is not None
        return pixels

    return tiles.tile(figure, drawn)


def files(block: Block) -> dict[str, bytes]:
    """The block's figure as files, by suffix: an animation in every format there is, the rest as PNG, text as none."""
    if isinstance(block, Animation):
        films = {".gif": gif(block), ".webp": webp(block), ".mp4": mp4(block)}
        return {suffix: content for suffix, content in films.items() if content}
    pixels = draw(block)
    return {} if pixels is None else {".png": png(pixels)}


def png(pixels: Pixels) -> bytes:
    """A figure as a PNG file with its physical size. The same pixels give the same bytes."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", dpi=(96 * DENSITY, 96 * DENSITY))
    return file.getvalue()


def compact(pixels: Pixels) -> bytes:
    """A drawn figure as a WebP file for a page: a tenth of the PNG's size, and coarser where that is heavy."""
    image = Image.fromarray(pixels)
    image.thumbnail((_WEBP_LIMIT, _WEBP_LIMIT))
    content = b""
    for quality in _QUALITIES:
        file = io.BytesIO()
        image.save(file, "WEBP", quality=quality, method=4)
        content = file.getvalue()
        if len(content) <= _HEAVY:
            break
    return content

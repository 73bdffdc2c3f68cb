"""Blocks as figures. The only place that imports matplotlib, and never its global state."""

from __future__ import annotations

import io
from typing import Literal

from PIL import Image
from typing_extensions import assert_never

from deepscope.gallery import Gallery
from deepscope.render.plots import contact_sheet, curves, grid, matrix, tiles
from deepscope.render.plots.animation import film, frames_with_captions, gif, webp
from deepscope.render.plots.canvas import Canvas, Pixels
from deepscope.render.plots.colours import overlay
from deepscope.render.plots.mp4 import mp4
from deepscope.render.plots.style import DENSITY, SHOWN, style
from deepscope.results import Animation, Block, Curves, Figure, Heatmap, ImageGrid, Note, Table
from deepscope.settings import FigureFormat

_WEBP_LIMIT = 16_383
"""The largest side, in pixels, that the format can hold."""
VectorFormat = Literal["svg", "pdf"]
_QUALITIES, _SMALLER, HEAVY = (88, 76, 60), 0.75, 192 * 1024
"""Qualities of a figure's WebP, what its sides then shrink by, and the bytes that it takes at most: the page of a full
report, which has some 75 figures, stays below 12 MB."""

__all__ = [
    "DENSITY",
    "HEAVY",
    "SHOWN",
    "compact",
    "draw",
    "files",
    "film",
    "gif",
    "mp4",
    "overlay",
    "png",
    "tile",
    "vector",
    "webp",
]


def draw(block: Block, *, titled: bool = True) -> Pixels | None:
    """The block as a still image, or None for text (a table, a note).

    Args:
        block: what to draw; an animation gives its last frame.
        titled: write the block's title above it and its caption below. A page that says both itself leaves them out.

    Returns:
        (H, W, 3) uint8 on white, `DENSITY` pixels per CSS pixel.
    """
    if isinstance(block, Animation):
        return frames_with_captions(block)[-1]
    with style():
        canvas = _canvas(block, titled)
        return canvas and canvas.pixels()


def vector(block: Block, form: VectorFormat, *, titled: bool = True) -> bytes:
    """The block as an SVG or PDF file, in which photographs and maps are bitmaps; empty for text and animations.

    The same block gives the same bytes. Text of an SVG is drawn as outlines, and the file refers to nothing outside.
    """
    with style():
        canvas = None if isinstance(block, Animation) else _canvas(block, titled)
        if canvas is None:
            return b""
        return canvas.pdf() if form == "pdf" else canvas.svg(block.title, block.caption)  # type: ignore[union-attr]


def _canvas(block: Block, titled: bool) -> Canvas | None:
    match block:
        case ImageGrid():
            return grid.draw(block, *_words(block, titled))
        case Heatmap():
            return matrix.draw(block, *_words(block, titled))
        case Curves():
            return curves.draw(block, *_words(block, titled))
        case Gallery():
            return grid.draw(contact_sheet.of(block), *_words(block, titled)) if block.pictured else None
        case Table() | Note() | Animation():
            return None
        case _:
            assert_never(block)


def _words(figure: Figure, titled: bool) -> tuple[str, str]:
    return (figure.title, figure.caption) if titled else ("", "")


def tile(figure: Figure) -> bytes:
    """The figure as a small WebP for a card."""

    def drawn(figure: Figure) -> Pixels:
        pixels = draw(figure, titled=False)
        assert pixels is not None
        return pixels

    return tiles.tile(figure, drawn)


def files(block: Block, form: FigureFormat = "png") -> dict[str, bytes]:
    """The block's figure as files, by suffix: an animation in every format there is, the rest as PNG, text as none.

    Args:
        block: what to draw.
        form: "svg" or "pdf" adds a file of this format.
    """
    if isinstance(block, Animation):
        films = {".gif": gif(block), ".webp": webp(block), ".mp4": mp4(block)}
        return {suffix: content for suffix, content in films.items() if content}
    pixels = draw(block)
    if pixels is None:
        return {}
    found = {".png": png(pixels)}
    return found if form == "png" else {**found, f".{form}": vector(block, form)}


def png(pixels: Pixels) -> bytes:
    """A figure as a PNG file with its physical size. The same pixels give the same bytes."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", dpi=(96 * DENSITY, 96 * DENSITY))
    return file.getvalue()


def compact(pixels: Pixels) -> bytes:
    """A drawn figure as a WebP file for a page: coarser, then smaller where it takes more than `HEAVY` bytes."""
    image = Image.fromarray(pixels)
    image.thumbnail((_WEBP_LIMIT, _WEBP_LIMIT))
    for quality in _QUALITIES:
        if len(content := _webp(image, quality)) <= HEAVY:
            return content
    while len(content := _webp(image, _QUALITIES[-1])) > HEAVY:
        image = image.resize([max(1, round(side * _SMALLER)) for side in image.size], Image.Resampling.LANCZOS)
    return content


def _webp(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality, method=4)
    return file.getvalue()

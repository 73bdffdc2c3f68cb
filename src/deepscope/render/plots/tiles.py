"""Small pictures of figures: what a card shows of a grid, a curve or an animation."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageOps

from deepscope.render.plots.canvas import Pixels
from deepscope.render.plots.colours import paint
from deepscope.results import Animation, Figure, GridCell, Heatmap, ImageGrid, Picture

SIZE = (600, 400)
"""Pixels of a tile: three to two."""
_GAP = 6
_EDGE = 16
_MOST = 6
"""Cells side by side."""
_COARSE = 64
"""Images with shorter sides keep their pixels sharp when they are enlarged."""


def tile(figure: Figure, draw: Callable[[Figure], Pixels]) -> bytes:
    """A WebP of three to two: the first pictures of a grid as a mosaic, anything else small.

    Args:
        figure: what to show.
        draw: gives the whole figure, where it holds no pictures.
    """
    pixels = _mosaic(_pictures(figure)) or _fitted(Image.fromarray(draw(figure)))
    file = io.BytesIO()
    pixels.save(file, "WEBP", quality=80, method=4)
    return file.getvalue()


def _pictures(figure: Figure) -> list[list[Pixels]]:
    if isinstance(figure, Animation):
        return [[figure.frames[-1]]] if figure.frames.size else []
    if isinstance(figure, ImageGrid):
        rows = [[_pixels(cell) for cell in row if _shows(cell)] for row in figure.rows]
        return [row for row in rows if row]
    return []


def _shows(cell: GridCell) -> bool:
    return isinstance(cell, (Picture, Heatmap)) and 0 not in _pixels(cell).shape


def _pixels(cell: GridCell) -> Pixels:
    if isinstance(cell, Picture):
        return cell.pixels
    return paint(cell) if isinstance(cell, Heatmap) else np.zeros((0, 0, 3), np.uint8)


def _mosaic(rows: Sequence[Sequence[Pixels]]) -> Image.Image | None:
    """The first pictures, cropped to squares, in a grid that fills the tile."""
    if not rows:
        return None
    if min(len(rows), max(map(len, rows))) == 1:  # a strip is folded, three to two
        cells = [cell for row in rows for cell in row][: _MOST * 4]
        across = max(1, round(math.sqrt(1.5 * len(cells))))
        rows = [cells[first : first + across] for first in range(0, len(cells), across)]
    across = min(_MOST, max(map(len, rows)))
    down = min(len(rows), math.ceil(across * SIZE[1] / SIZE[0]))
    width, height = ((SIZE[place] - _GAP * (count - 1)) // count for place, count in enumerate((across, down)))
    sheet = Image.new("RGB", (across * (width + _GAP) - _GAP, down * (height + _GAP) - _GAP), "white")
    for y, row in enumerate(rows[:down]):
        for x, cell in enumerate(row[:across]):
            sheet.paste(_covering(Image.fromarray(cell), width, height), (x * (width + _GAP), y * (height + _GAP)))
    return sheet


def _covering(image: Image.Image, width: int, height: int) -> Image.Image:
    """The image's middle, as large as the cell."""
    sharp = min(image.size) < _COARSE
    return ImageOps.fit(image, (width, height), Image.Resampling.NEAREST if sharp else Image.Resampling.LANCZOS)


def _fitted(image: Image.Image) -> Image.Image:
    """The whole image in the middle of a white tile."""
    image = image.copy()
    image.thumbnail((SIZE[0] - 2 * _EDGE, SIZE[1] - 2 * _EDGE), Image.Resampling.LANCZOS)
    sheet = Image.new("RGB", SIZE, "white")
    sheet.paste(image, ((SIZE[0] - image.width) // 2, (SIZE[1] - image.height) // 2))
    return sheet

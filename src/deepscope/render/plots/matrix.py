"""`Heatmap` as a figure of its own: a map beside its scale, or a matrix with names and numbers."""

from __future__ import annotations

import math

import numpy as np

from deepscope.render.palette import INK, MUTED
from deepscope.render.plots.canvas import Canvas, Pixels, fit
from deepscope.render.plots.colours import contrast, limits, paint, ramp
from deepscope.render.plots.style import BODY, CAPTION, COLUMN, DENSITY, MARGIN, SMALL
from deepscope.render.plots.texts import block_height, fold, line_height, measure, words
from deepscope.render.text import number
from deepscope.results import Heatmap

_SIDE, _LABEL, _CELL, _BAR = 236.0, 110.0, 30.0, 46.0
_SMALL = 20
"""The most rows and columns of a matrix whose numbers are written into its cells."""
_NAMED = 64
"""The most rows and columns of a matrix whose names are written beside it."""


def draw(heatmap: Heatmap, title: str, caption: str) -> Canvas:
    """The heatmap on a sheet, below its title and above its caption where it has these, beside its colour scale."""
    matrix = Matrix(heatmap)
    about = words(title, caption, max(matrix.width + 2 * MARGIN, 200.0 if title or caption else 0.0))
    width = max(matrix.width + 2 * MARGIN, 200.0 if title or caption else 0.0)
    canvas = Canvas(width, about.top + matrix.height + about.bottom)
    canvas.words(about)
    matrix.draw(canvas, MARGIN, about.top)
    return canvas


class Matrix:
    """A heatmap with its names, numbers and colour scale; `width` and `height` in CSS pixels.

    Args:
        heatmap: what to draw.
        scale: draw the colour scale beside it where its numbers are not written.
        titled: leave room for the heatmap's own title, and draw it.
    """

    def __init__(self, heatmap: Heatmap, *, scale: bool = True, titled: bool = False) -> None:
        self.heatmap = heatmap
        self.painted = paint(heatmap)
        rows, columns = heatmap.values.shape
        labelled = bool(heatmap.rows or heatmap.columns)
        self.numbers = _numbers(heatmap, self.painted) if labelled and max(rows, columns) <= _SMALL else []
        if labelled:
            self.cell, self.number_size = _cell(rows, columns, [text for text, _ in self.numbers])
            self.size = max(1.0, self.cell * columns), max(1.0, self.cell * rows)
        else:
            self.cell, self.number_size = 0.0, CAPTION
            width, height = fit(self.painted, _SIDE)
            self.size = max(width, 18.0), max(height, 18.0)  # a single row is stretched until it can be seen
        self.names = _names(heatmap.rows, rows, self.cell)
        self.below = _names(heatmap.columns, columns, self.cell)
        size = _size(self.cell)
        longest = max((measure(name, size) for name in self.below), default=0.0)
        self.slanted = self.cell > 1.4 * line_height(size)
        self.left = max([*(measure(name, size) for name in self.names), 0.72 * longest - self.cell / 2, 0.0])
        self.left += (6 if self.names else 0) + (line_height(BODY) + 2 if heatmap.row_title else 0)
        self.bar = scale and not self.numbers
        self.width = self.left + self.size[0] + (_BAR if self.bar else 0)
        self.title = fold(heatmap.title, self.width, lines=2, bold=True) if titled else ""
        self.top = block_height(self.title, BODY) + (4 if self.title else 0)
        self.end = self.top + self.size[1] + ((0.72 if self.slanted else 1.0) * longest + 10 if self.below else 0.0)
        self.height = self.end + (line_height(BODY) + 2 if heatmap.column_title else 0)

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        """Draw it with its top left corner at that place."""
        heatmap, size, left, top = self.heatmap, _size(self.cell), x + self.left, y + self.top
        canvas.text(x, y, self.title, bold=True)
        canvas.image(left, top, *self.size, self.painted)
        for index, name in enumerate(self.names):
            middle = top + (index + 0.5) * self.cell
            canvas.text(left - 6, middle, name, size=size, across="right", down="center")
        for index, name in enumerate(self.below):
            middle = left + (index + 0.5) * self.cell
            place = (middle, top + self.size[1] + 3)
            if self.slanted:
                canvas.text(*place, name, size=size, across="right", rotation=45)
            else:
                canvas.text(*place, name, size=size, across="right", down="center", rotation=90)
        columns = heatmap.values.shape[1]
        for index, (text, colour) in enumerate(self.numbers):
            place = left + (index % columns + 0.5) * self.cell, top + (index // columns + 0.5) * self.cell
            canvas.text(*place, text, size=self.number_size, colour=colour, across="center", down="center")
        if heatmap.row_title:
            text = fold(heatmap.row_title, max(self.size[1], 60.0))
            canvas.text(x, top + self.size[1] / 2, text, across="center", rotation=90)
        if heatmap.column_title:
            text = fold(heatmap.column_title, max(self.size[0], 60.0))
            canvas.text(left + self.size[0] / 2, y + self.end + 2, text, across="center")
        if self.bar:
            _scale(canvas, heatmap, left + self.size[0] + 8, top, self.size[1])


def _scale(canvas: Canvas, heatmap: Heatmap, x: float, y: float, height: float) -> None:
    low, high = limits(heatmap)
    strip: Pixels = ramp(heatmap, np.linspace(1.0, 0.0, 256)[:, None])
    canvas.image(x, y, 7, height, strip)
    texts = [(0.0, high), (1.0, low)] if height < 60 else [(0.0, high), (0.5, low / 2 + high / 2), (1.0, low)]
    for place, value in texts:
        at = y + 4 + place * (height - 8)
        canvas.text(x + 10, at, number(float(value), ".3g"), size=CAPTION, colour=MUTED, down="center")


def _names(labels: tuple[str, ...], count: int, cell: float) -> list[str]:
    """The names beside the cells; none where there is no room for one line of text per cell."""
    if cell < line_height(SMALL):
        return []
    return [fold(label, _LABEL, size=_size(cell)) for label in labels[:count]]


def _size(cell: float) -> float:
    """The size, in points, of the names of cells of that side."""
    return CAPTION if cell >= line_height(CAPTION) else SMALL


def _cell(rows: int, columns: int, numbers: list[str]) -> tuple[float, float]:
    """The side of a cell in CSS pixels, and the size of its number in points: smaller where a column is too narrow."""
    longer = max(1, rows, columns)
    size = CAPTION
    if numbers and (_widest(numbers, size) + 5) * longer > COLUMN - _LABEL:
        size = SMALL
    least = _widest(numbers, size) + 5 if numbers else line_height(SMALL) if longer <= _NAMED else 0.0
    side = max(least, min(_CELL, _SIDE * 1.1 / longer))
    return (math.ceil(side * DENSITY) / DENSITY if side * DENSITY > 1 else side), size  # sharp edges where possible


def _widest(texts: list[str], size: float) -> float:
    return max((measure(text, size) for text in texts), default=0.0)


def _numbers(heatmap: Heatmap, painted: Pixels) -> list[tuple[str, str]]:
    """Each cell's number and its colour, row by row. Zero is left out: the others stand out."""
    values = np.asarray(heatmap.values, np.float64)
    finite = values[np.isfinite(values)]
    whole = bool((finite == np.rint(finite)).all()) and bool((np.abs(finite) < 1e6).all())
    spec = ".0f" if whole else ".2f" if bool((np.abs(finite) <= 10).all()) else ".3g"
    own = painted.shape[:2] == values.shape
    grounds = painted.reshape(-1, 3) if own else np.full((values.size, 3), 255, np.uint8)
    colours = [max((INK, "#ffffff"), key=lambda colour: contrast(colour, ground)) for ground in grounds]
    return [
        ("" if v == 0 else str(v) if not math.isfinite(v) else number(float(v), spec), colour)
        for v, colour in zip(values.ravel(), colours)
    ]

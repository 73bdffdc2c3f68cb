"""`Heatmap` as a figure of its own: a map beside its scale, or a matrix with names and numbers."""

from __future__ import annotations

import math

import numpy as np

from deepscope.render.plots.canvas import (
    BODY,
    CAPTION,
    DENSITY,
    INK,
    MARGIN,
    MUTED,
    SMALL,
    Canvas,
    Pixels,
    fit,
    fold,
    heading,
    line_height,
    measure,
)
from deepscope.render.plots.colours import limits, paint, ramp
from deepscope.render.text import number
from deepscope.results import Heatmap

_SIDE, _LABEL = 420.0, 170.0
_SMALL = 20
"""The most rows and columns of a matrix whose numbers are written into its cells."""
_NAMED = 64
"""The most rows and columns of a matrix whose names are written beside it."""


def draw(heatmap: Heatmap, title: str, *, scale: bool = True) -> Pixels:
    """The heatmap as an image, below its title where it has one, beside its colour scale where `scale`."""
    rows, columns = heatmap.values.shape
    labelled = bool(heatmap.rows or heatmap.columns)
    numbers = _numbers(heatmap) if labelled and max(rows, columns) <= _SMALL else []
    painted = paint(heatmap)
    if labelled:
        cell = _cell(rows, columns, numbers)
        width, height = max(1.0, cell * columns), max(1.0, cell * rows)
    else:
        cell = 0.0
        width, height = fit(painted, _SIDE)
        width, height = max(width, 24.0), max(height, 24.0)  # a single row is stretched until it can be seen
    names = _names(heatmap.rows, rows, cell)
    below = _names(heatmap.columns, columns, cell)
    size = _size(cell)
    longest = max((measure(name, size) for name in below), default=0.0)
    left = MARGIN + max([*(measure(name, size) for name in names), 0.72 * longest - cell / 2]) + (8 if names else 0)
    left += line_height(BODY) + 4 if heatmap.row_title else 0
    bar = scale and not numbers
    total = left + width + (70 if bar else 0) + MARGIN
    total = max(total, 144.0) if title else total
    head, top = heading(title, total)
    slanted = cell > 1.4 * line_height(size)
    foot = (0.72 if slanted else 1.0) * longest + 14 if below else 0.0
    end = top + height + foot
    canvas = Canvas(total, end + (line_height(BODY) + 4 if heatmap.column_title else 0) + MARGIN)
    canvas.title(head)
    canvas.image(left, top, width, height, painted)
    for index, name in enumerate(names):
        canvas.text(left - 8, top + (index + 0.5) * cell, name, size=size, across="right", down="center")
    for index, name in enumerate(below):
        middle = left + (index + 0.5) * cell
        place = (middle + 4, top + height + 6) if slanted else (middle - cell / 2, top + height + 6)
        canvas.text(*place, name, size=size, across="right", rotation=45 if slanted else 90)
    for index, (text, dark) in enumerate(numbers):
        place = left + (index % columns + 0.5) * cell, top + (index // columns + 0.5) * cell
        canvas.text(*place, text, size=CAPTION, colour="white" if dark else INK, across="center", down="center")
    if heatmap.row_title:
        text = fold(heatmap.row_title, max(height, 60.0))
        canvas.text(MARGIN + line_height(BODY) / 2, top + height / 2, text, across="center", down="center", rotation=90)
    if heatmap.column_title:
        text = fold(heatmap.column_title, max(width, 60.0))
        canvas.text(left + width / 2, end + 4, text, across="center")
    if bar:
        _scale(canvas, heatmap, left + width + 12, top, height)
    return canvas.pixels()


def _scale(canvas: Canvas, heatmap: Heatmap, x: float, y: float, height: float) -> None:
    low, high = limits(heatmap)
    strip = ramp(heatmap, np.linspace(1.0, 0.0, 256)[:, None])
    canvas.image(x, y, 9, height, strip)
    texts = [(0.0, high), (1.0, low)] if height < 60 else [(0.0, high), (0.5, low / 2 + high / 2), (1.0, low)]
    for place, value in texts:
        at = y + 5 + place * (height - 10)
        canvas.text(x + 14, at, number(float(value), ".3g"), size=CAPTION, colour=MUTED, down="center")


def _names(labels: tuple[str, ...], count: int, cell: float) -> list[str]:
    """The names beside the cells; none where there is no room for one line of text per cell."""
    if cell < line_height(SMALL):
        return []
    return [fold(label, _LABEL, size=_size(cell)) for label in labels[:count]]


def _size(cell: float) -> float:
    """The size, in points, of the names of cells of that side."""
    return BODY if cell >= line_height(BODY) else SMALL


def _cell(rows: int, columns: int, numbers: list[tuple[str, bool]]) -> float:
    """The side of a cell in CSS pixels."""
    widest = max((measure(text, CAPTION) for text, _ in numbers), default=0.0)
    longer = max(1, rows, columns)
    least = widest + 8 if numbers else line_height(SMALL) if longer <= _NAMED else 0.0
    side = max(least, min(34.0, _SIDE * 1.3 / longer))
    return math.ceil(side * DENSITY) / DENSITY if side * DENSITY > 1 else side  # sharp edges where there can be any


def _numbers(heatmap: Heatmap) -> list[tuple[str, bool]]:
    """Each cell's number and whether its ground is dark, row by row. Zero is left out: the others stand out."""
    values = np.asarray(heatmap.values, np.float64)
    finite = values[np.isfinite(values)]
    whole = bool((finite == np.rint(finite)).all()) and bool((np.abs(finite) < 1e6).all())
    spec = ".0f" if whole else ".2f" if bool((np.abs(finite) <= 10).all()) else ".3g"
    dark = (paint(heatmap).astype(np.float64) @ np.array([0.299, 0.587, 0.114])) < 140
    flat = dark.ravel() if dark.shape == values.shape else np.zeros(values.size, bool)
    return [
        ("" if v == 0 else str(v) if not math.isfinite(v) else number(float(v), spec), bool(d))
        for v, d in zip(values.ravel(), flat)
    ]

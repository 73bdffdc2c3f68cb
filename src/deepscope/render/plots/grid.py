"""`ImageGrid`: rows of pictures, bars and maps as one figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from typing_extensions import assert_never

from deepscope.render.plots import matrix
from deepscope.render.plots.canvas import (
    ACCENT,
    BODY,
    CAPTION,
    DENSITY,
    FAINT,
    INK,
    MARGIN,
    MARK,
    MUTED,
    Canvas,
    Pixels,
    block_height,
    fit,
    fold,
    heading,
    measure,
)
from deepscope.render.plots.colours import paint
from deepscope.render.text import number
from deepscope.results import Bars, GridCell, Heatmap, ImageGrid, Picture

WIDTH = 960.0
"""CSS pixels that a grid of several columns is about as wide as."""
TALLEST = 7_500.0
"""CSS pixels of rows that are drawn; the rest is counted in a last line."""
_BAR, _LABEL, _VALUE, _MOST_BARS = 170.0, 190.0, 44.0, 40


class _Content(Protocol):
    """What stands in a cell, above its caption. `width` and `height` are CSS pixels."""

    @property
    def width(self) -> float: ...
    @property
    def height(self) -> float: ...
    def draw(self, canvas: Canvas, x: float, y: float) -> None: ...


def draw(grid: ImageGrid, title: str) -> Pixels:
    """The grid as an image, below its title where it has one."""
    columns = max((len(row) for row in grid.rows), default=0)
    side = _side(grid, columns)
    rows = [[_content(cell, side) for cell in row] for row in grid.rows]
    widths = [max(row[c].width for row in rows if c < len(row)) for c in range(columns)]
    gap = 18.0 if columns <= 4 else 10.0 if _captioned(grid) else 4.0
    width = max(2 * MARGIN + sum(widths) + gap * (columns - 1), 160.0)
    lefts = [MARGIN + sum(widths[:c]) + gap * c for c in range(columns)]
    captions = [[fold(cell.caption, w, size=CAPTION, lines=4) for cell, w in zip(row, widths)] for row in grid.rows]
    tall = [max((content.height for content in row), default=0) for row in rows]
    heights = [
        height + max((block_height(text, CAPTION) for text in texts), default=0) + gap
        for height, texts in zip(tall, captions)
    ]
    shown = _shown(heights)
    rest = f"and {len(rows) - shown} more rows" if shown < len(rows) else ""
    size = BODY if columns <= 6 else CAPTION
    headings = [fold(text, w + gap / 2, size=size, lines=3, bold=True) for text, w in zip(grid.columns, widths)]
    head, top = heading(title, width)
    y = top + (max(block_height(text, size) for text in headings) + 6 if headings else 0)
    canvas = Canvas(width, y + sum(heights[:shown]) - (gap if shown else 0) + block_height(rest, BODY) + MARGIN)
    canvas.title(head)
    for left, column, text in zip(lefts, widths, headings):
        canvas.text(left + column / 2, y - 6, text, size=size, across="center", down="bottom", bold=True)
    for row, texts, height, step in zip(rows[:shown], captions, tall, heights):
        for left, column, content, text in zip(lefts, widths, row, texts):
            content.draw(canvas, left + (column - content.width) / 2, y + (height - content.height) / 2)
            canvas.text(left + column / 2, y + height + 4, text, size=CAPTION, colour=MUTED, across="center")
        y += step
    canvas.text(MARGIN, y - gap, rest, colour=MUTED)
    return canvas.pixels()


def _content(cell: GridCell, side: float) -> _Content:
    match cell:
        case Picture():
            return _Photo(cell.pixels, *fit(cell.pixels, side), cell.points, cell.boxes)
        case Heatmap() if cell.rows or cell.columns or cell.title:
            pixels = matrix.draw(cell, cell.title, scale=False)
            return _Photo(pixels, pixels.shape[1] / DENSITY, pixels.shape[0] / DENSITY)
        case Heatmap():
            pixels = paint(cell)
            return _Photo(pixels, *fit(pixels, side))
        case Bars():
            return _BarChart(cell)
        case _:
            assert_never(cell)


@dataclass(frozen=True)
class _Photo:
    pixels: Pixels
    width: float
    height: float
    points: tuple[tuple[float, float], ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        canvas.image(x, y, self.width, self.height, self.pixels)
        across = self.width / max(1, self.pixels.shape[1])
        down = self.height / max(1, self.pixels.shape[0])
        for left, top, right, bottom in self.boxes:
            place = (x + left * across, y + top * down, (right - left) * across, (bottom - top) * down)
            canvas.rectangle(*place, "white", line=3.5)  # a white edge keeps the line visible on any picture
            canvas.rectangle(*place, MARK, line=1.75)
        for column, row in self.points:
            centre = (x + (column + 0.5) * across, y + (row + 0.5) * down)
            radius = max(7.0, across)
            canvas.ring(*centre, radius, "white", line=3.5)
            canvas.ring(*centre, radius, MARK, line=1.75)


class _BarChart:
    """Label, bar, number in each row. Long labels fold; none runs into its bar."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        labels = bars.labels[:_MOST_BARS]
        self.labels = [fold(label, _LABEL, lines=3) for label in labels]
        self.left = max((measure(line) for label in self.labels for line in label.split("\n")), default=0) + 8
        self.steps = [max(20.0, block_height(label, BODY) + 4) for label in self.labels]
        self.rest = f"and {len(bars.labels) - _MOST_BARS} more" if len(bars.labels) > _MOST_BARS else ""
        self.width = self.left + _BAR + _VALUE
        self.height = sum(self.steps) + block_height(self.rest, CAPTION)

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        bars, left = self.bars, x + self.left
        shares = bars.limit == 1.0 and all(not (value > 1 or value < 0) for value in bars.values)
        for index, (label, value, step) in enumerate(zip(self.labels, bars.values, self.steps)):
            marked = index == bars.mark
            middle = y + step / 2
            length = _BAR * _part(value, bars.limit)
            canvas.text(left - 8, middle, label, across="right", down="center", colour=MARK if marked else INK)
            canvas.rectangle(left, middle - 6, _BAR, 12, FAINT)
            canvas.rectangle(left, middle - 6, length, 12, MARK if marked else ACCENT)
            text = number(value, ".1%" if shares else ".3g")
            canvas.text(left + _BAR + 6, middle, text, size=CAPTION, colour=MUTED, down="center")
            y += step
        canvas.text(left, y, self.rest, size=CAPTION, colour=MUTED)


def _part(value: float, limit: float) -> float:
    """The part of its cell that a bar fills, 0 to 1."""
    part = value / limit if limit and abs(limit) > 1e-300 else 0.0
    return min(1.0, max(0.0, part)) if part == part else 0.0


def _side(grid: ImageGrid, columns: int) -> float:
    """The length, in CSS pixels, of a picture's longer side: what the number of columns leaves room for."""
    charts: dict[int, float] = {}
    for row in grid.rows:
        for c, cell in enumerate(row):
            if isinstance(cell, Bars):
                charts[c] = max(charts.get(c, 0), _BarChart(cell).width)
    pictures = max(1, columns - len(charts))
    if columns == 1 and len(grid.rows) == 1:
        return 448.0
    room = WIDTH - sum(charts.values())
    least = 112.0 if charts else 64.0  # beside charts there are few pictures, and they matter
    return min(80.0 if columns > 5 and not _captioned(grid) else 224.0, max(least, room / pictures - 16))


def _captioned(grid: ImageGrid) -> bool:
    return any(cell.caption for row in grid.rows for cell in row)


def _shown(heights: Sequence[float]) -> int:
    """How many rows the tallest sheet has room for; at least one."""
    total = 0.0
    for index, height in enumerate(heights):
        total += height
        if total > TALLEST and index:
            return index
    return len(heights)

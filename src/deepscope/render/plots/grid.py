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
    MARK,
    MUTED,
    TITLE,
    Canvas,
    Pixels,
    block_height,
    fit,
    fold,
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
    side = _side(grid)
    rows = [[(_content(cell, side), cell) for cell in row] for row in grid.rows]
    columns = max((len(row) for row in rows), default=0)
    widths = [max((row[c][0].width for row in rows if c < len(row)), default=0) for c in range(columns)]
    captioned = any(cell.caption for row in grid.rows for cell in row)
    gap = 18.0 if captioned or columns <= 4 else 4.0
    margin = 12.0
    width = max(margin * 2 + sum(widths) + gap * (columns - 1), 160.0)
    head = fold(title, width - 2 * margin, size=TITLE, lines=3, bold=True) if title else ""
    headings = [fold(text, widths[c] + gap / 2, lines=2, bold=True) for c, text in enumerate(grid.columns[:columns])]
    captions = [
        [
            fold(cell.caption, widths[c], size=CAPTION, lines=4) if cell.caption else ""
            for c, (_, cell) in enumerate(row)
        ]
        for row in rows
    ]
    heights = [
        (
            max((content.height for content, _ in row), default=0),
            max((block_height(t, CAPTION) for t in texts), default=0),
        )
        for row, texts in zip(rows, captions)
    ]
    shown = _shown([sum(pair) + gap for pair in heights])
    top = margin + (block_height(head, TITLE) + 8 if head else 0)
    below = top + (max(block_height(text, BODY) for text in headings) + 6 if headings else 0)
    rest = f"and {len(rows) - shown} more rows" if shown < len(rows) else ""
    bottom = below + sum(sum(pair) + gap for pair in heights[:shown]) - (gap if shown else 0) + block_height(rest, BODY)
    canvas = Canvas(width, bottom + margin)
    lefts = [margin + sum(widths[:c]) + gap * c for c in range(columns)]
    if head:
        canvas.text(margin, margin, head, size=TITLE, bold=True)
    for left, column_width, text in zip(lefts, widths, headings):
        canvas.text(left + column_width / 2, below - 6, text, across="center", down="bottom", bold=True)
    y = below
    for row, texts, (content_height, caption_height) in zip(rows[:shown], captions, heights):
        for left, column_width, (content, _), caption in zip(lefts, widths, row, texts):
            content.draw(canvas, left + (column_width - content.width) / 2, y + (content_height - content.height) / 2)
            middle = left + column_width / 2
            canvas.text(middle, y + content_height + 4, caption, size=CAPTION, colour=MUTED, across="center")
        y += content_height + caption_height + gap
    if rest:
        canvas.text(margin, y, rest, colour=MUTED)
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


def _side(grid: ImageGrid) -> float:
    """The length, in CSS pixels, of a picture's longer side: what the number of columns leaves room for."""
    columns = max((len(row) for row in grid.rows), default=1) or 1
    charts = {c for row in grid.rows for c, cell in enumerate(row) if isinstance(cell, Bars)}
    pictures = max(1, columns - len(charts))
    if columns == 1 and len(grid.rows) == 1:
        return 448.0
    room = WIDTH - len(charts) * (_LABEL + _BAR + _VALUE)
    plain = columns > 5 and not any(cell.caption for row in grid.rows for cell in row)
    return min(80.0 if plain else 224.0, max(64.0, room / pictures - 16))


def _shown(heights: Sequence[float]) -> int:
    """How many rows the tallest sheet has room for; at least one."""
    total = 0.0
    for index, height in enumerate(heights):
        total += height
        if total > TALLEST and index:
            return index
    return len(heights)

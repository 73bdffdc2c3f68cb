"""`ImageGrid`: rows of pictures, bars and maps as one figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from typing_extensions import assert_never

from deepscope.render.palette import ACCENT, FAINT, INK, MARK, MARK_TEXT, MUTED
from deepscope.render.plots.canvas import Canvas, Pixels, fit
from deepscope.render.plots.colours import paint
from deepscope.render.plots.matrix import Matrix
from deepscope.render.plots.style import BODY, CAPTION, COLUMN, MARGIN
from deepscope.render.plots.texts import block_height, fold, measure, pieces, words
from deepscope.render.text import number
from deepscope.results import Bars, GridCell, Heatmap, ImageGrid, Picture

WIDTH = 1.5 * COLUMN
"""About the width of a grid of several columns: text is then 5 points high in a column of a journal, the least that
these take. Grids of more than six pictures side by side, or of two charts, are wider."""
TALLEST = 5_000.0
"""CSS pixels of rows that are drawn; the rest is counted in a last line."""
_ALONE, _PICTURE, _BESIDE = 300.0, 150.0, 96.0
"""The longer side of a picture that stands alone, and at most of those in a row, and in a row with charts."""
_CHARTED, _CAPTIONED, _BARE = 72.0, 56.0, 36.0
"""Its least length beside charts, with a caption, and without one."""
_VALUE, _MOST_BARS, _STEP = 36.0, 40, 16.0
_LABELS, _BARS = (130.0, 92.0), (110.0, 64.0)
"""Room for labels and bars, of one chart in a row and of more."""
_WORD = 84.0
"""The width up to which a column grows beyond its pictures, so that no word of its texts is broken."""


class _Content(Protocol):
    """What stands in a cell, above its caption. `width` and `height` are CSS pixels."""

    @property
    def width(self) -> float: ...
    @property
    def height(self) -> float: ...
    def draw(self, canvas: Canvas, x: float, y: float) -> None: ...


def draw(grid: ImageGrid, title: str, caption: str) -> Canvas:
    """The grid on a sheet, below its title and above its caption where it has these."""
    columns = max((len(row) for row in grid.rows), default=0)
    rows = _contents(grid, columns)
    size = BODY if columns <= 6 else CAPTION
    widths = [_width(grid, rows, column, size) for column in range(columns)]
    gap = 10.0 if columns <= 4 else 6.0 if _captioned(grid) else 3.0
    width = max(2 * MARGIN + sum(widths) + gap * (columns - 1), 160.0)
    lefts = [MARGIN + sum(widths[:c]) + gap * c for c in range(columns)]
    captions = [[fold(cell.caption, w, size=CAPTION, lines=5) for cell, w in zip(row, widths)] for row in grid.rows]
    tall = [max((content.height for content in row), default=0) for row in rows]
    heights = [
        height + max((block_height(text, CAPTION) + 1 for text in texts if text), default=0) + gap
        for height, texts in zip(tall, captions)
    ]
    shown = _shown(heights)
    rest = f"and {len(rows) - shown} more rows" if shown < len(rows) else ""
    headings = [fold(text, w + gap / 2, size=size, lines=3, bold=True) for text, w in zip(grid.columns, widths)]
    about = words(title, caption, width)
    y = about.top + (max(block_height(text, size) for text in headings) + 3 if headings else 0)
    end = y + sum(heights[:shown]) - (gap if shown else 0) + block_height(rest, BODY)
    canvas = Canvas(width, end + about.bottom)
    canvas.words(about)
    for left, column, text in zip(lefts, widths, headings):
        canvas.text(left + column / 2, y - 3, text, size=size, across="center", down="bottom", bold=True)
    for row, texts, height, step in zip(rows[:shown], captions, tall, heights):
        for left, column, content, text in zip(lefts, widths, row, texts):
            content.draw(canvas, left + (column - content.width) / 2, y + (height - content.height) / 2)
            below = y + (height + content.height) / 2 + 1
            canvas.text(left + column / 2, below, text, size=CAPTION, colour=MUTED, across="center")
        y += step
    canvas.text(MARGIN, y - gap, rest, colour=MUTED)
    return canvas


def _contents(grid: ImageGrid, columns: int) -> list[list[_Content]]:
    """What is drawn in each cell: charts of their own size, and pictures as large as these leave room for."""
    charts = {c for row in grid.rows for c, cell in enumerate(row) if isinstance(cell, Bars)}
    several = len(charts) > 1
    drawn = [(c, _BarChart(cell, several)) for row in grid.rows for c, cell in enumerate(row) if isinstance(cell, Bars)]
    beside = sum(max(chart.width for c, chart in drawn if c == column) for column in charts)
    if columns == 1 and len(grid.rows) == 1:
        side = _ALONE
    else:
        least = _CHARTED if charts else _CAPTIONED if _captioned(grid) else _BARE
        room = (WIDTH - beside - 2 * MARGIN) / max(1, columns - len(charts)) - 10
        side = min(_BESIDE if charts else _PICTURE, max(least, room))
    made = [[_content(cell, side, several) for cell in row] for row in grid.rows]
    for column in charts:  # bars below each other begin at one place
        below = [one for row in made for one in row[column : column + 1] if isinstance(one, _BarChart)]
        left = max(chart.left for chart in below)
        for chart in below:
            chart.left = left
    return made


def _width(grid: ImageGrid, rows: Sequence[Sequence[_Content]], column: int, size: float) -> float:
    """The width of a column: its widest content, or the longest word of its texts where that is not much wider."""
    content = max(row[column].width for row in rows if column < len(row))
    captions = [part for row in grid.rows if column < len(row) for part in pieces(row[column].caption)]
    longest = max((measure(part, CAPTION) for part in captions), default=0.0)
    if column < len(grid.columns):
        longest = max(longest, *(measure(part, size, True) for part in pieces(grid.columns[column])))
    return max(content, min(longest + 1, _WORD))


def _content(cell: GridCell, side: float, several: bool) -> _Content:
    match cell:
        case Picture():
            return _Photo(cell.pixels, *fit(cell.pixels, side), cell.points, cell.boxes)
        case Heatmap() if cell.rows or cell.columns or cell.title:
            return Matrix(cell, scale=False, titled=True)
        case Heatmap():
            pixels = paint(cell)
            return _Photo(pixels, *fit(pixels, side))
        case Bars():
            return _BarChart(cell, several)
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
            canvas.rectangle(*place, "white", line=3)  # a white edge keeps the line visible on any picture
            canvas.rectangle(*place, MARK, line=1.5)
        for column, row in self.points:
            centre = (x + (column + 0.5) * across, y + (row + 0.5) * down)
            radius = max(5.0, across)
            canvas.ring(*centre, radius, "white", line=3)
            canvas.ring(*centre, radius, MARK, line=1.5)


class _BarChart:
    """Label, bar, number in each row. Long labels fold; none runs into its bar."""

    def __init__(self, bars: Bars, several: bool) -> None:
        self.bars = bars
        room, self.length = _LABELS[several], _BARS[several]
        labels = bars.labels[:_MOST_BARS]
        self.labels = [fold(label, room, lines=3) for label in labels]
        self.left = max((measure(line) for label in self.labels for line in label.split("\n")), default=0) + 5
        self.steps = [max(_STEP, block_height(label, BODY) + 2) for label in self.labels]
        self.rest = f"and {len(bars.labels) - _MOST_BARS} more" if len(bars.labels) > _MOST_BARS else ""
        self.height = sum(self.steps) + block_height(self.rest, CAPTION)

    @property
    def width(self) -> float:
        return self.left + self.length + _VALUE

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        bars, left = self.bars, x + self.left
        shares = bars.limit == 1.0 and all(not (value > 1 or value < 0) for value in bars.values)
        for index, (label, value, step) in enumerate(zip(self.labels, bars.values, self.steps)):
            marked = index == bars.mark
            middle = y + step / 2
            canvas.text(left - 5, middle, label, across="right", down="center", colour=MARK_TEXT if marked else INK)
            canvas.rectangle(left, middle - 5, self.length, 10, FAINT)
            canvas.rectangle(left, middle - 5, self.length * _part(value, bars.limit), 10, MARK if marked else ACCENT)
            text = f"{number(100 * value, '.1f')}\N{NO-BREAK SPACE}%" if shares else number(value, ".3g")
            canvas.text(left + self.length + 4, middle, text, size=CAPTION, colour=MUTED, down="center")
            y += step
        canvas.text(left, y, self.rest, size=CAPTION, colour=MUTED)


def _part(value: float, limit: float) -> float:
    """The part of its cell that a bar fills, 0 to 1."""
    part = value / limit if limit and abs(limit) > 1e-300 else 0.0
    return min(1.0, max(0.0, part)) if part == part else 0.0


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

"""A `Result` in the terminal. Its texts are printed literally: no markup and no control codes."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text
from typing_extensions import assert_never

from deepscope.gallery import Gallery
from deepscope.names import counted, one_line, printable, visible
from deepscope.render.folder import figures
from deepscope.render.text import cell, duration, number, numeric
from deepscope.results import Animation, Block, Column, Curves, Figure, Heatmap, ImageGrid, Note, Result, Table

_MARK = "*"


def show(result: Result, console: Console, folder: Path | None = None) -> None:
    """Print the result.

    Args:
        result: what to print.
        console: where to; its width and colours are kept to.
        folder: where the result was saved, to say where its figures are.
    """
    console.print(_Plain(console).result(result, folder), soft_wrap=False)


class _Plain:
    """Renders texts as the console's encoding can write them."""

    def __init__(self, console: Console) -> None:
        self.encoding, self.width = console.encoding, console.width

    def result(self, result: Result, folder: Path | None) -> RenderableType:
        parts = [self.text(one_line(result.title), "bold")]
        parts += [self.block(block, name, folder) for block, name in zip(result.blocks, figures(result))]
        if result.metrics and not any(isinstance(block, Table) for block in result.blocks):
            parts.append(self.block(metrics_table(result), "", folder))
        parts.append(self.text(origin(result), "dim"))
        count = sum(map(bool, figures(result)))
        if folder is not None:
            parts.append(self.text(f"Saved in {folder}", "dim"))
        elif count:
            parts.append(self.text(f"Add --out FOLDER to save {counted(count, 'figure')}.", "dim"))
        return Group(*(Padding(part, (0, 0, 1, 0)) for part in parts[:-1]), parts[-1])

    def block(self, block: Block, name: str, folder: Path | None) -> RenderableType:
        match block:
            case Table():
                return self.table(block)
            case Note():
                return self.note(block)
            case ImageGrid() | Heatmap() | Curves() | Animation() | Gallery():
                return self.figure(block, name, folder)
            case _:
                assert_never(block)

    def table(self, table: Table) -> RenderableType:
        parts: list[RenderableType] = [self.text(one_line(table.title), "bold")] if table.title else []
        parts.append(self.records(table) if self.narrow(table) else self.grid(table))
        if table.caption:
            parts.append(self.text(printable(table.caption), "dim"))
        return Group(*parts)

    def grid(self, table: Table) -> RenderableType:
        grid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
        for index, column in enumerate(table.columns):
            right = numeric(table, index)
            grid.add_column(
                self.text(visible(column.name)), justify="right" if right else "left", overflow="fold", no_wrap=right
            )
        for index, row in enumerate(table.rows):
            marked = index == table.mark
            texts = [self.text(cell(value, column)) for value, column in zip(row, table.columns)]
            if marked and texts:
                texts[0].append(f" {_MARK}")
            grid.add_row(*texts, style="bold green" if marked else "")
        return grid

    def records(self, table: Table) -> RenderableType:
        """Each row as lines of `name: value`, for a table wider than the console."""
        lines = RichTable.grid(padding=(0, 2))
        lines.add_column(style="dim", overflow="fold", max_width=max(8, self.width // 2))
        lines.add_column(overflow="fold")
        for index, row in enumerate(table.rows):
            marked = index == table.mark
            for place, (value, column) in enumerate(zip(row, table.columns)):
                text = self.text(cell(value, column), "bold green" if marked else "")
                if marked and place == 0:
                    text.append(f" {_MARK}")
                lines.add_row(self.text(visible(column.name)), text)
            lines.add_row("", "")
        return lines

    def narrow(self, table: Table) -> bool:
        """Whether the console is too narrow for the table even with its texts folded."""
        needed = 0
        for index, column in enumerate(table.columns):
            widest = max([len(column.name), *(len(cell(row[index], column)) for row in table.rows)])
            needed += 2 + (widest if numeric(table, index) else min(widest, 12))  # numbers and their names never fold
        return needed > self.width

    def note(self, note: Note) -> RenderableType:
        word, style = {"info": ("", ""), "warning": ("Warning", "yellow"), "verdict": ("Verdict", "cyan")}[note.level]
        head = ": ".join(part for part in (word, one_line(note.title)) if part)
        text = self.text(f"{head}. " if head else "", f"bold {style}".strip())
        return text.append_text(self.text(printable(note.text)))

    def figure(self, block: Figure, name: str, folder: Path | None) -> RenderableType:
        text = self.text(one_line(block.title) or type(block).__name__, "bold")
        text.append(f" ({describe(block)})")
        if folder is not None and name:
            text.append_text(self.text(f": {folder / name}"))
        return Group(text, self.text(printable(block.caption), "dim")) if block.caption else text

    def text(self, text: str, style: str = "") -> Text:
        text = printable(text).encode(self.encoding, "replace").decode(self.encoding)
        return Text(text, style=style, overflow="fold")


def describe(block: Figure) -> str:
    """A short description of a figure's content."""
    match block:
        case ImageGrid():
            cells = sum(len(row) for row in block.rows)
            return f"grid of {counted(cells, 'cell')} in {counted(len(block.rows), 'row')}"
        case Heatmap():
            rows, columns = block.values.shape
            return f"heatmap, {rows} x {columns}"
        case Curves():
            names = ", ".join(visible(series.label) for series in block.series[:4])
            return (
                counted(len(block.series), "curve")
                + (f": {names}" if names else "")
                + (" ..." if len(block.series) > 4 else "")
            )
        case Animation():
            frames, height, width, _ = block.frames.shape
            return f"animation, {counted(frames, 'frame')} of {width} x {height}"
        case Gallery():
            measured = ", ".join(visible(one.title) for one in block.measured[:4])
            more = " ..." if len(block.measured) > 4 else ""
            return counted(len(block), "image") + (f" with {measured}{more}" if measured else "")
        case _:
            assert_never(block)


def metrics_table(result: Result) -> Table:
    """The metrics as a table, an interval in the row of its figure."""
    rows = []
    for name, value in result.metrics.items():
        base = name.removesuffix("/low").removesuffix("/high")
        if base != name and base in result.metrics:
            continue
        low, high = result.metrics.get(f"{name}/low"), result.metrics.get(f"{name}/high")
        interval = f"{number(low)} to {number(high)}" if low is not None and high is not None else None
        rows.append((name, value, interval))
    ends = any(interval for *_, interval in rows)
    columns = (Column("metric"), Column("value"), Column("interval"))[: 3 if ends else 2]
    return Table(columns, tuple(row[: len(columns)] for row in rows))


def origin(result: Result) -> str:
    """One line on where the result came from."""
    provenance = result.provenance
    parts = [
        ", ".join(provenance.models),
        provenance.data,
        f"seed {provenance.seed}",
        f"{provenance.device} {provenance.precision}".strip(),
        provenance.engine if provenance.engine != "torch" else "",
        duration(provenance.seconds) if provenance.seconds else "",
    ]
    return one_line(" · ".join(part for part in parts if part))

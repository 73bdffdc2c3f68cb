"""A `Result` as self-contained HTML: inline styles, images as data, no script, no request."""

from __future__ import annotations

import base64
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import assert_never

from deepscope.gallery import Gallery
from deepscope.names import one_line
from deepscope.render import palette
from deepscope.render.templates import Templates
from deepscope.render.terminal import describe, metrics_table
from deepscope.render.text import cell, number, numeric
from deepscope.results import Animation, Bars, Block, Curves, Figure, Heatmap, ImageGrid, Note, Result, Table

if TYPE_CHECKING:
    from deepscope.render.plots.animation import Film

TEMPLATES = Templates(Path(__file__).parent / "templates")
"""Of results and of the pages around them."""
_LONGEST = 400
"""Characters of settings below a figure."""


def fragment(result: Result, *, style: bool = True, films: bool = False) -> str:
    """The result as one `<article>`.

    Args:
        result: what to show.
        style: put deepscope's style sheet, scoped to `.deepscope`, before it.
        films: show only the last frame of an animation, with all frames in a `<template class="film">` beside
            it, for a page whose script makes players of them.
    """
    return TEMPLATES.render(
        "fragment.html.jinja",
        result=result,
        views=[_view(block, films) for block in _blocks(result)],
        settings=_settings(result),
        style=styles() if style else "",
    )


@dataclass(frozen=True)
class Shown:
    """A block as HTML, for a page with an order of its own; the size is a figure's, in CSS pixels."""

    block: Block
    html: str
    width: int = 0
    height: int = 0


def shown(result: Result, *, films: bool = False) -> list[Shown]:
    """Each block of the result by itself, in `fragment`'s words; its metrics last where it has no table."""
    settings, found = _settings(result), list[Shown]()
    for block in _blocks(result):
        view = _view(block, films)
        html = TEMPLATES.render("block.html.jinja", view=view, settings=settings, result=result)
        found.append(Shown(block, html, view.width, view.height) if isinstance(view, _Image) else Shown(block, html))
    return found


def tile(figure: Figure) -> str:
    """A small picture of a figure for a card, as a data URI."""
    from deepscope.render import plots

    return data_uri("image/webp", plots.tile(figure))


def words(figure: Figure) -> str:
    """What a figure shows, for those who cannot see it."""
    parts = (one_line(figure.title), describe(figure), one_line(figure.caption))
    return ". ".join(part for part in parts if part)


def chart(figure: Figure) -> bool:
    """Whether a figure is lines, bars or a matrix alone: on a dark page, its light and dark may be exchanged."""
    if isinstance(figure, ImageGrid):
        return all(isinstance(cell, Bars) for row in figure.rows for cell in row)
    return isinstance(figure, Curves) or (isinstance(figure, Heatmap) and bool(figure.rows or figure.columns))


def page(results: Sequence[Result], title: str) -> str:
    """A whole document: the title, a table of contents, and each result."""
    fragments = [fragment(result, style=False) for result in results]
    return TEMPLATES.render("page.html.jinja", title=title, results=results, fragments=fragments, style=styles())


@functools.cache
def styles() -> str:
    """The style sheet; every rule is below `.deepscope`. Its colours are those of the figures."""
    return palette.css() + TEMPLATES.text("deepscope.css")


@dataclass(frozen=True)
class _Image:
    """A figure: its picture as a data URI, the still of an animation or all its frames, its width in CSS pixels."""

    block: Figure
    source: str
    still: str
    film: Film | None
    width: int
    height: int
    alternative: str
    kind: str = "figure"

    @property
    def chart(self) -> bool:
        """For the style sheet."""
        return chart(self.block)

    @property
    def shape(self) -> str:
        """Width by height, for the style sheet."""
        return f"{self.width / max(1, self.height):.3f}"

    @property
    def film_source(self) -> str:
        return data_uri("image/webp", self.film.webp) if self.film else ""


@dataclass(frozen=True)
class _Grid:
    """A table with its cells as text; `classes` has one entry per column."""

    block: Table
    rows: list[list[str]]
    classes: list[str]
    kind: str = "table"


@dataclass(frozen=True)
class _Text:
    block: Note
    kind: str = "note"


def _blocks(result: Result) -> tuple[Block, ...]:
    """What is shown: a gallery of figures alone is for other programs, and for the explorer."""
    blocks = tuple(block for block in result.blocks if not isinstance(block, Gallery) or block.pictured)
    if result.metrics and not any(isinstance(block, Table) for block in blocks):
        return (*blocks, metrics_table(result))
    return blocks


def _view(block: Block, films: bool) -> _Image | _Grid | _Text:
    match block:
        case Table():
            rows = [[cell(value, column) for value, column in zip(row, block.columns)] for row in block.rows]
            return _Grid(block, rows, ["number" if numeric(block, i) else "" for i in range(len(block.columns))])
        case Note():
            return _Text(block)
        case ImageGrid() | Heatmap() | Curves() | Animation() | Gallery():
            return _image(block, films)
        case _:
            assert_never(block)


def _image(block: Figure, films: bool) -> _Image:
    from deepscope.render import plots

    pixels = plots.draw(block, titled=False)
    assert pixels is not None
    still = data_uri("image/webp", bitmap := plots.compact(pixels))
    if isinstance(block, Curves):  # lines are sharp at every size, and often smaller
        drawing = plots.vector(block, "svg", titled=False)
        still = data_uri("image/svg+xml", drawing) if len(drawing) < len(bitmap) else still
    moving = isinstance(block, Animation)
    density = 1 if moving else plots.DENSITY / plots.SHOWN
    return _Image(
        block,
        source=data_uri("image/webp", plots.webp(block)) if moving and not films else still,
        still=still if moving and not films else "",
        film=plots.film(block) if moving and films and len(block.frames) > 1 else None,
        width=round(pixels.shape[1] / density),
        height=round(pixels.shape[0] / density),
        alternative=words(block),
    )


def _settings(result: Result) -> str:
    """What made the figures, in one line: the settings that were given, and the seed."""
    said = [f"{name} {_setting(value)}" for name, value in result.config.items() if value not in (None, "", [], ())]
    return one_line("; ".join([*said, f"seed {result.provenance.seed}"]))[:_LONGEST]


def _setting(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return number(value)
        case list() | tuple():
            return ", ".join(_setting(item) for item in value)
        case dict():
            return str(value.get("method", "..."))
        case _:
            return str(value)


def data_uri(kind: str, content: bytes) -> str:
    """A file as an address that needs no request."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"

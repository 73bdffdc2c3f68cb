"""Texts that fit on a sheet: cleaned, folded and measured in CSS pixels."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib import font_manager
from matplotlib.backends.backend_agg import RendererAgg

from deepscope.names import one_line, visible
from deepscope.render.plots.style import BODY, CAPTION, DENSITY, MARGIN, TITLE, families

_JOINERS = re.compile("[\u200d\ufe00-\ufe0f]")
"""What joins or varies emoji, and has no picture of its own."""
_HYPHENS = re.compile(r"(?<=[-_/])(?=.)")


def fold(text: str, width: float, *, size: float = BODY, lines: int = 1, bold: bool = False) -> str:
    """The text, cleaned, in at most `lines` lines of `width` CSS pixels; an ellipsis stands for what is left over."""
    words = drawable(one_line(visible(text[:4000])), bold).split(" ")
    folded = [""]
    for word, space in _pieces(words, width, size, bold):
        joined = f"{folded[-1]}{space}{word}".strip()
        if measure(joined, size, bold) <= width:
            folded[-1] = joined
            continue
        if folded[-1]:
            folded.append("")
        while measure(word, size, bold) > width and len(word) > 1 and len(folded) <= lines:
            head = _head(word, width, size, bold)
            folded[-1], word = word[:head], word[head:]
            folded.append("")
        folded[-1] = word
        if len(folded) > lines:
            break
    if len(folded) > lines:
        last = folded[lines - 1]
        while last and measure(last + "…", size, bold) > width:
            last = last[:-1]
        folded = [*folded[: lines - 1], last.rstrip() + "…"]
    return "\n".join(folded)


def pieces(text: str) -> list[str]:
    """The parts of a text that `fold` keeps whole where it can: words, and what stands before and behind a hyphen."""
    words = drawable(one_line(visible(text[:4000]))).split(" ")
    return [part for word in words for part in _HYPHENS.split(word)]


def _pieces(words: list[str], width: float, size: float, bold: bool) -> Iterator[tuple[str, str]]:
    """Words, each with the space before it; one that is too long for a line falls apart behind its hyphens."""
    for word in words:
        parts = _HYPHENS.split(word) if measure(word, size, bold) > width else [word]
        yield from ((part, "" if index else " ") for index, part in enumerate(parts))


@dataclass(frozen=True)
class Words:
    """What stands above and below a figure, folded for a sheet of some width.

    Attributes:
        title, caption: folded; empty where there is none.
        top: how far down what stands below the title begins.
        bottom: what the caption and the margin take below the rest.
    """

    title: str
    caption: str
    top: float
    bottom: float


def words(title: str, caption: str, width: float) -> Words:
    """A title and a caption for a sheet of that width."""
    room = width - 2 * MARGIN
    head = fold(title, room, size=TITLE, lines=3, bold=True) if title.strip() else ""
    foot = fold(caption, room, size=CAPTION, lines=8) if caption.strip() else ""
    top = MARGIN + (block_height(head, TITLE) + 5 if head else 0)
    return Words(head, foot, top, (block_height(foot, CAPTION) + 6 if foot else 0) + MARGIN)


def line_height(size: float) -> float:
    """CSS pixels from one line of text to the next."""
    return size * 96 / 72 * 1.25


def block_height(folded: str, size: float) -> float:
    """CSS pixels that a folded text takes; none where it is empty."""
    return (folded.count("\n") + 1) * line_height(size) if folded else 0.0


@functools.lru_cache(maxsize=8192)
def measure(text: str, size: float = BODY, bold: bool = False) -> float:
    """The width of one line of text in CSS pixels, with a little slack for hinting."""
    if not text:
        return 0.0
    font = font_manager.FontProperties(family=list(families()), size=size, weight="bold" if bold else "normal")
    return _renderer().get_text_width_height_descent(text, font, False)[0] * 1.02 / DENSITY


def drawable(text: str, bold: bool = False) -> str:
    """The text with its escape, such as `\\u732b`, for each character that no installed font has."""
    known = _characters(bold)
    if known.issuperset(map(ord, text)):
        return text
    return "".join(c if ord(c) in known else ascii(c)[1:-1] for c in _JOINERS.sub("", text))


def _head(word: str, width: float, size: float, bold: bool) -> int:
    head = 1
    while head < len(word) and measure(word[: head + 1], size, bold) <= width:
        head += 1
    return head


@functools.cache
def _renderer() -> RendererAgg:
    return RendererAgg(1, 1, 96 * DENSITY)


@functools.cache
def _characters(bold: bool) -> frozenset[int]:
    weight = "bold" if bold else "normal"
    paths = [font_manager.findfont(font_manager.FontProperties(family=[name], weight=weight)) for name in families()]
    return frozenset(code for path in paths for code in font_manager.get_font(path).get_charmap())

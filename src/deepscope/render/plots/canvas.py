"""A white sheet in CSS pixels (1/96 inch, y downwards), and texts that fit on it.

Nothing here touches pyplot: a `Figure` with its own Agg canvas is drawn and dropped.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray
from PIL import Image

from deepscope.names import one_line, visible

Pixels: TypeAlias = NDArray[np.uint8]

INK, MUTED, FAINT, ACCENT, GREY = "#1b1f24", "#59636e", "#e3e6ea", "#0072b2", "#9aa4af"
MARK = "#d55e00"
"""Okabe and Ito's vermilion beside their blue: told apart by everybody, also in grey."""

DENSITY = 2.0
"""Device pixels per CSS pixel, so that text is sharp on high-resolution screens and in print."""
LARGEST = 16_000
"""The largest side in device pixels: a larger sheet is drawn less densely."""
SMALL, CAPTION, BODY, TITLE = 6.0, 7.5, 8.5, 10.5
"""Font sizes in points."""
MARGIN = 12.0
"""White around a sheet, in CSS pixels."""

_WIDER_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "PingFang SC", "Hiragino Sans GB"),
    *("Microsoft YaHei", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback", "IPAGothic"),
    *("Noto Sans", "Noto Emoji", "Segoe UI Emoji", "Symbola", "Unifont", "Arial Unicode MS"),
)
_JOINERS = re.compile("[\u200d\ufe00-\ufe0f]")
"""What joins or varies emoji, and has no picture of its own."""


class Canvas:
    """A sheet to draw on. Coordinates and lengths are CSS pixels from the top left corner."""

    def __init__(self, width: float, height: float, density: float = DENSITY) -> None:
        self.width, self.height = max(1.0, width), max(1.0, height)
        self.density = min(density, LARGEST / max(self.width, self.height))
        dpi = 96 * self.density
        size = (np.ceil(self.width * self.density) / dpi, np.ceil(self.height * self.density) / dpi)
        self.figure = Figure(figsize=size, dpi=dpi, facecolor="white")
        self._agg = FigureCanvasAgg(self.figure)

    def text(  # noqa: PLR0913 - its settings are keywords
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = BODY,
        colour: str = INK,
        across: Literal["left", "center", "right"] = "left",
        down: Literal["top", "center", "bottom"] = "top",
        bold: bool = False,
        rotation: float = 0,
    ) -> None:
        """Text whose anchor is (x, y). It is drawn as it is: clean and fold it with `fold` first."""
        self.figure.text(
            x / self.width,
            1 - y / self.height,
            text,
            fontsize=size,
            color=colour,
            ha=across,
            va=down,
            weight="bold" if bold else "normal",
            rotation=rotation,
            rotation_mode="anchor",
            linespacing=1.2,
        )

    def title(self, head: str) -> None:
        """The sheet's title, as `heading` folded it."""
        self.text(MARGIN, MARGIN, head, size=TITLE, bold=True)

    def image(self, x: float, y: float, width: float, height: float, pixels: Pixels) -> None:
        """An image resized to fill the rectangle: whole-number scales stay sharp, others are smooth."""
        left, top = round(x * self.density), round(y * self.density)
        size = max(1, round(width * self.density)), max(1, round(height * self.density))
        placed = resize(pixels, *size)
        bottom = round(self.figure.bbox.height) - top - size[1]
        self.figure.add_artist(_Stamp(placed, left, bottom))

    def rectangle(self, x: float, y: float, width: float, height: float, colour: str, *, line: float = 0) -> None:
        """A filled rectangle, or with `line` its outline of that many pixels."""
        style: dict[str, Any] = {"fill": False, "edgecolor": colour} if line else {"facecolor": colour}
        self._add(Rectangle((0, 0), 1, 1), x, y, width, height, linewidth=line * 0.75, **style)

    def ring(self, x: float, y: float, radius: float, colour: str, *, line: float) -> None:
        """A circle's outline."""
        style: dict[str, Any] = {"fill": False, "edgecolor": colour, "linewidth": line * 0.75}
        self._add(Circle((0, 0), 1), x, y, radius, radius, **style)

    def line(self, xs: tuple[float, float], ys: tuple[float, float], colour: str, **style: Any) -> None:
        """A straight line from (xs[0], ys[0]) to (xs[1], ys[1])."""
        x, y = np.asarray(xs) / self.width, 1 - np.asarray(ys) / self.height
        self.figure.add_artist(Line2D(x, y, color=colour, zorder=2, **style))

    def pixels(self) -> Pixels:
        """The drawn pixels: (H, W, 3) uint8."""
        self._agg.draw()
        return np.asarray(self._agg.buffer_rgba())[..., :3].copy()

    def _add(self, patch: Rectangle | Circle, x: float, y: float, width: float, height: float, **style: Any) -> None:
        place = Affine2D().scale(width, -height).translate(x, self.height - y).scale(self.density)
        patch.set(transform=place, zorder=2, **style)
        self.figure.add_artist(patch)


class _Stamp(Artist):
    """Pixels copied onto the sheet as they are; matplotlib's own images are resampled each time they are drawn."""

    def __init__(self, pixels: Pixels, left: int, bottom: int) -> None:
        super().__init__()
        self.set_zorder(1)
        self._place = left, bottom
        opaque = np.full((*pixels.shape[:2], 1), 255, np.uint8)
        self._rgba = np.concatenate([pixels, opaque], axis=2)[::-1]

    def draw(self, renderer: RendererBase) -> None:
        """Copy the pixels."""
        renderer.draw_image(renderer.new_gc(), *self._place, self._rgba)


@contextmanager
def style() -> Iterator[None]:
    """Draw with deepscope's settings, independent of the user's matplotlibrc. Texts are never parsed as mathematics."""
    settings: dict[Any, Any] = {
        **{key: matplotlib.rcParamsDefault[key] for key in matplotlib.rcParamsDefault if key not in _KEPT},
        "font.family": list(_families()),
        "font.size": BODY,
        "text.parse_math": False,
        "text.usetex": False,
        "text.color": INK,
        "axes.linewidth": 0.7,
        "axes.edgecolor": GREY,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.unicode_minus": True,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelsize": CAPTION,
        "ytick.labelsize": CAPTION,
    }
    with matplotlib.rc_context(settings):
        yield


_KEPT = {key for key in matplotlib.rcParamsDefault if key.startswith(("backend", "toolbar", "interactive", "webagg"))}


def resize(pixels: Pixels, width: int, height: int) -> Pixels:
    """The image at that size: repeated pixels at whole-number scales, a Lanczos filter otherwise."""
    rows, columns = pixels.shape[:2]
    if not pixels.size:
        return np.full((height, width, 3), 0xE3, np.uint8)
    if height % rows == 0 and width % columns == 0:
        return pixels.repeat(height // rows, axis=0).repeat(width // columns, axis=1)
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def fit(pixels: Pixels, side: float) -> tuple[float, float]:
    """The width and height, in CSS pixels, of an image whose longer side is to be about `side`.

    Small images take a whole number of device pixels per pixel, so that they are drawn without blur.
    """
    height, width = (max(1, length) for length in pixels.shape[:2])
    factor = side * DENSITY / max(height, width)
    if factor >= 3:
        factor = int(factor)
    return max(1.0, width * factor / DENSITY), max(1.0, height * factor / DENSITY)


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


def _pieces(words: list[str], width: float, size: float, bold: bool) -> Iterator[tuple[str, str]]:
    """Words, each with the space before it; one that is too long for a line falls apart behind its hyphens."""
    for word in words:
        parts = re.split(r"(?<=[-_/])(?=.)", word) if measure(word, size, bold) > width else [word]
        yield from ((part, "" if index else " ") for index, part in enumerate(parts))


def heading(title: str, width: float) -> tuple[str, float]:
    """A title folded for a sheet of that width, and how far down what stands below it begins."""
    head = fold(title, width - 2 * MARGIN, size=TITLE, lines=3, bold=True) if title else ""
    return head, MARGIN + (block_height(head, TITLE) + 8 if head else 0)


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
    font = font_manager.FontProperties(family=list(_families()), size=size, weight="bold" if bold else "normal")
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
def _families() -> tuple[str, ...]:
    here = set(font_manager.get_font_names())
    return ("DejaVu Sans", *(name for name in _WIDER_FONTS if name in here))


@functools.cache
def _characters(bold: bool) -> frozenset[int]:
    weight = "bold" if bold else "normal"
    paths = [font_manager.findfont(font_manager.FontProperties(family=[name], weight=weight)) for name in _families()]
    return frozenset(code for path in paths for code in font_manager.get_font(path).get_charmap())

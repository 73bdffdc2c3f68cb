"""A white sheet in CSS pixels (1/96 inch, y downwards), as pixels, SVG or PDF.

Nothing here touches pyplot: a `Figure` with its own Agg canvas is drawn and dropped.
"""

from __future__ import annotations

import io
import math
from typing import Any, Literal, TypeAlias
from xml.etree import ElementTree

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray
from PIL import Image

from deepscope.names import one_line, visible
from deepscope.render.palette import INK, MUTED
from deepscope.render.plots.style import BODY, CAPTION, DENSITY, LARGEST, MARGIN, TITLE
from deepscope.render.plots.texts import Words, line_height

Pixels: TypeAlias = NDArray[np.uint8]

_ASCENT, _DESCENT, _CAPITAL = 0.96, 0.28, 0.365
"""From the top of a line of text to its baseline, from there to its bottom, and half of a capital's height, in em."""
_SVG = "http://www.w3.org/2000/svg"


class Canvas:
    """A sheet to draw on. Coordinates and lengths are CSS pixels from the top left corner."""

    def __init__(self, width: float, height: float, density: float = DENSITY) -> None:
        self.density = min(density, LARGEST / max(1.0, width, height))
        # whole device pixels, so that nothing is moved by a part of one
        self.width, self.height = (math.ceil(max(1.0, side) * self.density) / self.density for side in (width, height))
        size = self.width / 96, self.height / 96
        self.figure = Figure(figsize=size, dpi=96 * self.density, facecolor="white")
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
        """Text whose anchor is (x, y). It is drawn as it is: clean and fold it with `fold` first.

        Lines stand on baselines that do not depend on their letters, so texts side by side are level.
        """
        em, step, lines = size * 96 / 72, line_height(size), text.split("\n") if text else []
        below = {
            "top": _ASCENT * em,
            "center": _CAPITAL * em - step * (len(lines) - 1) / 2,
            "bottom": -_DESCENT * em - step * (len(lines) - 1),
        }[down]
        turn = math.radians(rotation)
        for number, line in enumerate(lines):
            distance = below + number * step
            self.figure.text(
                (x + distance * math.sin(turn)) / self.width,
                1 - (y + distance * math.cos(turn)) / self.height,
                line,
                fontsize=size,
                color=colour,
                ha=across,
                va="baseline",
                weight="bold" if bold else "normal",
                rotation=rotation,
                rotation_mode="anchor",
            )

    def words(self, words: Words) -> None:
        """The sheet's title and caption."""
        self.text(MARGIN, MARGIN, words.title, size=TITLE, bold=True)
        self.text(MARGIN, self.height - words.bottom + 6, words.caption, size=CAPTION, colour=MUTED)

    def image(self, x: float, y: float, width: float, height: float, pixels: Pixels) -> None:
        """An image resized to fill the rectangle: whole-number scales stay sharp, others are smooth."""
        left, top = round(x * self.density), round(y * self.density)
        size = max(1, round(width * self.density)), max(1, round(height * self.density))
        placed = resize(pixels, *size)
        bottom = round(self.height * self.density) - top - size[1]
        self.figure.add_artist(_Stamp(placed, left, bottom, self.figure))

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

    def svg(self, title: str = "", about: str = "") -> bytes:
        """The sheet as an SVG file: text as outlines, images embedded. The same sheet gives the same bytes.

        It refers to nothing outside, so what matplotlib writes besides (a document type, comments) is dropped.

        Args:
            title: its name for screen readers.
            about: its description for them.
        """
        file = io.BytesIO()
        self.figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        root = ElementTree.fromstring(file.getvalue())
        root.set("role", "img")
        for place, (tag, text) in enumerate((("title", title), ("desc", about))):
            element = ElementTree.Element(f"{{{_SVG}}}{tag}")
            element.text = one_line(visible(text))
            root.insert(place, element)
        ElementTree.register_namespace("", _SVG)
        ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
        return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)

    def pdf(self) -> bytes:
        """The sheet as a PDF file of one page, with its fonts and without a date."""
        file = io.BytesIO()
        self.figure.savefig(file, format="pdf", metadata=dict.fromkeys(("Creator", "Producer", "CreationDate")))
        return file.getvalue()

    def _add(self, patch: Rectangle | Circle, x: float, y: float, width: float, height: float, **style: Any) -> None:
        place = Affine2D().scale(width / 96, -height / 96).translate(x / 96, (self.height - y) / 96)
        patch.set(transform=place + self.figure.dpi_scale_trans, zorder=2, **style)
        self.figure.add_artist(patch)


class _Stamp(Artist):
    """Pixels copied onto the sheet as they are; matplotlib's own images are resampled each time they are drawn."""

    def __init__(self, pixels: Pixels, left: int, bottom: int, figure: Figure) -> None:
        super().__init__()
        self.set_zorder(1)
        self._inches = left / figure.dpi, bottom / figure.dpi
        opaque = np.full((*pixels.shape[:2], 1), 255, np.uint8)
        self._rgba = np.concatenate([pixels, opaque], axis=2)[::-1]

    def draw(self, renderer: RendererBase) -> None:
        """Copy the pixels."""
        figure = self.get_figure(root=True)
        assert figure is not None
        left, bottom = (side * figure.dpi for side in self._inches)  # SVG and PDF count in points
        renderer.draw_image(renderer.new_gc(), left, bottom, self._rgba)


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

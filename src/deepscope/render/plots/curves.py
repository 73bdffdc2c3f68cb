"""`Curves`: lines, points and bands over common axes."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, ScalarFormatter
from numpy.typing import NDArray

from deepscope.render.plots.canvas import (
    BODY,
    CAPTION,
    FAINT,
    GREY,
    MARGIN,
    MUTED,
    Canvas,
    Pixels,
    block_height,
    fold,
    heading,
    line_height,
)
from deepscope.render.text import number
from deepscope.results import Curves, Series

_COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"),
    *("#8c510a", "#762a83", "#7f7f7f"),
)
"""Okabe and Ito's palette and three more; the line's pattern and the points' shape change with each round of it."""
_PATTERNS = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)))
_DASHES = ((0, (4, 3)), (0, (1, 2)), (0, (7, 2, 1, 2)), (0, (2, 4)))
_MARKERS = "osD^vPX"
_WIDTH, _HEIGHT, _LEFT, _INDENT = 440.0, 270.0, 62.0, 26.0
_REACH = 1e150
"""Beyond this, numbers are drawn at this: the axes cannot span more."""


def draw(curves: Curves, title: str) -> Pixels:
    """The curves as an image, below their title where they have one, above their key where there is one."""
    looks = _looks(curves)
    key = _key(curves)
    steps = [max(block_height(text, BODY) for text in key[i : i + 2]) + 4 for i in range(0, len(key), 2)]
    width = _LEFT + _WIDTH + MARGIN
    head, top = heading(title, width)
    below = top + _HEIGHT + 26 + line_height(BODY)
    canvas = Canvas(width, below + (sum(steps) + 10 if steps else 0) + 8)
    canvas.title(head)
    place = (_LEFT, canvas.height - top - _HEIGHT, _WIDTH, _HEIGHT)
    axes = canvas.figure.add_axes(tuple(np.divide(place, (canvas.width, canvas.height) * 2)))
    for series, look in zip(curves.series, looks):
        _plot(axes, curves, series, look)
    for (_, value), look in zip(curves.references, looks[len(curves.series) :]):
        if np.isfinite(value) and not (curves.y_scale == "log" and value <= 0):
            axes.axhline(float(np.clip(value, -_REACH, _REACH)), zorder=1, **look)
    _scale(axes, curves)
    canvas.text(_LEFT + _WIDTH / 2, top + _HEIGHT + 24, fold(curves.x_title, _WIDTH), across="center")
    canvas.text(MARGIN, top + _HEIGHT / 2, fold(curves.y_title, _HEIGHT), across="center", rotation=90)
    y = below + 10
    for index, (text, look) in enumerate(zip(key, looks)):
        start = _LEFT + index % 2 * _WIDTH / 2
        _swatch(canvas, start, y + line_height(BODY) / 2, look)
        canvas.text(start + _INDENT, y, text)
        y += steps[index // 2] if index % 2 else 0
    return canvas.pixels()


def _key(curves: Curves) -> list[str]:
    """The key's texts: none for a single curve, which its axis already names."""
    if len(curves.series) < 2 and not curves.references:
        return []
    references = [f"{label} ({number(value)})" for label, value in curves.references]
    labels = [series.label for series in curves.series] + references
    return [fold(label, _WIDTH / 2 - _INDENT - 8, lines=3) for label in labels]


def _swatch(canvas: Canvas, x: float, y: float, look: dict[str, Any]) -> None:
    """A short piece of the line, or one of the points."""
    ends = (x + 9, x + 9) if look["linestyle"] == "none" else (x, x + 18)
    style = {name: value for name, value in look.items() if name not in ("color", "drawstyle")}
    canvas.line(ends, (y, y), look["color"], **style)


def _looks(curves: Curves) -> list[dict[str, Any]]:
    """How each series and then each reference is drawn: Line2D's properties."""
    looks: list[dict[str, Any]] = []
    for index, series in enumerate(curves.series):
        colour, around = _COLOURS[index % len(_COLOURS)], index // len(_COLOURS)
        look: dict[str, Any] = {"color": colour, "linewidth": 1.6, "linestyle": _PATTERNS[around % len(_PATTERNS)]}
        if series.style == "points":
            look |= {
                "linestyle": "none",
                "marker": _MARKERS[around % len(_MARKERS)],
                "markersize": 4.5,
                "markeredgewidth": 0,
            }
        elif np.size(series.x) <= 12:
            look |= {"marker": "o", "markersize": 3.2}
        if series.style == "steps":
            look["drawstyle"] = "steps-post"
        looks.append(look)
    dashes = cycle(_DASHES)
    return looks + [{"color": MUTED, "linewidth": 1.1, "linestyle": next(dashes)} for _ in curves.references]


def _plot(axes: Axes, curves: Curves, series: Series, look: dict[str, Any]) -> None:
    x, y = _numbers(series.x, curves.x_scale), _numbers(series.y, curves.y_scale)
    if series.low is not None and series.high is not None:
        low, high = _numbers(series.low, curves.y_scale), _numbers(series.high, curves.y_scale)
        if series.style == "points":
            axes.vlines(x, low, high, colors=look["color"], linewidth=1, alpha=0.6)
        else:
            step = "post" if series.style == "steps" else None
            axes.fill_between(x, low, high, color=look["color"], alpha=0.16, linewidth=0, step=step)
    axes.plot(x, y, zorder=3, solid_capstyle="round", **look)


def _numbers(values: NDArray[Any], scale: str) -> NDArray[np.float64]:
    """The values as the axis can hold them; NaN where it cannot."""
    plain = np.asarray(values, np.float64).ravel()
    plain = np.where(np.isfinite(plain), np.clip(plain, -_REACH, _REACH), np.nan)
    return np.where(plain > 0, np.maximum(plain, 1 / _REACH), np.nan) if scale == "log" else plain


def _scale(axes: Axes, curves: Curves) -> None:
    every = {
        "x": [s.x for s in curves.series],
        "y": [a for s in curves.series for a in (s.y, s.low, s.high) if a is not None],
    }
    every["y"].append(np.array([value for _, value in curves.references]))
    for name, axis, scale in (("x", axes.xaxis, curves.x_scale), ("y", axes.yaxis, curves.y_scale)):
        known = [_numbers(values, scale) for values in every[name]]
        flat = np.concatenate([values[np.isfinite(values)] for values in known]) if known else np.empty(0)
        ends = (float(flat.min()), float(flat.max())) if flat.size else (0.1, 1.0)
        (axes.set_xscale if name == "x" else axes.set_yscale)(scale)
        (axes.set_xlim if name == "x" else axes.set_ylim)(*_room(*ends, scale))
        if scale == "log":
            axis.set_major_locator(LogLocator(numticks=8))
            axis.set_minor_formatter(NullFormatter())
        else:
            whole = name == "x" and flat.size > 0 and bool((flat == np.rint(flat)).all())
            axis.set_major_locator(MaxNLocator(6, integer=whole, steps=[1, 2, 5, 10], min_n_ticks=2))
        plain = scale == "linear" and bool(flat.size) and 1e-3 <= float(np.abs(flat).max()) < 1e6
        axis.set_major_formatter(_even() if plain else FuncFormatter(lambda value, _: number(float(value), ".4g")))
    axes.tick_params(which="both", length=3, width=0.7, color=GREY, labelsize=CAPTION, labelcolor=MUTED)
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)


def _even() -> ScalarFormatter:
    """Writes all ticks with as many decimals: 0.0, 0.5, 1.0."""
    formatter = ScalarFormatter(useOffset=False, useMathText=False)
    formatter.set_scientific(False)
    return formatter


def _room(low: float, high: float, scale: str) -> tuple[float, float]:
    """The axis' ends, a little outside the data."""
    if scale == "log":
        factor = max((high / low) ** 0.04, 1.02)
        return low / factor, high * factor
    margin = (high - low) * 0.04 or abs(high) * 0.1 or 0.5
    return low - margin, high + margin

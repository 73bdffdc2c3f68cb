"""`Curves`: lines, points and bands over common axes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, pairwise
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, ScalarFormatter
from numpy.typing import NDArray

from deepscope.render.palette import FAINT, GREY, MUTED, SERIES
from deepscope.render.plots.canvas import Canvas
from deepscope.render.plots.style import BODY, CAPTION, COLUMN, LINE, MARGIN, RULE
from deepscope.render.plots.texts import block_height, fold, line_height, measure, words
from deepscope.render.text import number
from deepscope.results import Curves, Series

_PATTERNS = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)))
"""Of lines, after each round of colours; points differ in shape as well as in colour."""
_DASHES = ((0, (4, 3)), (0, (1, 2)), (0, (7, 2, 1, 2)), (0, (2, 4)))
_MARKERS = "osD^vPX"
_HEIGHT, _INDENT, _TICK = 180.0, 24.0, 6.0
_MOST_TICKS, _LOG_TICKS = 6, 7
_CROWDED = 6
"""Series with bands beyond which the bands are paler."""
_HEAVY = 4_000
"""Points of a series beyond which SVG and PDF hold it as a bitmap: each point would take 60 bytes."""
_REACH = 1e150
"""Beyond this, numbers are drawn at this: the axes cannot span more."""
_FROM_ZERO = 0.25
"""An axis whose least value is below this part of its largest starts at 0."""


def draw(curves: Curves, title: str, caption: str) -> Canvas:
    """The curves on a sheet, below their title and above their key and caption where they have these."""
    looks = _looks(curves)
    key, across = _key(curves)
    steps = [max(block_height(text, BODY) for text in key[i : i + across]) + 2 for i in range(0, len(key), across)]
    x_title, y_title = fold(curves.x_title, COLUMN - 70, lines=2), fold(curves.y_title, _HEIGHT, lines=2)
    about = words(title, caption, COLUMN)
    below = about.top + _HEIGHT + _TICK + line_height(CAPTION) + block_height(x_title, BODY) + 2
    canvas = Canvas(COLUMN, below + (sum(steps) + 6 if steps else 0) + about.bottom)
    canvas.words(about)
    axes = canvas.figure.add_axes((0, 0, 1, 1))
    for series, look in zip(curves.series, looks):
        _plot(axes, curves, series, look)
    for (_, value), look in zip(curves.references, looks[len(curves.series) :]):
        if np.isfinite(value) and not (curves.y_scale == "log" and value <= 0):
            axes.axhline(float(np.clip(value, -_REACH, _REACH)), zorder=1, **look)
    left, width = _scale(axes, curves, MARGIN + block_height(y_title, BODY) + _TICK)
    place = (left, canvas.height - about.top - _HEIGHT, width, _HEIGHT)
    axes.set_position(tuple(np.divide(place, (canvas.width, canvas.height) * 2)))
    canvas.text(left + width / 2, below - block_height(x_title, BODY), x_title, across="center")
    canvas.text(MARGIN, about.top + _HEIGHT / 2, y_title, across="center", rotation=90)
    y = below + 6
    for index, (text, look) in enumerate(zip(key, looks)):
        start = MARGIN + index % across * (COLUMN - 2 * MARGIN) / across
        _swatch(canvas, start, y + line_height(BODY) / 2, look)
        canvas.text(start + _INDENT, y, text)
        y += steps[index // across] if index % across == across - 1 else 0
    return canvas


def _key(curves: Curves) -> tuple[list[str], int]:
    """The key's texts and how many stand side by side: none for a single curve, which its axis already names."""
    if len(curves.series) < 2 and not curves.references:
        return [], 1
    references = [f"{label} ({number(value)})" for label, value in curves.references]
    labels = [series.label for series in curves.series] + references
    widest = max(measure(fold(label, COLUMN / 2)) for label in labels)
    across = int(min(5, max(2, (COLUMN - 2 * MARGIN) // (widest + _INDENT + 8)), len(labels)))
    return [fold(label, (COLUMN - 2 * MARGIN) / across - _INDENT - 6, lines=3) for label in labels], across


def _swatch(canvas: Canvas, x: float, y: float, look: dict[str, Any]) -> None:
    """A short piece of the line, or one of the points."""
    ends = (x + 9, x + 9) if look["linestyle"] == "none" else (x, x + 18)
    style = {name: value for name, value in look.items() if name not in ("color", "drawstyle")}
    canvas.line(ends, (y, y), look["color"], **style)


def _looks(curves: Curves) -> list[dict[str, Any]]:
    """How each series and then each reference is drawn: Line2D's properties."""
    looks: list[dict[str, Any]] = []
    for index, series in enumerate(curves.series):
        colour, around = SERIES[index % len(SERIES)], index // len(SERIES)
        look: dict[str, Any] = {"color": colour, "linewidth": LINE, "linestyle": _PATTERNS[around % len(_PATTERNS)]}
        if series.style == "points":
            shape = {"marker": _MARKERS[index % len(_MARKERS)], "markersize": 3.4, "markeredgewidth": 0.25}
            look |= {"linestyle": "none", "markeredgecolor": "white", **shape}
        elif np.size(series.x) <= 12:
            look |= {"marker": _MARKERS[around % len(_MARKERS)], "markersize": 2.8, "markeredgewidth": 0}
        if series.style == "steps":
            look["drawstyle"] = "steps-post"
        looks.append(look)
    dashes = cycle(_DASHES)
    return looks + [{"color": MUTED, "linewidth": 0.9, "linestyle": next(dashes)} for _ in curves.references]


def _plot(axes: Axes, curves: Curves, series: Series, look: dict[str, Any]) -> None:
    x, y = _numbers(series.x, curves.x_scale), _numbers(series.y, curves.y_scale)
    heavy = x.size > _HEAVY
    if series.low is not None and series.high is not None:
        low, high = _numbers(series.low, curves.y_scale), _numbers(series.high, curves.y_scale)
        if series.style == "points":
            axes.vlines(x, low, high, colors=look["color"], linewidth=0.8, alpha=0.6, rasterized=heavy)
        else:
            step: Literal["post"] | None = "post" if series.style == "steps" else None
            alpha = 0.08 if len(curves.series) > _CROWDED else 0.16
            band = {"color": look["color"], "alpha": alpha, "linewidth": 0, "rasterized": heavy}
            axes.fill_between(x, low, high, step=step, **band)
    axes.plot(x, y, zorder=3, solid_capstyle="round", rasterized=heavy, **look)


def _numbers(values: NDArray[Any], scale: str) -> NDArray[np.float64]:
    """The values as the axis can hold them; NaN where it cannot."""
    plain = np.asarray(values, np.float64).ravel()
    plain = np.where(np.isfinite(plain), np.clip(plain, -_REACH, _REACH), np.nan)
    return np.where(plain > 0, np.maximum(plain, 1 / _REACH), np.nan) if scale == "log" else plain


def _scale(axes: Axes, curves: Curves, before: float) -> tuple[float, float]:
    """Set both axes' ends and ticks; returns where the vertical axis stands and how long the horizontal one is.

    Args:
        axes: what to scale.
        curves: the data.
        before: CSS pixels that stand before the vertical axis' tick labels.
    """
    ys = [a for s in curves.series for a in (s.y, s.low, s.high) if a is not None]
    ys.append(np.array([value for _, value in curves.references]))
    axes.tick_params(which="both", length=2.5, width=RULE, color=GREY, labelsize=CAPTION, labelcolor=MUTED, pad=2.5)
    axes.grid(axis="y", color=FAINT, linewidth=RULE)
    axes.set_axisbelow(True)
    high = _span(axes.yaxis, axes.set_ylim, axes.set_yscale, ys, curves.y_scale)
    names = _labels(axes.yaxis, _HEIGHT, high, lambda _: line_height(CAPTION))
    left = before + max((measure(name, CAPTION) for _, name in names), default=0.0) + 2
    wide = _span(axes.xaxis, axes.set_xlim, axes.set_xscale, [s.x for s in curves.series], curves.x_scale)
    width = COLUMN - MARGIN - left
    names = _labels(axes.xaxis, width, wide, lambda name: measure(name, CAPTION) + 6)
    beyond = max((place * width + measure(name, CAPTION) / 2 - width for place, name in names), default=0.0)
    return left, width - max(0.0, beyond)


def _span(
    axis: Axis, limit: Callable[..., Any], scaled: Callable[..., Any], values: list[NDArray[Any]], scale: str
) -> bool:
    """Set an axis' ends and how its numbers are written; returns whether all are whole."""
    known = [_numbers(array, scale) for array in values]
    flat = np.concatenate([array[np.isfinite(array)] for array in known]) if known else np.empty(0)
    ends = (float(flat.min()), float(flat.max())) if flat.size else (0.1, 1.0)
    scaled(scale)
    limit(*_room(*ends, scale))
    plain = scale == "linear" and bool(flat.size) and 1e-3 <= float(np.abs(flat).max()) < 1e6
    axis.set_major_formatter(_even() if plain else FuncFormatter(lambda value, _: number(float(value), ".4g")))
    if scale == "log":
        axis.set_minor_formatter(NullFormatter())
    return flat.size > 0 and bool((flat == np.rint(flat)).all())


def _labels(axis: Axis, length: float, whole: bool, size: Callable[[str], float]) -> list[tuple[float, str]]:
    """Set as many ticks as their labels leave room for: the place of each on the axis, 0 to 1, and its label."""
    log, found = axis.get_scale() == "log", list[tuple[float, str]]()
    for most in range(_LOG_TICKS if log else _MOST_TICKS, 1, -1):
        low, high = (float(end) for end in axis.get_view_interval())
        even = MaxNLocator(most, integer=whole, steps=[1, 2, 5, 10], min_n_ticks=2)
        powers = LogLocator(numticks=most) if high > 100 * low else LogLocator(subs=(1, 2, 5), numticks=12)
        axis.set_major_locator(powers if log and high > 4 * low else even)
        ticks = [float(tick) for tick in axis.get_majorticklocs() if low <= tick <= high]
        names = axis.get_major_formatter().format_ticks(ticks)
        at = np.log10([low, high, *ticks]) if log else np.array([low, high, *ticks])
        places = (at[2:] - at[0]) / (at[1] - at[0]) if at[1] > at[0] else np.zeros(len(ticks))
        found = list(zip(places.tolist(), names))
        pairs = pairwise(found)
        if all((b - a) * length >= (size(first) + size(second)) / 2 for (a, first), (b, second) in pairs):
            break
    return found


def _even() -> ScalarFormatter:
    """Writes all ticks with as many decimals: 0.0, 0.5, 1.0."""
    formatter = ScalarFormatter(useOffset=False, useMathText=False)
    formatter.set_scientific(False)
    return formatter


def _room(low: float, high: float, scale: str) -> tuple[float, float]:
    """The axis' ends, a little outside the data; from 0 where the data nearly reach it."""
    if scale == "log":
        factor = max((high / low) ** 0.04, 1.02)
        return low / factor, high * factor
    margin = (high - low) * 0.04 or abs(high) * 0.1 or 0.5
    return (0.0 if 0 < low < _FROM_ZERO * high else low - margin), high + margin

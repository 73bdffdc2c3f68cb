"""The one style sheet of all figures: sizes, fonts and matplotlib's settings. Colours are in `render.palette`.

A sheet is measured in CSS pixels (1/96 inch). Curves and matrices are as wide as a column of a journal (85 mm), so that
their text has its size in points there; on a page and on a phone they are shown somewhat larger.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib import font_manager

from deepscope.render.palette import GREY, INK, MUTED

COLUMN, PAGE = 321.0, 673.0
"""Width of a column of a journal (85 mm) and of its page (178 mm)."""
SMALL, CAPTION, BODY, TITLE = 5.5, 7.0, 8.0, 9.0
"""Font sizes in points."""
MARGIN = 8.0
"""White around a sheet."""
DENSITY = 3.0
"""Device pixels of a bitmap per CSS pixel: 288 per inch, as journals ask for."""
LARGEST = 16_000
"""The largest side of a bitmap in device pixels: a larger sheet is drawn less densely."""
SHOWN = 1.5
"""How much larger than on paper a figure is shown on a page: its text is then as large as the page's."""
LINE, RULE = 1.3, 0.6
"""Widths of curves, and of axes and grid lines, in points."""

_WIDER_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "PingFang SC", "Hiragino Sans GB"),
    *("Microsoft YaHei", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback", "IPAGothic"),
    *("Noto Sans", "Noto Emoji", "Segoe UI Emoji", "Symbola", "Unifont", "Arial Unicode MS"),
)
_KEPT = {key for key in matplotlib.rcParamsDefault if key.startswith(("backend", "toolbar", "interactive", "webagg"))}


@contextmanager
def style() -> Iterator[None]:
    """Draw with deepscope's settings, independent of the user's matplotlibrc. Texts are never parsed as mathematics."""
    settings: dict[Any, Any] = {
        **{key: matplotlib.rcParamsDefault[key] for key in matplotlib.rcParamsDefault if key not in _KEPT},
        "font.family": list(families()),
        "font.size": BODY,
        "text.parse_math": False,
        "text.usetex": False,
        "text.color": INK,
        "axes.linewidth": RULE,
        "axes.edgecolor": GREY,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.unicode_minus": True,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelsize": CAPTION,
        "ytick.labelsize": CAPTION,
        "svg.fonttype": "path",  # other fonts are wider or narrower, and a reader may lack this one
        "svg.hashsalt": "deepscope",  # identifiers follow from the content alone
        "pdf.fonttype": 42,
    }
    with matplotlib.rc_context(settings):
        yield


@functools.cache
def families() -> tuple[str, ...]:
    """The fonts that texts are drawn in: the first one that has a character draws it."""
    here = set(font_manager.get_font_names())
    return ("DejaVu Sans", *(name for name in _WIDER_FONTS if name in here))

"""Formatting of texts and numbers, the same in the terminal, in HTML and in figures."""

from __future__ import annotations

import math
import re

from deepscope.names import visible
from deepscope.results import Cell, Column, Table
from deepscope.statistics import Estimate

DASH = "–"  # noqa: RUF001  the sign for "not measured"

_SPEC = re.compile(r"(.?[<>=^])?[-+ ]?#?0?\d{0,2}[,_]?(\.\d{1,2})?[bdeEfFgGnoxX%]?", re.DOTALL)

_SMALLEST = 1e-300
"""The smallest p-value that is given as a number."""


def number(value: float, spec: str = "") -> str:
    """A number by its Python format spec; without one, four significant digits. Not finite: nan, inf, -inf."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if not _SPEC.fullmatch(spec):  # a spec from a file could ask for a gigabyte of digits
        spec = ""
    try:
        return format(value, spec or ("d" if isinstance(value, int) else ".4g")).replace("%", "\N{NO-BREAK SPACE}%")
    except (ValueError, OverflowError):  # a spec for floats, and an integer that no float can hold
        return str(value)


def duration(seconds: float) -> str:
    """A time as people say it: "0.42 s", "27.2 s", "23 min", "3.5 h"."""
    if seconds < 60 or not math.isfinite(seconds):
        return f"{number(seconds, '.3g')} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def cell(value: Cell, column: Column) -> str:
    """A table's cell as text."""
    match value:
        case None:
            return DASH
        case bool():
            return "yes" if value else "no"
        case str():
            return visible(value)
        case _:
            return number(value, column.spec)


def share(estimate: Estimate, *, interval: bool = False) -> str:
    """A share in per cent, with the digits that its interval supports: "78 %", "93.1 % [92.2, 93.9]"."""
    return _written(estimate, 100, "\N{NO-BREAK SPACE}%", interval)


def p_value(p: float) -> str:
    """A p-value in words, never as 0: "p = 0.0025", "p < 1e-300" where no number is as small."""
    return f"p = {p:.2g}" if p >= _SMALLEST else f"p < {_SMALLEST:g}"


def amount(estimate: Estimate, *, interval: bool = False) -> str:
    """A figure with the digits that its interval supports: "0.19", "1.08 [0.68, 1.47]"."""
    return _written(estimate, 1, "", interval)


def _written(estimate: Estimate, scale: float, unit: str, interval: bool) -> str:
    if not math.isfinite(estimate.value):
        return DASH
    places = estimate.decimals(scale)
    if scale == 1 and not estimate.known:
        return number(estimate.value, ".3g")
    value, low, high = (_signed(end * scale, places) for end in (estimate.value, estimate.low, estimate.high))
    return f"{value}{unit} [{low}, {high}]" if interval and estimate.known and low != high else f"{value}{unit}"


def ends(estimate: Estimate, scale: float = 1) -> str:
    """The ends of a figure's interval, with as many digits as the figure: "67 to 85"."""
    places = estimate.decimals(scale)
    return f"{_signed(estimate.low * scale, places)} to {_signed(estimate.high * scale, places)}"


def _signed(value: float, places: int) -> str:
    return f"{value:.{places}f}".replace("-", "\N{MINUS SIGN}")


def numeric(table: Table, index: int) -> bool:
    """Whether a column holds numbers (and dashes) alone, so that it is aligned on the right."""
    values = [row[index] for row in table.rows if row[index] is not None]
    return bool(values) and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)

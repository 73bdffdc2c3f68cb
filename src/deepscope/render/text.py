"""Texts and numbers as people read them, the same in the terminal, in HTML and in figures."""

from __future__ import annotations

import math
import re
import unicodedata

from deepscope.results import Cell, Column, Table

DASH = "–"  # noqa: RUF001  the sign for "not measured"

_SPEC = re.compile(r"(.?[<>=^])?[-+ ]?#?0?\d{0,2}[,_]?(\.\d{1,2})?[bdeEfFgGnoxX%]?", re.DOTALL)
_DIRECTION = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}


def printable(text: str) -> str:
    """The text without what could harm a page or a terminal: each such character becomes U+FFFD.

    These are control characters (a terminal obeys them), lone surrogates (no encoding holds them) and direction
    overrides (they show a text in another order than it is read). Newlines stay, tabs become spaces.
    """
    text = text.replace("\r\n", "\n").replace("\t", " ")
    return "".join(char if char == "\n" or _harmless(char) else "\N{REPLACEMENT CHARACTER}" for char in text)


def one_line(text: str) -> str:
    """The printable text with every run of white space as one space."""
    return " ".join(printable(text).split())


def number(value: float, spec: str = "") -> str:
    """A number by its Python format spec; without one, four significant digits. Not finite: nan, inf, -inf."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if not _SPEC.fullmatch(spec):  # a spec from a file could ask for a gigabyte of digits
        spec = ""
    try:
        return format(value, spec or ("d" if isinstance(value, int) else ".4g"))
    except (ValueError, OverflowError):  # a spec for floats, and an integer that no float can hold
        return str(value)


def cell(value: Cell, column: Column) -> str:
    """A table's cell as text."""
    match value:
        case None:
            return DASH
        case bool():
            return "yes" if value else "no"
        case str():
            return printable(value)
        case _:
            return number(value, column.spec)


def numeric(table: Table, index: int) -> bool:
    """Whether a column holds numbers (and dashes) alone, so that it is aligned on the right."""
    values = [row[index] for row in table.rows if row[index] is not None]
    return bool(values) and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _harmless(char: str) -> bool:
    code = ord(char)
    if 0x20 <= code < 0x7F:
        return True
    return unicodedata.category(char) not in ("Cc", "Cs") and code not in _DIRECTION and code & 0xFFFE != 0xFFFE

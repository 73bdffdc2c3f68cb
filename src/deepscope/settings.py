"""Types of settings, and numbers as settings: parsing, and the range that a field's type declares.

A field declares its range in its type, `Annotated[int, Range(1)]`; without one, its numbers are 0 or more. `check`
compares the fields of a method or command with their types, where these are numbers, and with their ranges. Every
registered class runs it when it is constructed.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from deepscope.errors import SettingError

_LARGEST = 1_000_000_000
_WHOLE = re.compile("[-+]?[0-9]{1,1000}")  # Python refuses to read more than 4300 digits

FigureFormat: TypeAlias = Literal["png", "svg", "pdf"]
"""What figures are written as: PNG always, and SVG or PDF beside it on request."""


@dataclass(frozen=True)
class Range:
    """The finite numbers from `least` to `most`.

    Attributes:
        least: the smallest number.
        most: the largest number.
        above: whether `least` itself is excluded.
        below: whether `most` itself is excluded.
        hint: added to the message for a number that is too large; `{}` stands for the number.
    """

    least: float = 0
    most: float = _LARGEST
    above: bool = False
    below: bool = False
    hint: str = ""

    def check(self, setting: str, value: float) -> None:
        """Raises SettingError where the number is out of the range."""
        excluded = (self.above and value == self.least) or (self.below and value == self.most)
        if excluded or not self.least <= value <= self.most:
            written = f"{value:g}" if isinstance(value, float) else str(value)
            hint = f"; {self.hint.format(written)}" if self.hint and self.most < value < math.inf else ""
            wanted = f"at most {_bound(self.most)}" if self.most == _LARGEST < value else str(self)
            raise SettingError(setting, f"{written} is out of range: it must be {wanted}{hint}")

    def __str__(self) -> str:
        least, most = _bound(self.least), _bound(self.most)
        if self.most == _LARGEST:  # no bound of its own
            return f"above {least}" if self.above else f"at least {least}"
        if not self.above and not self.below:
            return f"from {least} to {most}"
        return f"{'above' if self.above else 'at least'} {least} and {'below' if self.below else 'at most'} {most}"


def _bound(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) or value.is_integer() else f"{value:g}"


Count: TypeAlias = Annotated[int, Range(1)]
"""How many of something, at least one."""
Side: TypeAlias = Annotated[int, Range(1, 8192)]
"""The side of an image in pixels."""
Positive: TypeAlias = Annotated[float, Range(above=True)]
"""A number above 0: a rate, a Euclidean length."""
Share: TypeAlias = Annotated[float, Range(most=1)]
"""A part of a whole, from 0 to 1."""
PositiveShare: TypeAlias = Annotated[float, Range(most=1, above=True)]
"""A part of a whole, above 0."""
ProperShare: TypeAlias = Annotated[float, Range(most=1, above=True, below=True)]
"""A part of a whole, above 0 and below 1."""
LINF_RADIUS = Range(most=1, above=True, hint="pixels are in [0, 1], did you mean {}/255?")
LinfRadius: TypeAlias = Annotated[float, LINF_RADIUS]
"""The largest change of a channel, pixels in [0, 1]."""


@dataclass(frozen=True)
class Overrides:
    """Marks a field that holds values for some fields of a dataclass, by name. On the command line each is a flag.

    `recipe: Annotated[Mapping[str, Any], Overrides(Recipe)]` has a flag for each field of `Recipe`, with its default in
    the help; the mapping holds those that were given.

    Attributes:
        of: the dataclass.
    """

    of: type[Any]


def overridden(cls: type[Any]) -> dict[str, type[Any]]:
    """The fields of a dataclass that are marked with `Overrides`, and the dataclass of each."""
    types = field_types(cls)
    marks = ((field.name, item) for field in dataclasses.fields(cls) for item in get_args(types[field.name])[1:])
    return {name: mark.of for name, mark in marks if isinstance(mark, Overrides)}


def number(text: str, setting: str = "") -> float:
    """A number as people write it: `0.0157`, `1e-3`, or a fraction such as `4/255` or `0.5/255`.

    Raises:
        SettingError: the text, given to `setting`, is not a number.
    """
    try:
        above, slash, below = text.partition("/")
        return float(above) / float(below) if slash else float(text)
    except (ValueError, ZeroDivisionError):
        raise SettingError(setting, f"{text!r} is not a number: write 0.0157 or 4/255") from None


def whole_number(text: str, setting: str = "") -> int:
    """A whole number in decimal digits, with or without a sign.

    Raises:
        SettingError: the text, given to `setting`, is something else; 2.9 is not truncated to 2.
    """
    if not _WHOLE.fullmatch(text):
        raise SettingError(setting, f"{text or repr(text)} is not a whole number: write digits only, such as 8")
    return int(text)


def check(settings: Any) -> None:
    """Compare the numbers among a dataclass's fields with the types and ranges that are declared.

    Raises:
        SettingError: one is not a number, out of its range, or not finite.
    """
    check_values(type(settings), {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)})


def check_values(cls: type[Any], values: Mapping[str, Any]) -> None:
    """`check` for values of some fields of a dataclass."""
    types = field_types(cls)
    for name, given in values.items():
        for value in _numbers(given):
            declared(types[name]).check(name, value)
        if wanted := _other_kind(types[name], given):
            raise SettingError(name, f"must be {wanted}", got=given)


@functools.cache
def field_types(cls: type[Any]) -> Mapping[str, Any]:
    """The types of a dataclass's fields, with what `Annotated` adds to them."""
    # Python 3.10 refuses the sentinel `KW_ONLY`, which is not a type
    return get_type_hints(cls, localns={"KW_ONLY": object}, include_extras=True)


def declared(hint: Any) -> Range:
    """The range that a type declares, at any depth: that of `tuple[Count, ...] | None` too."""
    return next(_ranges(hint), Range())


def _ranges(hint: Any) -> Iterator[Range]:
    if get_origin(hint) is Annotated:
        yield from (item for item in get_args(hint)[1:] if isinstance(item, Range))
    for inner in get_args(hint):
        yield from _ranges(inner)


_KINDS: Mapping[Any, tuple[type[Any], str]] = {
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
}
"""What a field of each type holds. NumPy's numbers count; True does not."""


def _other_kind(hint: Any, value: Any) -> str:
    """The kinds of number that a type takes, in words, where the value is none of them; "" for any other type."""
    if get_origin(hint) is Annotated:
        return _other_kind(get_args(hint)[0], value)
    if get_origin(hint) in (Union, UnionType):
        members = [member for member in get_args(hint) if member is not type(None)]
        wanted = (
            [] if value is None and len(members) < len(get_args(hint)) else [_other_kind(m, value) for m in members]
        )
        return " or ".join(wanted) if all(wanted) else ""
    if hint not in _KINDS:
        return ""
    kind, words = _KINDS[hint]
    return "" if isinstance(value, kind) and not isinstance(value, bool) else words


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, numbers.Real) and not isinstance(value, bool):  # NumPy's too
        yield value if isinstance(value, int) else float(value)
    elif isinstance(value, tuple):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _numbers(item)

"""JSON from outside: every value's type and range is checked before it is used."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

T = TypeVar("T")

MOST_BYTES = 2**24
"""Of one document; a classifier with 50,000 categories needs about 2 MB."""


def read(path: Path) -> Any:
    """What a JSON file holds. Raises ValueError where it is too large or no strict JSON, OSError where unreadable."""
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES >> 20} MB")
    return parse(content.decode("utf-8"))


def parse(text: str) -> Any:
    """Strict JSON: no NaN or infinity, no key twice. Raises ValueError."""
    if len(text) > MOST_BYTES:
        raise ValueError(f"it is longer than {MOST_BYTES >> 20} million characters")
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_repetition)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def mapping(value: Any, name: str, *, optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """An object; where `optional` is given, with its keys only, and its values where a key is absent."""
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {_kind(value)}, not an object")
    fields = cast("dict[str, Any]", value)
    if optional is None:
        return fields
    if unknown := fields.keys() - optional.keys():
        raise ValueError(f"{name} has no field {min(unknown)[:60]!r}")
    return {**optional, **fields}


def sequence(value: Any, name: str, *, low: int = 0, high: int) -> Sequence[Any]:
    """A list of `low` to `high` items."""
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{name} is {_kind(value)}, not a list")
    items = cast("Sequence[Any]", value)
    if not low <= len(items) <= high:
        raise ValueError(f"{name} has {len(items)} items, not {low} to {high}")
    return items


def text(value: Any, name: str) -> str:
    """A string that every file can hold."""
    if not isinstance(value, str):
        raise ValueError(f"{name} is {_kind(value)}, not a string")
    value.encode("utf-8")  # a lone surrogate is refused: it can be neither printed nor saved
    return value


def choice(value: Any, name: str, options: Sequence[str]) -> str:
    """One of several strings."""
    if value not in options:
        raise ValueError(f"{name} {str(value)[:60]!r} is not {' or '.join(options)}")
    return cast(str, value)


def boolean(value: Any, name: str) -> bool:
    """True or false, and no number."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {_kind(value)}, not true or false")
    return value


def integer(value: Any, name: str, *, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} is {_kind(value)}, not a whole number")
    if not low <= value <= high:
        raise ValueError(f"{name} is {str(value)[:20]}, not {low} to {high}")
    return value


def number(value: Any, name: str, *, low: float, high: float) -> float:
    """A finite number from `low` to `high`."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError(f"{name} is {_kind(value)}, not a number")
    if not low <= value <= high or not math.isfinite(value):
        raise ValueError(f"{name} is {str(value)[:20]}, not {low:g} to {high:g}")
    return float(value)


def integers(value: Any, name: str, *, low: int, high: int, count: int) -> tuple[int, ...]:
    """A list of `count` whole numbers from `low` to `high`."""
    return _each(lambda item: integer(item, name, low=low, high=high), sequence(value, name, low=count, high=count))


def numbers(value: Any, name: str, *, low: float, high: float, most: int = 4) -> tuple[float, ...]:
    """A list of one to `most` finite numbers from `low` to `high`."""
    return _each(lambda item: number(item, name, low=low, high=high), sequence(value, name, low=1, high=most))


def _each(check: Callable[[Any], T], values: Sequence[Any]) -> tuple[T, ...]:
    return tuple(check(value) for value in values)


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in an object")
    return found

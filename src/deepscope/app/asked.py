"""What the page asks for: JSON from outside, checked before anything is computed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from deepscope.errors import SettingError
from deepscope.settings import Range

Brush = Literal["blur", "grey", "black", "white"]

MOST_STROKES, MOST_POINTS = 200, 20_000
MOST_SLIDERS = 100
MOST_KEPT = 24
"""Views in an exported session."""


@dataclass(frozen=True)
class Stroke:
    """A line of the brush over an image.

    Attributes:
        brush: what it leaves: a colour, or the image without its detail.
        size: its diameter, in thousandths of the image's shorter side.
        points: (x, y) in thousandths of the image's width and height.
    """

    brush: Brush
    size: int
    points: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Look:
    """One view of one image.

    Attributes:
        image: names an image that the server holds.
        strokes: painted over it, in order.
        model: 0 for the model, 1 for the one that it is compared with.
        method: attribution method.
        target: the class that is explained; None for the most probable one.
        radius: of the adversarial example in grey levels; 0 for none.
        goal: the class that the adversarial example aims at; None for any but the predicted one.
    """

    image: str
    strokes: tuple[Stroke, ...] = ()
    model: int = 0
    method: str = ""
    target: int | None = None
    radius: int = 0
    goal: int | None = None


@dataclass(frozen=True)
class Choice:
    """An image to open.

    Attributes:
        name: of one that the page offers.
        key: of one that was sent before, and may still be held.
    """

    name: str = ""
    key: str = ""


@dataclass(frozen=True)
class Dream:
    """A class image.

    Attributes:
        model: as in `Look`.
        target: the class.
        steps: of the gradient ascent.
    """

    target: int
    steps: int
    model: int = 0


@dataclass(frozen=True)
class Move:
    """Places of the sliders that move a generator's z.

    Attributes:
        at: the place of each slider, counted from its left end.
        label: the class of all images; None for classes in turn.
        seed: of z.
    """

    at: tuple[int, ...]
    label: str | None = None
    seed: int = 0


def choice(given: Any) -> Choice:
    """An image to open as JSON says it. Raises SettingError where it does not."""
    fields = _mapping(given)
    return Choice(_text(fields, "name", default=""), _text(fields, "key", default=""))


def look(given: Any) -> Look:
    """A view as JSON says it. Raises SettingError where it does not."""
    fields = _mapping(given)
    return Look(
        image=_text(fields, "image"),
        strokes=_strokes(fields.get("strokes", [])),
        model=_whole(fields, "model", 0, 1, default=0),
        method=_text(fields, "method", default=""),
        target=_class(fields, "target"),
        radius=_whole(fields, "radius", 0, 64, default=0),
        goal=_class(fields, "goal"),
    )


def dream(given: Any) -> Dream:
    """A class image as JSON asks for it. Raises SettingError where it does not."""
    fields = _mapping(given)
    target = _class(fields, "target")
    if target is None:
        raise SettingError("target", "must name a class")
    return Dream(target, _whole(fields, "steps", 1, 1000, default=160), _whole(fields, "model", 0, 1, default=0))


def move(given: Any) -> Move:
    """Places of sliders as JSON says them. Raises SettingError where it does not."""
    fields = _mapping(given)
    at = fields.get("at")
    if not isinstance(at, list) or not 1 <= len(cast("list[Any]", at)) <= MOST_SLIDERS:
        raise SettingError("at", f"must be a list of 1 to {MOST_SLIDERS} places")
    places = tuple(_whole({"at": one}, "at", 0, 10_000) for one in cast("list[Any]", at))
    label = None if fields.get("label") is None else _text(fields, "label")
    return Move(places, label, _whole(fields, "seed", 0, 2**31 - 1, default=0))


def kept(given: Any) -> list[Look]:
    """The views of a session. Raises SettingError where JSON does not say 1 to 24 of them."""
    looks = _mapping(given).get("looks")
    if not isinstance(looks, list) or not 1 <= len(cast("list[Any]", looks)) <= MOST_KEPT:
        raise SettingError("looks", f"must be a list of 1 to {MOST_KEPT} views")
    return [look(one) for one in cast("list[Any]", looks)]


def parsed(body: bytes) -> Any:
    """JSON that was sent. Raises SettingError where it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise SettingError("request", "must be JSON") from None


def _mapping(given: Any) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise SettingError("request", "must be a JSON object")
    return cast("dict[str, Any]", given)


def _text(fields: Mapping[str, Any], name: str, *, default: str | None = None) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str) or len(value) > 4096:
        raise SettingError(name, "must be a text")
    return value


def _whole(fields: Mapping[str, Any], name: str, least: int, most: int, *, default: int | None = None) -> int:
    value = fields.get(name, default)
    if type(value) is not int:
        raise SettingError(name, "must be a whole number", got=value)
    Range(least, most).check(name, value)
    return value


def _class(fields: Mapping[str, Any], name: str) -> int | None:
    return None if fields.get(name) is None else _whole(fields, name, 0, 10_000_000)


def _strokes(given: Any) -> tuple[Stroke, ...]:
    if not isinstance(given, list) or len(cast("list[Any]", given)) > MOST_STROKES:
        raise SettingError("strokes", f"must be a list of at most {MOST_STROKES}")
    made = tuple(map(_stroke, cast("list[Any]", given)))
    if sum(len(stroke.points) for stroke in made) > MOST_POINTS:
        raise SettingError("strokes", f"must have at most {MOST_POINTS:,} points together")
    return made


def _stroke(given: Any) -> Stroke:
    fields = _mapping(given)
    brush, points = _text(fields, "brush"), fields.get("points")
    if brush not in get_args(Brush):
        raise SettingError("brush", f"must be {', '.join(get_args(Brush))}", got=brush)
    if not isinstance(points, list) or not points:
        raise SettingError("points", "must be a list of [x, y]")
    return Stroke(cast(Brush, brush), _whole(fields, "size", 1, 1000), tuple(map(_point, cast("list[Any]", points))))


def _point(given: Any) -> tuple[int, int]:
    if not isinstance(given, list) or [type(one) for one in cast("list[Any]", given)] != [int, int]:
        raise SettingError("points", "must be a list of [x, y], whole numbers")
    x, y = cast("Sequence[int]", given)
    for one in (x, y):
        Range(-1000, 2000).check("points", one)
    return x, y

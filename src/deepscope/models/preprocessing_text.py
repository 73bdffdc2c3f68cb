"""Preprocessing in words, as `str(preprocessing)` writes it and a person gives it on the command line."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, get_args

from deepscope.errors import SettingError
from deepscope.models.preprocessing import Interpolation, Preprocessing

_EXAMPLE = "such as 'resize 256 (bicubic), crop 224' or 'resize 64 x 64, mean 0.5, std 0.5'"
_PART = re.compile(r"(resize|crop|mean|std)\s+([^()]+?)\s*(?:\((\w+)\))?")
_SIDE = re.compile(r"(\d+)(?:\s*x\s*(\d+))?")


def read_words(text: str, known: Preprocessing) -> Preprocessing:
    """The preprocessing that a text describes; what the text does not name stays as it is known.

    Args:
        text: parts between commas: `resize SIDE` (the shorter side) or `resize HEIGHT x WIDTH`, with a filter in
            brackets if wanted; `crop SIDE`, `crop HEIGHT x WIDTH` or `no crop`; `mean` and `std` with one number per
            channel of the network, or one for all. Both sides of a resize leave nothing to crop.
        known: what the model has by itself.

    Raises:
        SettingError: the text is not such a description.

    Example:
        >>> str(read_words("resize 64 x 64, mean 0.5", Preprocessing()))
        'resize 64 x 64 (bilinear), mean 0.5 0.5 0.5, std 0.229 0.224 0.225'
    """
    fields: dict[str, Any] = {}
    for part in (part.strip() for part in text.split(",")):
        found = _PART.fullmatch(part)
        if part == "no crop":
            named: dict[str, Any] = {"crop": None}
        elif found is None or (found[3] and found[1] != "resize"):
            raise SettingError("preprocessing", f"has a part that cannot be read, {part[:80]!r}: write it {_EXAMPLE}")
        elif found[1] in ("mean", "std"):
            named = {found[1]: _numbers(found[1], found[2], len(known.mean))}
        else:
            named = {found[1]: _side(found[1], found[2]), **({"interpolation": found[3]} if found[3] else {})}
        if twice := named.keys() & fields.keys():
            raise SettingError("preprocessing", f"names {twice.pop()} twice")
        fields |= named
    if fields.get("interpolation", "bilinear") not in get_args(Interpolation):
        known_filters = ", ".join(get_args(Interpolation))
        raise SettingError("preprocessing", f"has no filter {fields['interpolation']!r}: take one of {known_filters}")
    if "resize" in fields and "crop" not in fields:
        if not isinstance(fields["resize"], tuple):
            side = fields["resize"]
            said = f"'resize {side}, crop {side}', or 'resize {side} x {side}' to squash images"
            raise SettingError("preprocessing", f"needs a crop beside the shorter side after resizing: {said}")
        fields["crop"] = None
    return replace(known, **fields)


def in_full(given: Preprocessing | str) -> str:
    """A text as it is, and a preprocessing as the text that names all of it.

    Raises:
        SettingError: it is neither.
    """
    if isinstance(given, str):
        return given
    if not isinstance(given, Preprocessing):
        raise SettingError("preprocessing", f"must be a deepscope.Preprocessing, or a text {_EXAMPLE}", got=given)
    resize, crop = (
        side if side is None or isinstance(side, int) else "{} x {}".format(*side)
        for side in (given.resize, given.crop)
    )
    mean, std = (" ".join(map(repr, values)) for values in (given.mean, given.std))
    cropped = "no crop" if crop is None else f"crop {crop}"
    return f"resize {resize} ({given.interpolation}), {cropped}, mean {mean}, std {std}"


def _side(name: str, text: str) -> int | tuple[int, int]:
    found = _SIDE.fullmatch(text)
    if found is None:
        raise SettingError("preprocessing", f"has no size in '{name} {text[:40]}': write it {_EXAMPLE}")
    return int(found[1]) if found[2] is None else (int(found[1]), int(found[2]))


def _numbers(name: str, text: str, channels: int) -> tuple[float, ...]:
    try:
        values = tuple(float(word) for word in text.split())
    except ValueError:
        raise SettingError("preprocessing", f"has no numbers in '{name} {text[:40]}': write it {_EXAMPLE}") from None
    if len(values) not in (1, channels):
        raise SettingError(
            "preprocessing", f"has {len(values)} numbers as {name}, and the model {channels} channels: give one of each"
        )
    return values * channels if len(values) == 1 else values

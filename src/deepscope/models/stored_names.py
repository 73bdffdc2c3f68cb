"""Names of the classes that a training program stored beside the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

_KEYS = ("class_to_idx", "idx_to_class", "classes", "class_names", "CLASSES", "categories", "labels")
"""Keys that training programs put them under: of torchvision's datasets, of fastai, of OpenMMLab's tools."""
_HOLDERS = ("meta", "dataset_meta", "hyper_parameters", "hparams", "config")
"""Dictionaries of settings that hold them."""
_DEPTH = 2
_LONGEST = 500
"""Characters of a name."""


def stored_names(content: object, depth: int = 0) -> tuple[str, ...]:
    """The names of the classes in what a file of weights holds, in the order of the scores; empty where there are none.

    Args:
        content: what the file holds: a dictionary with the names at its top, or in settings that are in it. Each class
            may have a number (`{"cat": 0}` or `{0: "cat"}`), or its place in a list.
        depth: dictionaries that `content` is in.
    """
    if not isinstance(content, Mapping):
        return ()
    held = cast("Mapping[Any, Any]", content)
    for key in _KEYS:
        if names := _names(held.get(key)):
            return names
    if depth < _DEPTH:
        for key in _HOLDERS:
            if names := stored_names(held.get(key), depth + 1):
                return names
    return ()


def _names(value: object) -> tuple[str, ...]:
    """The names, if these are at least two different ones, and each number from 0 has one."""
    if isinstance(value, Mapping):
        pairs = list(cast("Mapping[Any, Any]", value).items())
        if all(isinstance(name, str) for name, _ in pairs):
            pairs = [(number, name) for name, number in pairs]
        if {type(number) for number, _ in pairs} != {int} or {number for number, _ in pairs} != set(range(len(pairs))):
            return ()
        listed: list[Any] = [name for _, name in sorted(pairs, key=lambda pair: pair[0])]
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        listed = list(cast("Sequence[Any]", value))
    else:
        return ()
    names = [name for name in listed if isinstance(name, str) and 0 < len(name.strip()) <= _LONGEST]
    return tuple(names) if 2 <= len(names) == len(listed) == len(set(names)) else ()

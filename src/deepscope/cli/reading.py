"""From the words of a command line to values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from cyclopts import convert

from deepscope.errors import SettingError
from deepscope.images.refusals import ADDRESS
from deepscope.settings import number, whole_number


def holds(hint: Any, kind: type) -> bool:
    """Whether a hint is of that type, or holds it: `tuple[int, ...] | None` holds `int`."""
    return hint is kind or any(holds(inner, kind) for inner in get_args(hint))


def reader(name: str) -> Callable[[Any, Any], Any]:
    """A converter for cyclopts: the words given to a field as values of a hint that holds numbers or texts."""

    def read(hint: Any, tokens: Any) -> Any:
        flag = next((token.keyword for token in tokens if token.keyword), name.upper())

        def one(kind: Any, word: str) -> Any:
            return _READ[kind](word, flag) if kind in _READ else convert(kind, [word])

        return convert(hint, tokens, converter=one)

    return read


def _named(word: str, flag: str) -> str:
    """A name or path. An empty one, which a shell makes of an unset variable, would mean the current folder."""
    if not word.strip():
        raise SettingError(flag, "is empty: give a name or a path")
    return word


def _text(word: str, flag: str) -> str:
    if ADDRESS.match(word):
        raise SettingError(flag, f"{word} is a web address: download the file first")
    return _named(word, flag)


_READ: dict[Any, Callable[[str, str], Any]] = {
    float: number,
    int: whole_number,
    str: _text,
    Path: lambda word, flag: Path(_named(word, flag)),
}
"""How a word becomes a value of each type."""

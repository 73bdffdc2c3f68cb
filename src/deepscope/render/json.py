"""A `Result` as JSON and arrays, and back without loss.

The walk goes over the dataclasses themselves; no field is listed here. What JSON lacks is encoded:

- a dataclass is an object whose `type` is the class's name;
- an array is a reference, `{"array": NAME, "shape": [...], "dtype": "..."}`; NAME is its place in `arrays.npz`;
- a number that is not finite is the text "NaN", "Infinity" or "-Infinity" (a text that reads like one of these, with
  or without backslashes before it, gets one more backslash).

Free-form settings (`config`) are read back as JSON knows them: tuples as lists, other objects as their text.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from deepscope.errors import FileError
from deepscope.results import Result

Arrays = dict[str, NDArray[Any]]

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_LIKE_A_NUMBER = re.compile(r"\\*(NaN|-?Infinity)")


def encode(result: Result) -> tuple[dict[str, Any], Arrays]:
    """The result as a document for JSON, and the arrays that it refers to by name."""
    arrays: Arrays = {}
    return _encode(result, "", arrays), arrays


def decode(document: Any, arrays: Mapping[str, NDArray[Any]]) -> Result:
    """The result that `encode` took apart.

    Raises:
        FileError: the document is not a result, or an array is missing or not what the document says.
    """
    try:
        return _decode(document, Result, "", arrays)
    except RecursionError:
        raise FileError("not a deepscope result: it is nested too deeply") from None


def dumps(result: Result) -> str:
    """The result as strict JSON with sorted keys, arrays by reference. The same result gives the same text."""
    return text(encode(result)[0])


def text(document: dict[str, Any]) -> str:
    """A document as strict JSON: ASCII only, sorted keys, so that any tool reads it and diffs are small."""
    return json.dumps(document, allow_nan=False, sort_keys=True, indent=1)


def _encode(value: Any, path: str, arrays: Arrays) -> Any:
    match value:
        case None | bool():
            return value
        case str():
            return f"\\{value}" if _LIKE_A_NUMBER.fullmatch(value) else str(value)
        case int():
            return int(value)
        case float():
            return (
                float(value)
                if math.isfinite(value)
                else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
            )
        case np.generic():
            return _encode(value.item(), path, arrays)
        case np.ndarray():
            arrays[path] = value
            return {"array": path, "shape": list(value.shape), "dtype": value.dtype.str}
        case Mapping():
            return {str(key): _encode(item, _join(path, key), arrays) for key, item in value.items()}
        case list() | tuple():
            return [_encode(item, _join(path, index), arrays) for index, item in enumerate(value)]
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {
                f.name: _encode(getattr(value, f.name), _join(path, f.name), arrays) for f in dataclasses.fields(value)
            }
            return {"type": type(value).__name__, **fields}
        case _:
            return str(value)


def _join(path: str, part: object) -> str:
    """A name below `path`. Only letters, digits and -_.~ stay as they are, so that any key can be a file's name."""
    name = quote(str(part), safe="", errors="surrogatepass")
    return f"{path}/{name}" if path else name


def _decode(value: Any, hint: Any, path: str, arrays: Mapping[str, NDArray[Any]]) -> Any:
    hint = _aliased(hint)
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _decode(value, _choose(value, get_args(hint), path), path, arrays)
    if hint is Any:
        return _decode_free(value)
    if origin is Literal:
        return _checked(value, value in get_args(hint) if isinstance(value, str) else False, path)
    if origin is tuple:
        items = _checked(value, isinstance(value, list), path)
        kinds = get_args(hint)
        if kinds[-1] is Ellipsis:
            kinds = (kinds[0],) * len(items)
        _checked(value, len(kinds) == len(items), path)
        return tuple(_decode(item, kind, _join(path, i), arrays) for i, (item, kind) in enumerate(zip(items, kinds)))
    if origin is np.ndarray:
        return _array(value, path, arrays)
    if origin in (Mapping, dict):
        items = _checked(value, isinstance(value, dict), path)
        return {key: _decode(item, get_args(hint)[1], _join(path, key), arrays) for key, item in items.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(value, hint, path, arrays)
    if hint is float and not isinstance(value, bool):
        number = _decode_free(value)
        right = isinstance(number, float) or (isinstance(number, int) and abs(number) < 2**1023)
        return _checked(number, right, path)
    return _decode_free(_checked(value, type(value) is hint, path))


def _aliased(hint: Any) -> Any:
    """What an alias stands for: `NDArray[np.float32]` is one where NumPy is 2.5 or later."""
    while (value := getattr(get_origin(hint) or hint, "__value__", None)) is not None:
        hint = value
    return hint


def _choose(value: Any, hints: tuple[Any, ...], path: str) -> Any:
    """Which member of a union a value was written as."""
    hints = tuple(map(_aliased, hints))
    if isinstance(value, dict):
        for hint in hints:
            if getattr(hint, "__name__", "") == value.get("type") or (
                get_origin(hint) is np.ndarray and "array" in value
            ):
                return hint
    elif value is None and type(None) in hints:
        return type(None)
    else:
        if isinstance(value, str) and float in hints and (value in _NOT_FINITE or str not in hints):
            return float
        for hint in (bool, int, float, str):
            if hint in hints and isinstance(value, hint):
                return hint
        if isinstance(value, int) and float in hints:
            return float
    raise _wrong(path)


def _build(value: Any, cls: type, path: str, arrays: Mapping[str, NDArray[Any]]) -> Any:
    given = dict(_checked(value, isinstance(value, dict), path))
    _checked(value, given.pop("type", None) == cls.__name__, path)
    hints = _hints(cls)
    _checked(value, given.keys() <= hints.keys(), path)
    fields = {name: _decode(item, hints[name], _join(path, name), arrays) for name, item in given.items()}
    try:
        return cls(**fields)
    except (TypeError, ValueError) as error:
        raise FileError(f"not a deepscope result: at {path or 'its top'}, {error}") from None


def _array(value: Any, path: str, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    name = _checked(value, isinstance(value, dict), path).get("array")
    array = arrays.get(name) if isinstance(name, str) else None
    if array is None:
        raise FileError(f"not a complete deepscope result: the array {name!r} is missing")
    right = list(array.shape) == value.get("shape") and array.dtype.str == value.get("dtype")
    return _checked(array, right, path)


def _decode_free(value: Any) -> Any:
    match value:
        case str() if _LIKE_A_NUMBER.fullmatch(value):
            return value[1:] if value.startswith("\\") else _NOT_FINITE[value]
        case list():
            return [_decode_free(item) for item in value]
        case dict():
            return {key: _decode_free(item) for key, item in value.items()}
        case _:
            return value


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _checked(value: Any, right: bool, path: str) -> Any:
    if not right:
        raise _wrong(path)
    return value


def _wrong(path: str) -> FileError:
    return FileError(f"not a deepscope result, or of another version: cannot read {path or 'its top'}")

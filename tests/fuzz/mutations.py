"""Damage to the bytes of files, and lies in the JSON that they hold. Everything follows from an `rng`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from random import Random
from typing import Any, TypeAlias

EXTREME = (
    0,
    1,
    2,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    65536,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63,
    2**64 - 1,
)
HOSTILE_TEXT = (
    "",
    "x",
    "NaN",
    "\\\\Infinity",
    "../../outside",
    "/etc/passwd",
    "__class__",
    "a\nb",
    "\x1b]0;title\x07",
    "\x00",
    "\ud800",
    "\u202eabc",
    "[red]x[/red]",
    "<script>alert(1)</script>",
    "9" * 5000,
    "x" * 100_000,
)

_DEEP, _DEPTHS = "deeply nested", (50, 900, 100_000)

Bytes: TypeAlias = "Callable[[Random, bytearray], bytes | bytearray]"


def damaged(rng: Random, content: bytes) -> bytes:
    """The bytes with one to three kinds of damage; now and then with nothing left of them."""
    if rng.random() < 0.02:
        return rng.choice((b"", b"\x00" * len(content), rng.randbytes(64)))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = bytes(rng.choice(_DAMAGE)(rng, bytearray(content)))
    return content


def _place(rng: Random, content: bytearray) -> int:
    """Anywhere, but every other time in the first bytes or the last ones, where headers and directories are."""
    size = max(len(content), 1)
    near = min(size, rng.choice((16, 64, 512)))
    return rng.choice((rng.randrange(size), rng.randrange(size), rng.randrange(near), size - 1 - rng.randrange(near)))


def _flip(rng: Random, content: bytearray) -> bytearray:
    for _ in range(rng.choice((1, 1, 2, 8))):
        if content:
            content[_place(rng, content)] ^= 1 << rng.randrange(8)
    return content


def _overwrite(rng: Random, content: bytearray) -> bytearray:
    at, size = _place(rng, content), rng.choice((1, 4, 16, 512))
    fill = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size)))
    content[at : at + size] = fill[: len(content) - at]
    return content


def _integer(rng: Random, content: bytearray) -> bytearray:
    at, size = _place(rng, content), rng.choice((1, 2, 4, 8))
    value = rng.choice(EXTREME) & (256**size - 1)
    content[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))[: len(content) - at]
    return content


def _number(rng: Random, content: bytearray) -> bytes:
    """One number in decimal digits becomes another one: of the same length, or of any."""
    found = list(re.finditer(rb"\d+", content))
    if not found:
        return bytes(content)
    match = rng.choice(found)
    text = str(rng.choice((*EXTREME, -1, 10**30))).encode()
    text = text if rng.random() < 0.5 else text[: len(match[0])].rjust(len(match[0]), b"0")
    return bytes(content[: match.start()] + text + content[match.end() :])


def _truncate(rng: Random, content: bytearray) -> bytearray:
    return content[: _place(rng, content)]


def _remove(rng: Random, content: bytearray) -> bytearray:
    at = _place(rng, content)
    del content[at : at + rng.choice((1, 3, 64, 4096))]
    return content


def _splice(rng: Random, content: bytearray) -> bytearray:
    """A piece of the content over, or between, other bytes of it."""
    begin, at, size = _place(rng, content), _place(rng, content), rng.choice((1, 8, 64, 4096))
    content[at : at + rng.choice((0, size))] = content[begin : begin + size]
    return content


def _append(rng: Random, content: bytearray) -> bytearray:
    return content + rng.choice((rng.randbytes(7), bytes(4096), bytes(content[:4096])))


_DAMAGE: tuple[Bytes, ...] = (
    _flip,
    _flip,
    _overwrite,
    _integer,
    _integer,
    _number,
    _truncate,
    _remove,
    _splice,
    _append,
)


def lied(rng: Random, document: Any) -> Any:
    """A JSON document in which one or two nodes say something else."""
    document = deepcopy(document)
    for _ in range(rng.choice((1, 1, 1, 2))):
        holders = list(_holders(document))
        if not holders or rng.random() < 0.02:
            document = _another(rng, document)
        else:
            _change(rng, *rng.choice(holders))
    return document


def json_text(document: Any) -> str:
    """As other programs write it, NaN and all, but far deeper than Python's own writer goes. ASCII only."""
    text = json.dumps(document, indent=1)
    for depth in _DEPTHS:
        text = text.replace(f'"{_DEEP} {depth}"', "[" * depth + "]" * depth)
    return text


def _holders(node: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key or index) of each node below this one."""
    if isinstance(node, (dict, list)):
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            yield node, key
            yield from _holders(node[key])


def _change(rng: Random, holder: Any, key: Any) -> None:
    action = rng.random()
    if action < 0.1:
        del holder[key]
    elif action < 0.2 and isinstance(holder, dict):
        holder[rng.choice(HOSTILE_TEXT)] = holder[key]
    elif action < 0.2:
        holder.extend(deepcopy(holder) * rng.choice((1, 1, 200)))
    else:
        holder[key] = _another(rng, holder[key])


def _another(rng: Random, value: Any) -> Any:
    numbers = (*EXTREME, -1, 0.5, -0.0, 1e-300, 1e308, float("nan"), float("inf"), float("-inf"), 10**400)
    near: list[Any] = [None, True, False, [], {}, [value], {"a": value}, str(value), f"{_DEEP} {rng.choice(_DEPTHS)}"]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        near += [value + 1, value - 1, -value, value * 2, value * 1000, *rng.sample(numbers, 8)]
    if isinstance(value, str):
        near += [value.upper(), value + " ", value[:-1], *rng.sample(HOSTILE_TEXT, 8)]
    if isinstance(value, list):
        near += [value[:-1], value * 2, value[::-1], [0] * 100_000]
    return rng.choice((*near, rng.choice(numbers), rng.choice(HOSTILE_TEXT)))

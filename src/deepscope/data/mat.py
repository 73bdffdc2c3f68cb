"""Numeric arrays of MATLAB 5 files.

SciPy's reader ends the process (segmentation fault) on some damaged files; this one does less and checks every length.
The format: MathWorks, "MAT-File Format", level 5.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
"""How data is stored, by the type of its element."""
_NUMERIC = range(6, 16)
"""Classes of arrays that hold numbers; others are text, cells, structures and objects."""
_COMPLEX = 0x800
_MOST_DIMENSIONS = 32


def read_arrays(path: Path, names: Collection[str], *, most: int) -> dict[str, NDArray[Any]]:
    """The arrays of these names that the file has, as they are stored.

    Args:
        path: a MATLAB 5 file, compressed or not.
        names: of the arrays to read; others are skipped.
        most: bytes of the file, and of each array once it is unpacked.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such file, damaged or too large, or an array of these names does not hold real numbers.
    """
    with path.open("rb") as file:
        content = memoryview(file.read(most + 1))
    if len(content) > most:
        raise ValueError(f"it has more than {most} bytes")
    if content[124:_HEADER] != b"\x00\x01IM":
        raise ValueError("it is not a MATLAB 5 file")
    found: dict[str, NDArray[Any]] = {}
    for kind, body in _elements(content[_HEADER:], aligned=False):
        if kind == _COMPRESSED:
            kind, body = next(_elements(_unpacked(body, most), aligned=False), (0, body))
        if kind == _MATRIX and (named := _array(body, names)):
            found.update([named])
    return found


def _unpacked(body: memoryview, most: int) -> memoryview:
    packed = zlib.decompressobj()
    try:
        content = packed.decompress(body, most)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not packed.eof:
        raise ValueError(f"an array is cut off, or unpacks to more than {most} bytes")
    return memoryview(content)


def _elements(content: memoryview, *, aligned: bool) -> Iterator[tuple[int, memoryview]]:
    """Type and body of each element; those inside an array are aligned to eight bytes."""
    at = 0
    while at < len(content):
        if at + 8 > len(content):
            raise ValueError("it ends within an element")
        kind, count = struct.unpack_from("<II", content, at)
        if small := kind >> 16:  # up to four bytes stand in the tag itself
            kind, count, start, after = kind & 0xFFFF, small, at + 4, at + 8
        else:
            start = at + 8
            after = start + count + (-count % 8 if aligned else 0)
        if start + count > (at + 8 if small else len(content)):
            raise ValueError("it ends within an element")
        yield kind, content[start : start + count]
        at = after


def _array(body: memoryview, names: Collection[str]) -> tuple[str, NDArray[Any]] | None:
    """Name and array; None for another name."""
    elements = _elements(body, aligned=True)
    try:
        (_, flags), (_, dimensions), (_, name) = next(elements), next(elements), next(elements)
        called = bytes(name).decode("ascii", "replace")
        if called not in names:
            return None
        kind, data = next(elements)
    except StopIteration:
        raise ValueError("an array is incomplete") from None
    flag = int.from_bytes(flags[:4], "little")
    if flag & 0xFF not in _NUMERIC or flag & _COMPLEX or kind not in _NUMBERS:
        raise ValueError(f"{called} does not hold real numbers")
    if len(dimensions) % 4 or len(dimensions) > 4 * _MOST_DIMENSIONS:
        raise ValueError(f"{called} has an impossible shape")
    shape = struct.unpack(f"<{len(dimensions) // 4}i", dimensions)
    dtype = np.dtype(_NUMBERS[kind])
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"{called} announces the shape {shape} and holds {len(data)} bytes")
    return called, np.frombuffer(data, dtype).reshape(shape, order="F")

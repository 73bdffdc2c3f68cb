"""Images of other channels than RGB: NumPy files and arrays of shape (H, W, C), and multispectral TIFF."""

from __future__ import annotations

import ast
import io
import logging
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepscope.images.bounds import TIFF, Limits, check_bytes, check_size
from deepscope.images.files import Source, content
from deepscope.images.refusals import Exhausted, Refused, UnreadableImage, label, shortage

SUFFIX = ".npy"
"""Of NumPy's files, which hold one array each."""
_NUMPY = b"\x93NUMPY"
_HEADER = 2**16
"""Bytes that the header of a NumPy file may have; ours take 128."""
_LARGEST = {"|u1": 255.0, "<u2": 65535.0, ">u2": 65535.0}
"""The level that becomes 1, of integers; numbers of floating point are taken as they are."""
_DEFLATE = (8, 32946)
"""TIFF's numbers of the one compression that is read."""
_FLOATS = ("<f2", "<f4", "<f8", ">f2", ">f4", ">f8")


def read_stack(source: Source, channels: int, limits: Limits = Limits()) -> NDArray[np.float32]:
    """One image of several channels as (H, W, C) float32 in [0, 1].

    Integers are divided by the largest level of their type (255 or 65535); numbers of floating point must lie between
    0 and 1. Sizes are checked before anything is allocated, and nothing is unpickled.

    Args:
        source: the path or the bytes of a NumPy file or a TIFF; or an (H, W, C) array.
        channels: C, which the image must have.
        limits: refuse what is larger.

    Raises:
        UnreadableImage: it is missing, damaged, of another kind or number of channels, or over a limit.
        Exhausted: memory or file handles ran out, or the disk failed: the image may be good.
    """
    name = label(source)
    try:
        return _scaled(_array(source, channels, limits))
    except UnreadableImage:
        raise
    except Refused as error:
        raise UnreadableImage(name, str(error)) from None
    except Exception as error:  # hostile bytes raise anything inside a decoder
        if stop := shortage(name, error):
            raise Exhausted(stop) from None
        raise UnreadableImage(name, f"it does not decode: {str(error)[:200] or type(error).__name__}") from None


def _array(source: Source, channels: int, limits: Limits) -> NDArray[Any]:
    if isinstance(source, np.ndarray):
        _check(source.shape, source.dtype.newbyteorder("<").str, channels, limits)
        return source
    if isinstance(source, (str, Path)):
        source = content(source, limits.bytes + 1)
    if not isinstance(source, bytes):
        raise Refused(f"a picture has no {channels} channels: give a NumPy file, a TIFF or an array (H, W, {channels})")
    check_bytes(source, limits)
    if source.startswith(_NUMPY):
        return _of_numpy(source, channels, limits)
    if source[:4] in TIFF:
        return _of_tiff(source, channels, limits)
    raise Refused(f"it is not an image of {channels} channels: give a NumPy file (.npy) or a TIFF that has as many")


def _of_numpy(data: bytes, channels: int, limits: Limits) -> NDArray[Any]:
    """The header is read first: the array is as large as it says, and the file must hold as much."""
    size, start = (2, 10) if data[6] == 1 else (4, 12)
    length = int.from_bytes(data[8 : 8 + size], "little")
    if length > _HEADER or len(data) < start + length:
        raise Refused("it is a NumPy file whose header is cut off or too long")
    try:
        about = ast.literal_eval(data[start : start + length].decode("latin-1").strip())
        kind, shape, fortran = about["descr"], about["shape"], about["fortran_order"]
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError):
        raise Refused("it is a NumPy file whose header is damaged") from None
    whole = isinstance(shape, tuple) and all(type(side) is int and side >= 0 for side in shape)
    if not isinstance(kind, str) or not whole:
        raise Refused("it is a NumPy file of objects or records, which is not supported: save one array of numbers")
    _check(shape, kind, channels, limits)
    count = math.prod(shape)
    if len(data) < start + length + count * np.dtype(kind).itemsize:
        raise Refused("it is truncated")
    found = np.frombuffer(data, np.dtype(kind), count, start + length)
    return found.reshape(shape, order="F" if fortran else "C")


def _of_tiff(data: bytes, channels: int, limits: Limits) -> NDArray[Any]:
    """The channels of a TIFF's first page, side by side or apart; or one channel per page."""
    import tifffile  # slow to load, and needed for such images alone

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is damaged is refused below, in one line
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        first, count = file.pages.first, len(file.pages)
        several = first.samplesperpixel == 1 and count > 1
        apart = not several and first.axes == "SYX"
        pages = [file.pages[page] for page in range(count)] if several and count == channels else [first]
        shape = first.shape if first.ndim == 3 else (*first.shape, count if several else 1)
        shape = (*shape[1:], shape[0]) if apart else shape
        _check(shape, first.dtype.newbyteorder("<").str if first.dtype else "?", channels, limits)
        if any(page.shape != first.shape or page.dtype != first.dtype for page in pages):
            raise Refused("it is a TIFF whose pages differ in size or type")
        for page in pages:
            _check_segments(page, data, limits)
        found = np.stack([page.asarray(maxworkers=1) for page in pages]) if several else first.asarray(maxworkers=1)
    return np.moveaxis(found, 0, -1) if several or apart else found


def _check_segments(page: Any, data: bytes, limits: Limits) -> None:
    """Refuse a page whose strips or tiles are larger than the image is, or than they claim once decompressed."""
    if page.compression not in (1, *_DEFLATE):
        kind = getattr(page.compression, "name", page.compression)
        raise Refused(f"it is a TIFF compressed by {kind}, which is not supported: save it with deflate, or without")
    size = math.prod(page.chunks) * page.dtype.itemsize
    if size > limits.memory or len(page.dataoffsets) * size > 4 * limits.memory:
        raise Refused("it is a TIFF with strips or tiles that are too large")
    if page.compression in _DEFLATE:
        for offset, count in zip(page.dataoffsets, page.databytecounts):
            opened = zlib.decompressobj()
            found = opened.decompress(data[offset : offset + count], size + 1)
            if len(found) > size or opened.unconsumed_tail:
                raise Refused("it is a TIFF whose strips or tiles are larger than it says")


def _check(shape: tuple[int, ...], kind: str, channels: int, limits: Limits) -> None:
    """Refuse another shape, type or number of channels, and what is too large, before it is allocated."""
    kind = "|u1" if kind in ("<u1", "u1") else kind
    if len(shape) != 3 or shape[2] != channels:
        wanted = f"the network takes (height, width, {channels})"
        raise Refused(f"it holds an array of shape {shape}, and {wanted}")
    if kind not in (*_LARGEST, *_FLOATS):
        raise Refused(f"its numbers are of the type {kind[:20]}: give uint8, uint16, or floating point in [0, 1]")
    check_size((shape[1], shape[0]), limits)
    if (needed := 8 * math.prod(shape)) > limits.memory:  # the levels, and their shares of the largest
        most = limits.memory >> 20
        raise Refused(f"decoding it takes {needed >> 20:,} MiB of memory, over the limit of {most:,} MiB")


def _scaled(found: NDArray[Any]) -> NDArray[np.float32]:
    if found.dtype.kind == "u":
        return (found.astype(np.float32) / np.float32(_LARGEST["|u1" if found.dtype.itemsize == 1 else "<u2"])).copy()
    values = found.astype(np.float32)
    low, high = (float(end) for end in (values.min(), values.max()))
    if not (low >= 0 and high <= 1):
        raise Refused(f"its numbers lie between {low:.4g} and {high:.4g}: scale floating point to [0, 1]")
    return values

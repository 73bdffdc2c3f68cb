"""Files at addresses of fsspec, such as `s3://bucket/folder`, beside files at paths: on any storage that all nodes see.

An address is held as a `Path`, in which `s3://bucket` becomes `s3:/bucket`; where it is opened, it is an address again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from deepscope.errors import FileError, MissingExtraError
from deepscope.files import atomic

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)", re.DOTALL)
"""Scheme and place. A scheme has two letters at least: `c:/` is a drive."""


def is_address(path: str | Path) -> bool:
    """Whether it is an address and not a path."""
    return _ADDRESS.fullmatch(os.fspath(path)) is not None


def names(folder: Path) -> list[str]:
    """The names in a folder, sorted.

    Raises:
        OSError: it cannot be listed.
    """
    if not is_address(folder):
        return sorted(os.listdir(folder))  # noqa: PTH208 (a great many names)
    system, place = _system(folder)
    return sorted(str(one).rstrip("/").rpartition("/")[2] for one in system.ls(place, detail=False))


def below(folder: Path) -> Iterator[tuple[str, int]]:
    """The files below an address, at any depth, sorted: names from there, with "/", and bytes.

    Raises:
        FileError: it cannot be listed.
    """
    system, place = _system(folder)
    try:
        found: dict[str, Any] = system.find(place, detail=True)
    except OSError as error:
        raise FileError(f"{_spelled(folder)} cannot be listed: {error}", path=folder) from None
    root = place.rstrip("/") + "/"
    for name in sorted(found):
        if name.startswith(root):
            yield name.removeprefix(root), int(found[name].get("size") or 0)


def content(path: Path) -> bytes:
    """All bytes of a file.

    Raises:
        OSError: it cannot be read.
    """
    if not is_address(path):
        return path.read_bytes()
    system, place = _system(path)
    return bytes(system.cat_file(place))


def opened(path: Path) -> BinaryIO:
    """A file, open for reading.

    Raises:
        OSError: it cannot be opened.
    """
    if not is_address(path):
        return path.open("rb")
    system, place = _system(path)
    return system.open(place, "rb")


def replace(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all. Where a storage has no atomic rename, its own rename takes this place.

    Raises:
        OSError: it cannot be written.
    """
    if not is_address(path):
        with atomic(path) as temporary:
            temporary.write_bytes(data)
        return
    system, place = _system(path)
    folder, _, name = place.rpartition("/")
    temporary = f"{folder}/.{name}.{os.urandom(4).hex()}"
    try:
        system.pipe_file(temporary, data)
        system.mv(temporary, place)
    finally:
        if system.exists(temporary):
            system.rm_file(temporary)


def remove(path: Path) -> None:
    """Delete a file, if it is there."""
    if not is_address(path):
        path.unlink(missing_ok=True)
        return
    system, place = _system(path)
    if system.exists(place):
        system.rm_file(place)


def make(folder: Path) -> None:
    """Make a folder, if it is missing.

    Raises:
        OSError: it cannot be made.
    """
    if not is_address(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return
    system, place = _system(folder)
    system.makedirs(place, exist_ok=True)


def _spelled(path: str | Path) -> str:
    """An address as fsspec takes it."""
    found = _ADDRESS.fullmatch(os.fspath(path))
    assert found is not None
    scheme, place = found.groups()
    return f"{scheme}://{'/' if scheme in ('file', 'local') else ''}{place}"


def _system(path: Path) -> tuple[Any, str]:
    """The storage of an address, and the place there.

    Raises:
        MissingExtraError: fsspec is not installed.
        FileError: fsspec has no such storage, or lacks the package for it; or the place leaves its folder.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise MissingExtraError("remote", f"the address {_spelled(path)}") from None
    if ".." in path.parts:
        raise FileError(f"{_spelled(path)} leaves its folder: write it without '..'", path=path)
    try:
        return url_to_fs(_spelled(path))
    except (ImportError, ValueError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise FileError(f"{_spelled(path)} cannot be opened: {reason}", path=path) from None

"""Writing and checking files: whole or not at all, and never outside their folder."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from deepscope.errors import InputError


@contextmanager
def atomic(path: Path) -> Generator[Path, None, None]:
    """A temporary path beside `path`, renamed onto it when the block ends without an error.

    Whoever reads `path` sees the old file or the whole new one, also after a crash or ctrl-C.
    The temporary name keeps the suffix, because many writers choose their format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def inside(folder: Path, name: str) -> Path:
    """`folder / name`, refused where it would lie outside `folder` (links are followed first).

    Raises:
        InputError: `name` is absolute, climbs out with `..`, or follows a link to elsewhere or in a circle.
    """
    try:
        path = (folder / name).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a circle of links, a null byte
        raise InputError(f"{name!r} in {folder} cannot be followed ({error})") from None
    if not path.is_relative_to(folder.resolve()):
        raise InputError(f"{name!r} lies outside {folder}: names in a file from outside stay in its folder")
    return path

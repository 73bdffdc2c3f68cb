"""Archives from outside: only wanted files, only inside their folder, only so many bytes."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO

from deepscope.errors import InputError
from deepscope.files import inside

_CHUNK = 1 << 20


class Damaged(Exception):
    """An archive that cannot be unpacked; the text says why."""


def unpack(archive: Path, folder: Path, place: Callable[[str], str | None], *, most: int) -> int:
    """Write an archive's files (zip, or tar packed or not) below a folder. Links and devices are left out.

    Args:
        archive: the file.
        folder: where they go; it has to exist.
        place: a member's name -> its path below `folder`, or None to leave it.
        most: bytes that are unpacked at most.

    Returns:
        how many files were written.

    Raises:
        Damaged: it is no archive, is damaged, climbs out of the folder, or holds more than `most` bytes.
    """
    count, left = 0, most
    try:
        for name, opened in _members(archive):
            where = place(name)
            if where is None:
                continue
            path = inside(folder, where)
            path.parent.mkdir(parents=True, exist_ok=True)
            with opened() as member, path.open("xb") as file:
                while chunk := member.read(min(_CHUNK, left + 1)):
                    left -= len(chunk)
                    if left < 0:
                        raise Damaged(f"it holds more than {most} bytes")
                    file.write(chunk)
            count += 1
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError, InputError) as error:
        raise Damaged(str(error) or type(error).__name__) from None
    return count


def _members(archive: Path) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    """The names of an archive's plain files, each with how to open it."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                if not info.is_dir():
                    yield info.filename, partial(packed.open, info)
    else:
        with tarfile.open(archive) as packed:
            for info in packed:
                if info.isfile() and (member := packed.extractfile(info)):
                    yield info.name, lambda member=member: member

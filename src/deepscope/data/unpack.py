"""Archives from outside: verified to their last byte, only wanted files, only inside their folder, bounded in size."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from deepscope.files import inside

_CHUNK = 1 << 20
_AT_ONCE = 1 << 24
"""Bytes that may be read at once: no name or header of an archive is as long."""
_SPARE = 4
"""How many times `most` an archive may hold, with the files that are not wanted."""
_ENTRIES = 100_000
_DIRECTORY = 1 << 24
"""Bytes of a zip file's directory; each entry takes 46 or more of them."""
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE}


class Damaged(Exception):
    """An archive that cannot be unpacked; the text says why."""


def unpack(archive: Path, folder: Path, place: Callable[[str], str | None], *, most: int) -> int:
    """Write an archive's files (zip, or tar packed or not) below a folder. Links and devices are left out.

    The whole archive is read, so that all of its check sums are compared.

    Args:
        archive: the file.
        folder: where they go; it has to exist.
        place: a member's name -> its path below `folder`, or None to leave it.
        most: bytes that are unpacked at most.

    Returns:
        how many files were written.

    Raises:
        Damaged: it is not an archive, is damaged, leaves the folder, or holds more than `most` bytes.
        OSError: the disk cannot be written.
    """
    count, left = 0, most
    try:
        for name, member in _members(archive, _SPARE * most):
            if (where := place(name)) is None:
                continue
            path = inside(folder, where)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                while chunk := member.read(min(_CHUNK, left + 1)):
                    left -= len(chunk)
                    if left < 0:
                        raise Damaged(f"it holds more than {most} bytes")
                    file.write(chunk)
            count += 1
    except (Damaged, MemoryError):
        raise
    except Exception as error:  # a damaged archive fails in any way
        if isinstance(error, OSError) and error.errno in _DISK:
            raise
        raise Damaged(f"it is damaged ({str(error) or type(error).__name__})") from None
    return count


def _members(archive: Path, most: int) -> Iterator[tuple[str, IO[bytes]]]:
    """An archive's plain files with their names, one after another: each can be read until the next is asked for."""
    members = _zipped if zipfile.is_zipfile(archive) else _tarred
    for number, member in enumerate(members(archive, most)):
        if number == _ENTRIES:
            raise Damaged(f"it holds more than {_ENTRIES} files")
        yield member


def _zipped(archive: Path, most: int) -> Iterator[tuple[str, IO[bytes]]]:
    with archive.open("rb") as raw:
        _check_directory(raw)
        with zipfile.ZipFile(raw) as packed:
            if sum(info.file_size for info in packed.infolist()) > most:
                raise Damaged(f"it holds more than {most} bytes")
            for info in packed.infolist():
                if not info.is_dir():
                    with packed.open(info) as member:
                        yield info.filename, member
                        while member.read(_CHUNK):  # to the end, where its check sum is compared
                            pass


def _check_directory(raw: IO[bytes]) -> None:
    """Refuse a directory that is too long before all of it is read.

    The record of it is found as `zipfile` finds it: its first bytes may also occur by chance.
    """
    raw.seek(-min(raw.seek(0, io.SEEK_END), 22 + 2**16 + 20), io.SEEK_END)
    tail = raw.read()
    plain = tail[-22:-18] == b"PK\5\6" and tail.endswith(b"\0\0")  # without a comment
    end = len(tail) - 22 if plain else tail.rfind(b"PK\5\6")
    if end < 0:
        return
    large = end >= 20 and tail[end - 20 : end - 16] == b"PK\6\7"
    if large or int.from_bytes(tail[end + 12 : end + 16], "little") > _DIRECTORY:
        raise Damaged(f"its directory is longer than {_DIRECTORY} bytes, or in the format for more than 4 GB")


def _tarred(archive: Path, most: int) -> Iterator[tuple[str, IO[bytes]]]:
    with archive.open("rb") as raw, _decompressed(raw) as content:
        stream = _Bounded(content, most + _AT_ONCE)  # headers and padding count too
        try:
            opened = tarfile.TarFile(fileobj=stream)  # pyright: ignore[reportArgumentType]
        except tarfile.ReadError as error:
            raise Damaged(f"it could not be opened as a zip or tar archive: {error}") from None
        with opened as packed:
            entries = 0
            while (info := packed.next()) is not None:
                entries += 1
                if entries > _ENTRIES:
                    raise Damaged(f"it holds more than {_ENTRIES} entries")
                if info.isreg() and (member := packed.extractfile(info)):
                    yield info.name, member
        if stream.last != bytes(tarfile.BLOCKSIZE):  # tarfile takes a damaged header for the end
            raise Damaged("it has no end, or a damaged header")
        while stream.read(_CHUNK):  # to the check sum of what it is packed in
            pass


def _decompressed(raw: IO[bytes]) -> IO[bytes] | Any:
    """What is packed in a file, by its first bytes; the file itself where nothing is."""
    start = raw.read(6)
    raw.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)
    if start.startswith(b"BZh"):
        return bz2.BZ2File(raw)
    return lzma.LZMAFile(raw) if start == b"\xfd7zXZ\0" else raw


class _Bounded:
    """A file that gives neither much at once nor much in all, for a reader that believes what headers say.

    Attributes:
        last: what was read last.
    """

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self._most, self.last = file, most, b""

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes."""
        if not 0 <= size <= _AT_ONCE:
            raise Damaged(f"a part of it claims {size} bytes")
        self.last = self._file.read(size)
        self.tell()
        return self.last

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        """Forward, in packed content at the cost of reading it."""
        if place > self._most:
            raise Damaged(f"it holds more than {self._most} bytes")
        return self._file.seek(place, whence)

    def tell(self) -> int:
        """Where the next byte is."""
        if (place := self._file.tell()) > self._most:
            raise Damaged(f"it holds more than {self._most} bytes")
        return place

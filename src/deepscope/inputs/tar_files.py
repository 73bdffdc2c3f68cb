"""Tar files of images, in the layout of WebDataset."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from deepscope import images
from deepscope.errors import DataError, FileError
from deepscope.inputs.container import Container, Inside, Label

_SAMPLE = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)", re.DOTALL)
"""A member's name: the key of its sample, and what it is of the sample."""
_LONGEST_HEADER = 2**20
"""Bytes of a header of a tar file: of a long name, or of extended attributes."""
_LONGEST_LABEL = 32
"""Bytes of a `.cls` file, which holds a number."""
_END = bytes(512)


class TarFile(Container):
    """A tar file. Files of one sample follow each other and differ after the first dot: `a/7.jpg`, `a/7.cls`."""

    suffix = ".tar"

    def entries(self, path: Path) -> Iterator[tuple[str, int, int, Label]]:
        """Each sample's image; its label is the number in its `.cls` file.

        A key that comes back after another one is refused: files of two samples could not be told apart.
        """
        suffixes, seen, key = images.suffixes(), set[int](), None
        sample: dict[str, tarfile.TarInfo] = {}
        try:
            with images.opened(path) as file, tarfile.open(fileobj=_Headers(file), mode="r:") as archive:  # type: ignore[arg-type]
                for member in _members(archive):
                    found = _SAMPLE.fullmatch(member.name)
                    if found and member.islnk():
                        raise DataError(
                            f"{path}: {member.name!r} is a hard link: make the file again without hard links",
                            data=path,
                        )
                    if not found or not member.isreg() or member.issparse():
                        continue
                    if found[1] != key:
                        yield from self._image(path, archive, key or "", sample, suffixes)
                        key, sample = found[1], {}
                        if hash(key) in seen:
                            raise DataError(
                                f"{path}: {key!r} comes back after other samples: sort the files in it by name, so "
                                "that those of one sample follow each other",
                                data=path,
                            )
                        seen.add(hash(key))
                    if found[2].lower() in sample:
                        raise DataError(
                            f"{path} holds {member.name!r} twice: give every sample its own name", data=path
                        )
                    sample[found[2].lower()] = member
                yield from self._image(path, archive, key or "", sample, suffixes)
        except (tarfile.TarError, EOFError) as error:
            raise FileError(f"{path} is no whole tar file ({error}): make it again", path=path) from None

    def _image(
        self, path: Path, archive: tarfile.TarFile, key: str, sample: dict[str, tarfile.TarInfo], suffixes: set[str]
    ) -> Iterator[tuple[str, int, int, Label]]:
        found = [(kind, member) for kind, member in sample.items() if "." + kind.rpartition(".")[2] in suffixes]
        if len(found) > 1:
            raise DataError(f"{path}: sample {key!r} has {len(found)} images: give each a name of its own", data=path)
        for _, member in found:
            label = sample.get("cls")
            yield member.name, member.offset_data, member.size, label and _number(path, archive, label)

    def contents(self, path: Path, inside: Sequence[Inside]) -> Iterator[tuple[bytes, Label]]:
        """Each image's bytes, one more at most than `decode` takes."""
        with images.opened(path) as file:
            for one in inside:
                file.seek(one.start)
                wanted = min(one.length, images.Limits.bytes + 1)
                content = file.read(wanted)
                if len(content) < wanted:
                    raise FileError(f"{path} ends within {one.name}: it was changed while it was read", path=path)
                yield content, None


class _Headers:
    """A tar file for `tarfile`, which believes the sizes in headers: a small file could ask for any memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.tell = file, file.tell

    def read(self, size: int) -> bytes:
        """The next bytes, as many as a header may have."""
        if not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError("a header has an impossible size")
        return self._file.read(size)

    def seek(self, position: int) -> int:
        """Go to a byte, which may be beyond the end."""
        try:
            return self._file.seek(position)
        except (OSError, OverflowError, ValueError):
            raise tarfile.ReadError("a header has an impossible size") from None


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members, in memory that does not grow with them.

    Raises:
        TarError: the file ends early.
    """
    listed: list[tarfile.TarInfo] = archive.members  # type: ignore[attr-defined]
    while (member := archive.next()) is not None:
        listed.clear()
        yield member
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(len(_END)) != _END:
        raise tarfile.ReadError("its end is missing")


def _number(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> int:
    file = archive.extractfile(member) if member.size <= _LONGEST_LABEL else None
    text = file.read().decode(errors="replace").strip() if file else ""
    if not re.fullmatch("[0-9]{1,9}", text):
        raise DataError(f"{path}: {member.name} holds no class number: write digits only, such as 8", data=path)
    return int(text)

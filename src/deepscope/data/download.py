"""`get`: download a file or archive, check it, and install it completely or not at all."""

from __future__ import annotations

import gzip
import re
import secrets
import shutil
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from deepscope.data.fetch import Patience, Unavailable, fetch, forget
from deepscope.data.unpack import Damaged, unpack
from deepscope.errors import FileError
from deepscope.files import atomic, inside
from deepscope.session import Session

_UNPACKED_MOST = 2**30


@dataclass(frozen=True)
class Source:
    """A file on the web and where it belongs.

    Attributes:
        urls: the same file at several places, tried in order.
        to: below `HOME/data`: the file, or the folder that an archive is unpacked into.
        most: bytes that are accepted at most.
        sha256: of the file, unpacked where it is a `.gz`; empty where none is published: then the
            first download's digest is recorded beside the data, and later ones have to agree.
        place: makes the file an archive: a member's name -> its path below `to`, or None to leave it.
        files: how many files the archive has to give.
    """

    urls: tuple[str, ...]
    to: str
    most: int
    sha256: str = ""
    place: Callable[[str], str | None] | None = None
    files: int = 0

    @classmethod
    def each(cls, address: str, names: Iterable[str], folder: str, *, most: int) -> tuple[Source, ...]:
        """Files of these names below one address, which belong into one folder; `most` bytes each."""
        return tuple(cls(urls=(f"{address}{name}",), to=f"{folder}/{name}", most=most) for name in names)


@dataclass(frozen=True)
class Got:
    """A file or folder that is installed.

    Attributes:
        path: where.
        sha256: of what was downloaded; empty where the data was installed before and no digest is known.
        checked: what the digest was compared with.
    """

    path: Path
    sha256: str
    checked: str


def get(source: Source, session: Session, *, patience: Patience = Patience()) -> Got:
    """Install a source's file or folder in the session's home; download it where it is missing.

    An interrupted download resumes at the next call. One with the wrong digest is discarded and
    tried once more, then at the next URL.

    Raises:
        FileError: it cannot be downloaded; the message says which file to put where.
    """
    target = inside(session.home / "data", source.to)
    if target.exists() and not _empty(target):
        return _here(source, target)
    part = target.with_name(f"{target.name}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"{part.parent} cannot be created ({error.strerror}): name another folder in DEEPSCOPE_HOME",
            path=part.parent,
        ) from None
    _check_leftovers(target, part)
    reasons = []
    for url in source.urls:
        for _ in range(2):
            try:
                with session.progress(f"downloading {target.name}") as advance:
                    fetch(url, part, most=source.most, patience=patience, advance=advance)
                return _accepted(source, target, part, url)
            except Unavailable as error:
                reasons.append(str(error))
                break
            except Damaged as error:
                forget(part)
                reasons.append(f"{url}: {error}")
    how = f"unpack {source.urls[0]} into" if source.place else f"put the file {source.urls[0]} at"
    raise FileError(
        f"{source.to} could not be downloaded ({'; '.join(dict.fromkeys(reasons))}): by hand, {how} {target}",
        path=target,
    )


def _empty(target: Path) -> bool:
    return target.is_dir() and not any(target.iterdir())


def _check_leftovers(target: Path, part: Path) -> None:
    """Refuse to write through a link, or over a pipe, a device or a folder."""
    for path in (part, part.with_name(f"{part.name}.version"), _record(target), target):
        if path.is_symlink() or (path.exists() and not path.is_file() and path != target):
            raise FileError(f"{path} is in the way: it is not a regular file; remove it, then get it again", path=path)


def _record(target: Path) -> Path:
    """Where the digest of a first download is kept."""
    return target.with_name(f"{target.name}.sha256")


def _recorded(target: Path) -> str:
    """The digest of a first download; empty where there is none."""
    if not _record(target).is_file():
        return ""
    with _record(target).open("rb") as file:
        found = re.match(rb"[0-9a-f]{64}(?= )", file.read(100))
    return found[0].decode() if found else ""


def _here(source: Source, target: Path) -> Got:
    """Data that was installed before: checked where its digest is known."""
    if target.is_dir() != bool(source.place):
        kind = "a folder, not a file" if target.is_dir() else "a file, not a folder"
        raise FileError(f"{target} is {kind}: remove it, then get it again", path=target)
    if source.place or not source.sha256:
        return Got(target, "", "was installed before, not compared")
    try:
        found = _digest(target)
    except Damaged as error:
        raise FileError(f"{target} cannot be used, {error}: remove it, then get it again", path=target) from None
    if found != source.sha256:
        raise FileError(
            f"{target} has the SHA-256 {found}, not {source.sha256}: remove it, then get it again", path=target
        )
    return Got(target, found, "was installed before, agrees with the published file")


def _accepted(source: Source, target: Path, part: Path, url: str) -> Got:
    """Check a whole download and move it to its place. Raises Damaged where it is not the right file."""
    found, record = _digest(part), _record(target)
    expected, checked = source.sha256, "agrees with the published file"
    if not expected and (expected := _recorded(target)):
        checked = "agrees with the first download"
    if expected and found != expected:
        where = "" if source.sha256 else f" as in {record}: remove that file where the published one has changed"
        raise Damaged(f"its SHA-256 is {found}, not {expected}{where}")
    if source.place:
        _unpacked(source, source.place, target, part)
    else:
        part.replace(target)
    if not expected:
        checked = f"no digest is published: recorded in {record.name}"
        with atomic(record) as temporary:
            temporary.write_text(f"{found}  {url}\n")
    forget(part)
    return Got(target, found, checked)


def _unpacked(source: Source, place: Callable[[str], str | None], target: Path, archive: Path) -> None:
    """Unpack beside the target, count, and rename: the folder is there whole or not at all."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        count = unpack(archive, temporary, place, most=2 * source.most)
        if count != source.files:
            raise Damaged(f"it holds {count} of the files that are wanted, not {source.files}")
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _digest(path: Path) -> str:
    """SHA-256 of a file's content: of what is packed in it where it is a gzip file named so."""
    digest = sha256()
    packed = path.name.removesuffix(".part").endswith(".gz")
    try:
        with gzip.open(path) if packed else path.open("rb") as file:  # gzip compares its check sum at the end
            size = 0
            while chunk := file.read(1 << 20):
                digest.update(chunk)
                size += len(chunk)
                if packed and size > _UNPACKED_MOST:
                    raise Damaged(f"it unpacks to more than {_UNPACKED_MOST} bytes")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise Damaged(f"it is damaged ({error})") from None
    return digest.hexdigest()

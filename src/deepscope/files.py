"""Writing and checking files: atomically, by one process at a time, and never outside their folder."""

from __future__ import annotations

import glob
import hashlib
import os
import secrets
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from deepscope.errors import FileError


@contextmanager
def atomic(path: Path) -> Generator[Path, None, None]:
    """A temporary path beside `path`, renamed onto it when the block ends without an error.

    Whoever reads `path` sees the old file or the whole new one, also after a crash or ctrl-C.
    The temporary name keeps the suffix, because many writers choose their format by it.
    """
    with _beside(path) as temporary:
        yield temporary
        _rename(temporary, path)


@contextmanager
def _beside(path: Path) -> Generator[Path, None, None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(_temporary(path, secrets.token_hex(4)))
    temporary.touch(exist_ok=False)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _rename(temporary: Path, path: Path) -> None:
    """Bytes first, then the name: a power failure leaves no name without its bytes."""
    with temporary.open("r+b") as written:  # Windows flushes no handle that can only read
        os.fsync(written.fileno())
    temporary.replace(path)


def replace_together(
    content: Path,
    write: Callable[[Path], object],
    index: Path,
    describe: Callable[[str], str],
    *,
    retire: Callable[[], object] = lambda: None,
) -> None:
    """Replace two files that belong together so that `matching` finds the old pair or the new one, also after a crash.

    The new content first gets a name that carries its digest, beside the old content. Then the index, which names
    that digest, is replaced, and last the content takes its own name.

    Args:
        content: the large file.
        write: writes it to the path that it is given.
        index: the file that describes it.
        describe: gives the index's text for the SHA-256 of the content.
        retire: removes what describes the old pair; called right before the new index is in place.

    Raises:
        OSError: the disk is full, say. The old pair is as it was.
        FileError: another process is writing to the folder.
    """
    content.parent.mkdir(parents=True, exist_ok=True)
    with lock(content.parent):
        with _beside(content) as temporary:
            write(temporary)
            digest = sha256(temporary)
            waiting = _waiting(content, digest)
            if not _is(content, digest):
                _rename(temporary, waiting)
        try:
            with atomic(index) as path:
                path.write_text(describe(digest), encoding="utf-8")
                retire()
        except BaseException:
            if not _names(index, digest):  # ctrl-C may come after the index was replaced
                waiting.unlink(missing_ok=True)
            raise
        if waiting.exists():
            waiting.replace(content)
        for left in content.parent.glob(_waiting(content, _DIGIT * 64).name):  # of a save that was killed
            left.unlink(missing_ok=True)
        for path in (content, index):
            sweep(path)


def sweep(path: Path) -> None:
    """Remove what killed writers of `path` left beside it; no other one may be at work."""
    for left in path.parent.glob(_temporary(path.with_name(glob.escape(path.name)), _DIGIT * 8)):
        left.unlink(missing_ok=True)


def matching(content: Path, digest: object) -> Path | None:
    """The file that an index of `replace_together` names by its SHA-256; None where there is none."""
    if not isinstance(digest, str) or len(digest) != 64 or not digest.isalnum():
        return None
    candidates = (content, _waiting(content, digest))
    return next((path for path in candidates if _is(path, digest)), None)


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and sha256(path) == digest


def _names(index: Path, digest: str) -> bool:
    try:
        return digest.encode() in index.read_bytes()
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _waiting(content: Path, digest: str) -> Path:
    return content.with_name(f"{content.stem}-{digest}{content.suffix}")


def _temporary(path: Path, token: str) -> str:
    return f".{path.stem}.{token}{path.suffix}"


_DIGIT = "[0-9a-f]"

_holders: dict[tuple[int, int], int] = {}
"""Locked folders, by device and inode, and the thread that holds each: the same thread may lock again."""


@contextmanager
def lock(folder: Path, *, unsupported: Callable[[str], object] = lambda _: None) -> Generator[None, None, None]:
    """Keep other processes and threads that call this from the folder until the block ends.

    The operating system releases the lock when the process dies. Nothing is written to the folder: the folder itself
    is locked. Windows cannot do that, and some network file systems cannot either: there, the block runs unlocked.

    Args:
        folder: an existing one.
        unsupported: called with the reason where the file system cannot lock.

    Raises:
        FileError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        unsupported(f"{folder} cannot be locked ({error.strerror}): run one command at a time with it")
        yield
        return
    try:
        about = os.fstat(descriptor)
        key = about.st_dev, about.st_ino
        if _holders.get(key) == threading.get_ident():
            yield
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileError(
                f"another deepscope is writing to {folder}: wait until it is done, or name another folder", path=folder
            ) from None
        except OSError as error:
            unsupported(f"{folder} cannot be locked ({error.strerror}): run one command at a time with it")
        _holders[key] = threading.get_ident()
        try:
            yield
        finally:
            del _holders[key]
    finally:
        os.close(descriptor)


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
        FileError: `name` is absolute, leaves the folder with `..`, or follows a link to elsewhere or in a circle.
    """
    try:
        path = (folder / name).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a circle of links, a null byte
        raise FileError(f"{name!r} in {folder} cannot be followed ({error})", path=folder) from None
    if not path.is_relative_to(folder.resolve()):
        raise FileError(f"{name!r} is outside {folder}: a file may only name files in its own folder", path=folder)
    return path

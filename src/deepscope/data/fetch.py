"""Download one file over HTTP: resumed, retried, bounded in size."""

from __future__ import annotations

import http.client
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from deepscope.errors import FileError

_CHUNK = 1 << 16
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_NOT_SATISFIABLE = 416
_NUMBER = "[0-9]{1,18}"
_VERSION = re.compile(r"[ -~]{1,500}")


class Unavailable(Exception):
    """This URL does not provide the file; another may. The text says why."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server.

    Attributes:
        attempts: connections that are tried.
        timeout: seconds without a byte after which a connection is closed.
        pause: seconds before the second attempt; doubled before each further one.
    """

    attempts: int = 5
    timeout: float = 30.0
    pause: float = 1.0


def fetch(url: str, part: Path, *, most: int, patience: Patience, advance: Callable[[int], None]) -> None:
    """Download into `part`, resuming after what it already holds of the same version of the file.

    What makes it the same version (the server's ETag or date) is kept in `part` + `.version`.

    Args:
        url: where it is.
        part: where it goes; its folder has to exist.
        most: bytes that are accepted at most.
        patience: how often it is tried.
        advance: told of each chunk's bytes.

    Raises:
        Unavailable: the server does not answer, refuses, or keeps disconnecting; `part` is kept for another attempt.
        FileError: the file is larger than `most` bytes, or the disk does not take it.
    """
    reason = ""
    for attempt in range(patience.attempts):
        if attempt:
            time.sleep(patience.pause * 2 ** (attempt - 1))
        try:
            return _go_on(url, part, most, patience.timeout, advance)
        except urllib.error.HTTPError as error:
            error.close()
            reason = f"the server answers {error.code} {error.reason}"
            if error.code == _NOT_SATISFIABLE and part.exists():
                if error.headers.get("Content-Range") == f"bytes */{part.stat().st_size}":
                    return None  # the file is complete already
                forget(part)
            elif error.code not in _TRY_AGAIN:
                break
        except _TooLarge:
            forget(part)
            raise FileError(f"{url} sends more than {most} bytes: it is not the expected file") from None
        except (OSError, ValueError, http.client.HTTPException) as error:  # a ValueError: an address, a header
            cause = getattr(error, "reason", error)
            reason = str(cause) or type(cause).__name__
            if isinstance(cause, socket.gaierror):
                reason = "the server's name is not found: is there a network?"
                break
    raise Unavailable(f"{url}: {reason}")


def forget(part: Path) -> None:
    """Remove a partial download."""
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)


class _TooLarge(Exception):
    """More bytes than allowed."""


def _go_on(url: str, part: Path, most: int, timeout: float, advance: Callable[[int], None]) -> None:
    """One connection: from where `part` ends to the end of the file, or an error."""
    version = _kept_version(part)
    have = part.stat().st_size if version else 0
    request = urllib.request.Request(url, headers={"User-Agent": "deepscope", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", version)
    with urllib.request.urlopen(request, timeout=timeout) as response:
        start, total = _extent(response)
        if start not in (0, have):
            raise Unavailable(f"{url}: the server answers with another part of the file")
        if (total or 0) > most:
            raise _TooLarge
        with _opened(part, start, _version(response)) as file:
            have = start
            while chunk := response.read1(_CHUNK):  # what there is: a stall loses nothing
                have += len(chunk)
                if have > most:
                    raise _TooLarge
                _write(file, chunk, part)
                advance(len(chunk))
        if total is not None and have != total:
            raise ConnectionError(f"the connection ended after {have} of {total} bytes")


def _extent(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """The place in the file where the answer begins, and the file's whole size where the server tells it."""
    if response.status == http.client.PARTIAL_CONTENT:
        match = re.fullmatch(f"bytes ({_NUMBER})-{_NUMBER}/({_NUMBER}|\\*)", response.headers.get("Content-Range", ""))
        if not match:
            raise Unavailable(f"{response.url}: the server answers with a part of the file, and does not say which")
        return int(match[1]), None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if re.fullmatch(_NUMBER, length) else None


def _version(response: http.client.HTTPResponse) -> str:
    """What `If-Range` accepts as the file's version: a strong ETag, else its date; empty for none."""
    tag = response.headers.get("ETag", "")
    version = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
    return version if _VERSION.fullmatch(version) else ""


def _kept_version(part: Path) -> str:
    """The version of what `part` holds; empty where there is nothing to resume."""
    file = _version_file(part)
    if not (part.is_file() and file.is_file()):
        return ""
    with file.open("rb") as held:
        version = held.read(1000).decode("latin-1")
    return version if _VERSION.fullmatch(version) else ""


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _opened(part: Path, start: int, version: str) -> IO[bytes]:
    try:
        _version_file(part).write_text(version)
        return part.open("ab" if start else "wb", buffering=0)  # a full disk shows at once, not when it is closed
    except OSError as error:
        raise _unwritable(part, error) from None


def _write(file: IO[bytes], chunk: bytes, part: Path) -> None:
    try:
        rest = memoryview(chunk)
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise _unwritable(part, error) from None


def _unwritable(part: Path, error: OSError) -> FileError:
    return FileError(
        f"{part} cannot be written ({error.strerror}): free some space, or name another folder in DEEPSCOPE_HOME",
        path=part,
    )

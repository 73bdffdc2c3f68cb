"""The cache: expensive results are stored, checked when read, and computed again where damaged.

Everything that reads or writes below `session.cache` goes through this module. The cache is a convenience: a problem
with it costs time and one note, never a result.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from deepscope.code import code_digest
from deepscope.files import atomic
from deepscope.session import Session, temporary_cache

Arrays = dict[str, NDArray[Any]]

_FORMAT = b"deepscope entry 1\n"
_HEADER = len(_FORMAT) + 8 + 32  # then the content's length and the SHA-256 of name and content

_ENOUGH = 64 * 2**20
"""Bytes that must be free where trainings and weights are written."""

code_of = cache(code_digest)  # it reads the package, and every image asks


class Cache:
    """A folder of entries, each a file that carries a digest of its name and content.

    An entry that is missing, damaged, foreign or unreadable is None. What cannot be written is left out. Writers of one
    entry replace it as a whole, and the last one wins.

    Args:
        session: gives the notes.
        folder: usually below `session.cache`. It need not exist.
    """

    def __init__(self, session: Session, folder: Path) -> None:
        self.folder, self._session = folder, session
        if folder.is_relative_to(temporary_cache()):
            text = "no home folder: the cache is temporary, unless DEEPSCOPE_CACHE names a folder"
            session.note_once("cache", text)

    def read(self, name: str) -> bytes | None:
        """The entry's content, exactly as it was written, or None."""
        path = self.folder / name
        with self.guarded():
            if not path.is_file():  # a pipe would never end
                return None
            with path.open("rb") as file:
                head = file.read(_HEADER)
                whole = _HEADER + int.from_bytes(head[len(_FORMAT) : -32], "big")
                content = file.read() if os.fstat(file.fileno()).st_size == whole else b""
            if head == _head(name, content):
                return content
            self.damaged()
        return None

    def write(self, name: str, content: bytes) -> None:
        """Keep the entry, where that is possible."""
        with self.guarded(), atomic(self.folder / name) as path:
            path.write_bytes(_head(name, content) + content)

    def remove(self, pattern: str) -> None:
        """Remove the entries whose names match, and the folder where nothing is left in it."""
        with self.guarded():
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)
            if self.folder.is_dir() and not any(self.folder.iterdir()):
                self.folder.rmdir()

    @contextmanager
    def guarded(self) -> Generator[None]:
        """End the block at an error of the file system, with a note: the command runs without the cache."""
        try:
            yield
        except OSError as error:
            text = f"the cache {self.folder} cannot be used ({error.strerror or error}): the command runs without it"
            self._session.note_once("cache", text)

    def damaged(self) -> None:
        """Say that something in here is computed again."""
        self._session.note_once("damaged cache", f"a damaged entry of {self.folder} is computed again")


def _head(name: str, content: bytes) -> bytes:
    found = hashlib.sha256(name.encode() + b"\0")
    found.update(content)
    return _FORMAT + len(content).to_bytes(8, "big") + found.digest()


def identity(session: Session, module: str, about: Mapping[str, Any]) -> str:
    """A name, of hexadecimal digits, for what a module computes: it changes with all that the result depends on.

    Args:
        session: its seed, precision, engine and kind of device count.
        module: whose code counts, with all of deepscope that it imports.
        about: everything else, ready for JSON.
    """
    precision = "auto" if session.may_halve else session.precision
    arithmetic = {"seed": session.seed, "precision": precision, "engine": session.engine, "device": session.device.type}
    depends = {**about, **arithmetic, "code": code_of(module)}
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()


def kept(
    session: Session, about: Mapping[str, Any], compute: Callable[[], Arrays], *, folder: Path | None = None
) -> Arrays:
    """What `compute` gives, read from the cache where it was computed before.

    Args:
        about: everything that the figures depend on besides the session and the code of `compute`, ready for JSON.
        folder: where they are kept; by default below the session's cache.
    """
    name = f"{identity(session, compute.__module__, about)}.kept"
    figures = Cache(session, folder or session.cache / "figures")
    if (content := figures.read(name)) is not None:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return dict(file)
    found, memory = compute(), io.BytesIO()
    arrays: dict[str, Any] = dict(found)  # NumPy's stubs take no arrays by name
    np.savez(memory, **arrays)
    figures.write(name, memory.getvalue())
    return found


def digest(*tensors: Tensor) -> str:
    """SHA-256 of the tensors' types, shapes and values."""
    content = hashlib.sha256()
    for tensor in tensors:
        content.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        content.update(tensor.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()


def workspace(session: Session) -> Path:
    """A folder for files that others open by their path: the session's cache, or a temporary one where it fails."""
    with Cache(session, session.cache).guarded():
        session.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=session.cache) as probe:
            probe.write(bytes(1 << 16))
        if shutil.disk_usage(session.cache).free >= _ENOUGH:
            return session.cache
        raise OSError(f"less than {_ENOUGH >> 20} MB are free")
    return temporary_cache()


def training_folder(session: Session, study: str, package: str) -> Path:
    """Where a study keeps its trainings, so that an interrupted one resumes: in its output folder, or in the cache.

    Args:
        package: whose code trains, such as "deepscope.gans": after a change of it, or of what it imports, the folder
            is another one, and nothing that older code trained is taken for a result.
    """
    return (session.out or workspace(session)) / study / code_of(package)[:12]


def write_new(path: Path, content: bytes) -> None:
    """Write a file, unless it holds this content already."""
    try:
        if path.is_file() and path.read_bytes() == content:
            return
    except OSError:  # unreadable: replaced
        pass
    with atomic(path) as temporary:
        temporary.write_bytes(content)

"""A `Result` as a folder: `result.json`, `arrays.npz`, and its figures as PNG, SVG, PDF, GIF, WebP and MP4 files."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import struct
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from deepscope import records
from deepscope.errors import DeepscopeError, FileError, SettingError
from deepscope.files import atomic, lock, matching, replace_together
from deepscope.gallery import Gallery
from deepscope.records import ARRAYS, DOCUMENT
from deepscope.render.json import decode, encode, text
from deepscope.results import Animation, Block, Note, Result, Table
from deepscope.settings import FigureFormat

_DIGEST = "sha256"
"""Key of `result.json` with a digest of all the rest."""
_DRAFTS = ".drafts-"
_ANIMATED = (".gif", ".webp", ".mp4")


def save(result: Result, folder: Path, *, writer: str = "", figure_format: FigureFormat = "png") -> None:
    """Write the result into `folder`: `result.json` and `arrays.npz` first and together, then the figures.

    Files of an earlier result in the folder are removed, other files are left alone. The same result gives the same
    bytes. An animation is also written as WebP, in full colour, and where PyAV is installed as MP4, whose encoder
    promises the same picture but not the same bytes.

    Args:
        result: what to write.
        folder: made where it does not exist.
        writer: the command that made it; see `records.written_by`.
        figure_format: "svg" or "pdf" writes each figure in this format too, beside the PNG.

    Raises:
        SettingError: there is no such format.
        FileError: the folder cannot be written to, it holds another program's `result.json` or `arrays.npz`, or a
            figure cannot be written; in this last case the result itself is there.
    """
    if figure_format not in get_args(FigureFormat):
        raise SettingError("figure_format", f"must be one of {', '.join(get_args(FigureFormat))}", got=figure_format)
    document, arrays = encode(result)
    names = [*figure_files(result, figure_format), *result.files]

    def describe(digest: str) -> str:
        document[records.FOLDER] = {"arrays_sha256": digest, "files": names, "writer": writer}
        return text({**document, _DIGEST: _digest(document)}) + "\n"

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock(folder):
            records.refuse_foreign(folder)
            old = _files(folder) - set(result.files)
            replace_together(
                folder / ARRAYS,
                lambda path: _write(path, arrays),
                folder / DOCUMENT,
                describe,
                retire=lambda: records.remove(folder, old),
            )
            failure = _draw(result, folder, figure_format)
    except OSError as error:
        raise FileError(f"cannot write to {folder} ({_reason(error)}): name another folder", path=folder) from None
    if failure:
        raise FileError(f"the result is in {folder}, but some figures are missing ({_reason(failure)})", path=folder)


def load(folder: Path) -> Result:
    """The result that `save` wrote. Nothing in the folder is trusted or run.

    Raises:
        FileError: the folder holds no result, or one that is unfinished, damaged, too large, or beside the
            arrays of another one.
    """
    try:
        document = records.document(folder)
        digest = document.pop(_DIGEST, None)
        expected, about = _digest(document), document.pop(records.FOLDER, None)
        if document.get("type") == records.UNFINISHED:
            raise FileError(
                f"{folder} holds no complete result: the command that wrote it was interrupted", path=folder
            )
        path = folder / ARRAYS
        if about is not None:  # older versions wrote none
            path = matching(path, about["arrays_sha256"])
            if path is None:
                raise ValueError(f"{ARRAYS} is missing, or is not the file that was saved with {DOCUMENT}")
        arrays = _read(path)
    except OSError as error:
        raise FileError(
            f"{folder} holds no complete result ({_reason(error)}): name a folder that deepscope wrote", path=folder
        ) from None
    except _DAMAGE as error:
        raise FileError(f"the result in {folder} is damaged ({error}): run the command again", path=folder) from None
    result = decode(document, arrays)
    if about is not None and digest != expected:
        raise FileError(
            f"the result in {folder} is damaged ({DOCUMENT} has changed since it was saved): run the command again",
            path=folder,
        )
    return result


@contextmanager
def drafts(folder: Path | None) -> Iterator[Path]:
    """A scratch folder for files that a command writes; they move to `folder` when the block ends without an error.

    The earlier result in `folder` and its files are removed then: files of two results never mix. A
    command names these files in `Result.files`. Without a folder they are only scratch.

    Raises:
        FileError: the folder cannot be written to, or holds another program's `result.json` or `arrays.npz`.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder):
        records.refuse_foreign(folder)
        for left in folder.glob(f"{_DRAFTS}*"):  # of a command that was killed
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=_DRAFTS, dir=folder) as scratch:
            yield Path(scratch)
            try:
                _replace_files(folder, Path(scratch))
            except OSError as error:
                raise FileError(
                    f"cannot write to {folder} ({_reason(error)}): name another folder", path=folder
                ) from None


def _replace_files(folder: Path, scratch: Path) -> None:
    """Replace the result in `folder` by the files in `scratch`; a stub lists them until `save` does."""
    old, new = _files(folder), sorted(path.relative_to(scratch) for path in scratch.rglob("*") if path.is_file())
    about = {"files": sorted(old | {path.as_posix() for path in new}), "writer": records.written_by(folder)}
    with atomic(folder / DOCUMENT) as path:
        path.write_text(text({"type": records.UNFINISHED, records.FOLDER: about}), encoding="utf-8")
    records.remove(folder, old)
    for path in new:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (scratch / path).replace(folder / path)


def figures(result: Result) -> list[str]:
    """The file name of each block's figure, in order; empty for a block that is not a figure."""
    return [_name(index, block) for index, block in enumerate(result.blocks, 1)]


def figure_files(result: Result, figure_format: FigureFormat = "png") -> list[str]:
    """The names of the files that `save` writes of the result's figures; an animation may lack the last one."""
    still = dict.fromkeys((".png", f".{figure_format}"))
    paths = [Path(name) for name in figures(result) if name]
    return [str(path.with_suffix(one)) for path in paths for one in (_ANIMATED if path.suffix == ".gif" else still)]


_DAMAGE = (
    ValueError, EOFError, KeyError, MemoryError, OverflowError, RecursionError, RuntimeError, SyntaxError,
    TypeError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""Exceptions of the readers of JSON, ZIP and NPY on hostile bytes."""


def _digest(document: dict[str, Any]) -> str:
    """Digest of the whole document, including the arrays' digest."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _files(folder: Path) -> set[str]:
    """The figures and other files of the result that the folder holds."""
    if records.about(folder):
        return records.listed(folder)
    try:
        stems = [Path(name).stem for name in figures(load(folder)) if name]  # of a version that kept no list
    except DeepscopeError:
        return set()
    return {path.name for stem in stems for path in folder.glob(f"{stem}.*")}


def _draw(result: Result, folder: Path, form: FigureFormat) -> Exception | None:
    """Write the figures; the first error, if any: a figure that cannot be drawn does not affect the others."""
    from deepscope.render import plots

    failure = None
    for name, block in zip(figures(result), result.blocks):
        try:
            for suffix, content in plots.files(block, form).items():
                with atomic((folder / name).with_suffix(suffix)) as path:
                    path.write_bytes(content)
        except Exception as error:
            failure = failure or error
    return failure


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).partition("\n")[0] or type(error).__name__


def _name(index: int, block: Block) -> str:
    if isinstance(block, (Table, Note)) or (isinstance(block, Gallery) and not block.pictured):
        return ""
    plain = unicodedata.normalize("NFKD", block.title[:200]).encode("ascii", "ignore").decode().lower()
    words = "-".join(re.findall("[a-z0-9]+", plain))[:48].strip("-") or type(block).__name__.lower()
    return f"{index:02}-{words}.{'gif' if isinstance(block, Animation) else 'png'}"


def _write(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as archive:
        for name, array in sorted(arrays.items()):
            # A ZipInfo of our own has no date: the same arrays give the same bytes.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                npy.write_array(file, array, allow_pickle=False)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError(f"{path.name} is not an .npz file")
        size = sum(item.file_size for item in archive.zip.infolist()) if archive.zip else 0
        if size > records.LARGEST:
            raise ValueError(f"{path.name} unpacks to {size} bytes, more than {records.LARGEST}")
        return {name: archive[name] for name in archive.files}

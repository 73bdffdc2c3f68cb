"""A `Result` as a folder: `result.json`, `arrays.npz`, and its figures as PNG, or GIF, WebP and MP4 files."""

from __future__ import annotations

import json
import re
import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from deepscope.errors import InputError
from deepscope.files import atomic
from deepscope.render.json import decode, encode, text
from deepscope.results import Animation, Block, Note, Result, Table

DOCUMENT, ARRAYS = "result.json", "arrays.npz"
LARGEST = 8 * 2**30
"""Bytes of arrays that `load` takes into memory at most."""


def save(result: Result, folder: Path) -> None:
    """Write the result into `folder`, each file whole or not at all; `result.json` comes last.

    Figures of an earlier result in the folder go. The same result gives the same bytes. An animation is also written
    as WebP, in full colour, and where PyAV is installed as MP4, whose encoder promises the same picture but not the
    same bytes.

    Raises:
        InputError: the folder cannot be written to.
    """
    from deepscope.render import plots

    document, arrays = encode(result)
    earlier = _earlier_figures(folder)
    try:
        with atomic(folder / ARRAYS) as path:
            _write(path, arrays)
        for name, block in zip(figures(result), result.blocks):
            for suffix, content in plots.files(block).items():
                file = (folder / name).with_suffix(suffix)
                with atomic(file) as path:
                    path.write_bytes(content)
                earlier.discard(file)
        with atomic(folder / DOCUMENT) as path:
            path.write_text(text(document) + "\n", encoding="utf-8")
        for file in earlier:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {folder} ({error.strerror}): name another folder with --out") from None


def load(folder: Path) -> Result:
    """The result that `save` wrote. Nothing in the folder is trusted or run.

    Raises:
        InputError: the folder holds no result, or one that is damaged or too large.
    """
    try:
        document = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
        arrays = _read(folder / ARRAYS)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{folder} holds no whole result ({reason}): name a folder that --out wrote") from None
    except _DAMAGE as error:
        raise InputError(f"the result in {folder} is damaged ({error}): make it again") from None
    return decode(document, arrays)


def figures(result: Result) -> list[str]:
    """The file name of each block's figure, in order; empty for a block that is not a picture."""
    return [_name(index, block) for index, block in enumerate(result.blocks, 1)]


_DAMAGE = (
    ValueError, EOFError, KeyError, MemoryError, OverflowError, RecursionError, RuntimeError, SyntaxError,
    TypeError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What the readers of JSON, ZIP and NPY raise over hostile bytes."""


def _earlier_figures(folder: Path) -> set[Path]:
    """The figures of the result that the folder holds; nothing where it holds none."""
    if not (folder / DOCUMENT).is_file():
        return set()
    try:
        stems = [Path(name).stem for name in figures(load(folder)) if name]
    except InputError:
        return set()
    return {path for stem in stems for path in folder.glob(f"{stem}.*")}


def _name(index: int, block: Block) -> str:
    if isinstance(block, (Table, Note)):
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
            raise ValueError(f"{path.name} is no .npz file")
        size = sum(item.file_size for item in archive.zip.infolist()) if archive.zip else 0
        if size > LARGEST:
            raise ValueError(f"{path.name} unpacks to {size} bytes, more than {LARGEST}")
        return {name: archive[name] for name in archive.files}

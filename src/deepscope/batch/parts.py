"""The folder of parts: one Parquet file per shard, whose name carries the digest of its bytes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from deepscope import addresses
from deepscope.batch.job import Job
from deepscope.batch.shard import Part, Shard
from deepscope.batch.tally import Tally
from deepscope.errors import FileError, MissingExtraError
from deepscope.names import storable

FOLDER, ABOUT = "parts", "_job.json"
"""Where the parts are in the output folder, and the file there that says what they are parts of: readers of Parquet
pass over a name that begins so."""
_NAME = re.compile(r"part-(\d{6,})-([0-9a-f]{32})\.parquet")
_LEFT = re.compile(r"\.part-\d|\._job\.")
"""How the names begin of files that a writer left when it was killed."""
_KEY = b"deepscope"
_ALWAYS = {"path": "string", "sha256": "string", "error": "string"}


@dataclass(frozen=True)
class Written:
    """A part that is finished.

    Attributes:
        number: of its shard.
        file: its name in the folder.
        tally: its statistics.
        skipped: the first images that could not be read, and why.
    """

    number: int
    file: str
    tally: Tally
    skipped: tuple[tuple[str, str], ...]


def require_parquet() -> None:
    """Raises MissingExtraError where pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise MissingExtraError("parquet", "a job in parts") from None


def encoded(part: Part, job: Job, shard: Shard, identity: str) -> bytes:
    """A part as a Parquet file: the same part gives the same bytes, whenever and wherever it is written."""
    import pyarrow
    from pyarrow import parquet

    about = {"identity": identity, "shard": shard.digest, "tally": part.tally.to_json(), "skipped": part.skipped}
    fields = [(name, _type(kind)) for name, kind in {**_ALWAYS, **job.columns()}.items()]
    schema = pyarrow.schema(fields, metadata={_KEY: json.dumps(about, sort_keys=True)})
    columns = {name: _storable(values) for name, values in part.columns.items()}
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(
        pyarrow.table(columns, schema=schema), sink, compression="zstd", compression_level=3, data_page_version="1.0"
    )
    return sink.getvalue().to_pybytes()


def write(folder: Path, content: bytes, shard: Shard) -> str:
    """Write a part, whole or not at all; returns its name.

    Raises:
        FileError: it cannot be written.
    """
    name = f"part-{shard.number:06d}-{hashlib.sha256(content).hexdigest()[:32]}.parquet"
    try:
        addresses.replace(folder / name, content)
    except OSError as error:
        raise FileError(
            f"it cannot be written to {folder} ({error.strerror or error}): free some space, or check the disk",
            path=folder,
        ) from None
    return name


class Parts:
    """The finished parts in a folder.

    Args:
        folder: where they are.
        identity: of the job that they are parts of.

    Attributes:
        removed: parts that were damaged, or of other images or settings.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder, self.identity = folder, identity
        self.removed = 0
        self._names: dict[int, list[str]] = {}
        for name in addresses.names(folder):
            if found := _NAME.fullmatch(name):
                self._names.setdefault(int(found[1]), []).append(name)

    def finished(self, shard: Shard) -> Written | None:
        """The part of a shard; None where it is missing, damaged, or of other images. What is no good is removed."""
        good = None
        for name in self._names.get(shard.number, []):
            found = read(self.folder / name, self.identity, shard.digest) if good is None else None
            if found is None:
                addresses.remove(self.folder / name)
                self.removed += 1
            good = good or found
        return good

    def beyond(self, count: int) -> int:
        """Remove the parts of shards that there are no more, because fewer images are given; returns how many."""
        names = [name for number, own in self._names.items() if number >= count for name in own]
        for name in names:
            addresses.remove(self.folder / name)
        return len(names)

    def sweep(self) -> None:
        """Remove what killed writers left."""
        for name in addresses.names(self.folder):
            if _LEFT.match(name):
                addresses.remove(self.folder / name)


def read(path: Path, identity: str, shard: str) -> Written | None:
    """A part's statistics, where its bytes are those that were written, and it is of this job and shard."""
    import pyarrow
    from pyarrow import parquet

    name = _NAME.fullmatch(path.name)
    assert name is not None
    try:
        content = addresses.content(path)
        if hashlib.sha256(content).hexdigest()[:32] != name[2]:
            return None
        metadata = parquet.read_schema(pyarrow.BufferReader(content)).metadata
        about: Any = json.loads(metadata[_KEY])
        if (about["identity"], about["shard"]) != (identity, shard):
            return None
        skipped = tuple((str(one), str(reason)) for one, reason in about["skipped"])
        return Written(int(name[1]), path.name, Tally.from_json(about["tally"]), skipped)
    except (pyarrow.ArrowException, OSError, KeyError, TypeError, ValueError, AttributeError):
        return None


def create(folder: Path) -> None:
    """Make the folder, where it is missing.

    Raises:
        FileError: it cannot be made.
    """
    with _writable(folder):
        addresses.make(folder)


def reserve(folder: Path, about: Mapping[str, Any], images: Mapping[str, Any]) -> None:
    """Say in the folder what its parts are parts of. Whoever calls this holds the folder's lock.

    Args:
        folder: of the parts.
        about: what each part depends on besides its images.
        images: `named`, the files and folders in order; `limit`; and `parts`, into how many they are cut.

    Raises:
        FileError: it holds parts of another job or of other images, or cannot be written to.
    """
    path = folder / ABOUT
    with _writable(folder):
        if ABOUT in addresses.names(folder):
            old = _known(path)
            _compare(folder, old, about)
            _compare_images(folder, old.get("images"), images)
        text = json.dumps({**about, "images": images}, indent=1, sort_keys=True)
        addresses.replace(path, f"{text}\n".encode())


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileError(
            f"cannot write to {folder} ({error.strerror or error}): name another folder", path=folder
        ) from None


def recorded_size(folder: Path) -> int | None:
    """Images per part in a folder of parts; None where there is none."""
    size = _known(folder / ABOUT).get("shard_size")
    return size if isinstance(size, int) and size > 0 else None


def described(folder: Path) -> dict[str, Any]:
    """What a folder of parts says of itself; nothing where it is not readable."""
    return _known(folder / ABOUT)


def require_whole(path: Path) -> None:
    """Raises FileError where the bytes of a part are not those that were written."""
    name, found = _NAME.fullmatch(path.name), hashlib.sha256()
    try:
        with addresses.opened(path) as file:
            while piece := file.read(1 << 20):
                found.update(piece)
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}", path=path) from None
    if name is None or found.hexdigest()[:32] != name[2]:
        raise FileError(f"{path} is damaged: run the command that wrote it again", path=path)


def _known(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(addresses.content(path).decode())
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _compare(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raises FileError where two descriptions of jobs differ."""
    for name, value in json.loads(json.dumps(new)).items():
        if old.get(name) != value:
            was = f"with {name} {old.get(name)}, and not {value}" if name in old else "by another program"
            raise FileError(
                f"{folder} holds parts of a job that was run {was}: give the same settings, name another folder, or "
                f"delete {folder}",
                path=folder,
            )


def _compare_images(folder: Path, old: Any, new: Mapping[str, Any]) -> None:
    """Raises FileError where other images are named: parts of the earlier ones would be removed.

    More images may be named after those of before: the parts of these stay.
    """
    before: Mapping[str, Any] = old if isinstance(old, dict) else {}
    named, wanted, limit = list(before.get("named") or ()), list(new["named"]), before.get("limit")
    if named == wanted and limit == new["limit"]:
        return
    if named == wanted[: len(named)] and limit is None and new["limit"] is None:
        return
    first = ", ".join(named[:3]) + (", ..." if len(named) > 3 else "")
    drawn = "" if limit == new["limit"] else f" with limit {limit}" if limit else " without a limit"
    raise FileError(
        f"{folder} holds parts of a job on {first}{drawn}: name the same images, others only after them, or name "
        f"another folder; to discard the parts, delete {folder}",
        path=folder,
    )


def _storable(values: Sequence[Any]) -> Sequence[Any]:
    return [storable(value) if isinstance(value, str) else value for value in values]


def _type(kind: str) -> Any:
    """An Arrow type by its name: "int32", "list<float32>"."""
    import pyarrow

    inner = re.fullmatch("list<(.+)>", kind)
    return pyarrow.list_(_type(inner[1])) if inner else pyarrow.type_for_alias(kind)


def every(folder: Path) -> Iterator[Path]:
    """The files of parts in a folder, in order."""
    return (folder / name for name in addresses.names(folder) if _NAME.fullmatch(name))

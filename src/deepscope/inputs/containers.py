"""Files that hold many images, by suffix; among them tables (Parquet, Arrow) of encoded images."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepscope import images
from deepscope.addresses import is_address
from deepscope.errors import DataError, FileError, MissingExtraError, out_of_memory
from deepscope.images.refusals import shortage
from deepscope.inputs.container import Container, Inside, Label
from deepscope.inputs.remote_folder import RemoteFolder
from deepscope.inputs.tar_files import TarFile

if TYPE_CHECKING:
    import pyarrow

_ROWS = 32
"""Rows of a table that are decoded at a time, at most."""
_HELD = images.Limits.bytes
"""Bytes that such rows may have together, where there are several: 32 rows of a few kilobytes may name one value of a
dictionary, and decode to gigabytes."""
_IMAGES = ("image", "img", "jpg", "png", "bytes", "content")
"""Names of a table's column of images, the first that there is."""


Batches = Iterator[tuple[int, "pyarrow.RecordBatch"]]
"""Rows in order: the first row of each batch, and the batch."""


@dataclass
class _Cursor:
    """A table that is being read: what was decoded last, and what follows it."""

    batches: Batches
    first: int
    batch: pyarrow.RecordBatch

    def at(self, row: int) -> tuple[Any, Any]:
        """The image of a row and its label, which may be missing; rows must be asked for in order."""
        while row >= self.first + self.batch.num_rows:
            self.first, self.batch = next(self.batches)
        image, label = (*(column[row - self.first].as_py() for column in self.batch.columns), None)[:2]
        return image, label


class Table(Container):
    """A table with a column of images as bytes, or as Hugging Face writes them: `{bytes, path}`.

    The column `label`, where there is one, holds class names or numbers, or lists of them.
    """

    def __init__(self) -> None:
        self._last: tuple[object, _Cursor] | None = None

    @abstractmethod
    def _schema(self, path: Path) -> tuple[pyarrow.Schema, int]:
        """The columns, and the number of rows."""

    @abstractmethod
    def _batches(self, path: Path, columns: list[str], start: int) -> Batches:
        """Rows in order, from a row at or before `start`."""

    def entries(self, path: Path) -> Iterator[tuple[str, int, int, Label]]:
        """Each row; labels are read with the images."""
        with _readable(path):
            schema, rows = self._schema(path)
            _image_column(path, schema)
        yield from ((f"{row:09d}", row, 0, None) for row in range(rows))

    def contents(self, path: Path, inside: Sequence[Inside]) -> Iterator[tuple[bytes, Label]]:
        """Each image's bytes, and its label.

        A table can only be decoded from the start of a row group. So the place where the last call ended is kept, and
        a call that asks for later rows of the same file continues there.
        """
        with _readable(path):
            status = path.stat()
            same = (path, status.st_size, status.st_mtime_ns)
            schema, _ = self._schema(path)
            column, names = _image_column(path, schema), _class_names(schema)
            (known, cursor), self._last = self._last or (None, None), None
            if cursor is None or known != same or cursor.first > inside[0].start:
                columns = [column, *(["label"] if "label" in schema.names else [])]
                batches = self._batches(path, columns, inside[0].start)
                cursor = _Cursor(batches, *next(batches))
            for one in inside:
                content, label = cursor.at(one.start)
                content = content.get("bytes") if isinstance(content, dict) else content
                yield content or b"", _label(label, names)
            self._last = (same, cursor)


class ParquetTable(Table):
    """A Parquet file."""

    suffix = ".parquet"

    def _schema(self, path: Path) -> tuple[pyarrow.Schema, int]:
        from pyarrow import parquet

        with parquet.ParquetFile(path) as file:
            return file.schema_arrow, file.metadata.num_rows

    def _batches(self, path: Path, columns: list[str], start: int) -> Batches:
        from pyarrow import parquet

        with parquet.ParquetFile(path) as file:
            first = 0
            for group in range(file.num_row_groups):
                about = file.metadata.row_group(group)
                if first + about.num_rows <= start:
                    first += about.num_rows
                    continue
                rows = _rows_at_once(path, group, about)
                for batch in file.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False):
                    yield first, batch.select(columns)
                    first += batch.num_rows


def _rows_at_once(path: Path, group: int, about: Any) -> int:
    """Rows of a row group that may be decoded at a time: no value is larger than its column, decompressed.

    Raises:
        FileError: its values are larger than an image may be.
    """
    largest = max(about.column(place).total_uncompressed_size for place in range(about.num_columns))
    if largest > _HELD * max(about.num_rows, 1):
        raise FileError(
            f"{path} cannot be used: the values of row group {group} have more than {_HELD:,} bytes each, the limit of "
            "an image",
            path=path,
        )
    return min(_ROWS, max(1, _HELD // max(largest, 1)))


class ArrowTable(Table):
    """A file of a local data set of Hugging Face's `datasets`: an Arrow stream, or an Arrow file."""

    suffix = ".arrow"

    def _schema(self, path: Path) -> tuple[pyarrow.Schema, int]:
        with _stream(path) as reader:
            return reader.schema, sum(batch.num_rows for batch in reader)

    def _batches(self, path: Path, columns: list[str], start: int) -> Batches:
        with _stream(path) as reader:
            first = 0
            for batch in reader:
                if first + batch.num_rows > start:
                    yield first, batch.select(columns)
                first += batch.num_rows


def _stream(path: Path) -> Any:
    """Reads the batches of an Arrow file one by one; its bytes stay on the disk until they are asked for."""
    from pyarrow import RecordBatchReader, ipc, memory_map

    source: Any = memory_map(os.fspath(path))
    if source.read(6) == b"ARROW1":
        file: Any = ipc.open_file(source)
        return RecordBatchReader.from_batches(file.schema, map(file.get_batch, range(file.num_record_batches)))
    source.seek(0)
    return ipc.open_stream(source)


class _readable:
    """A block that reads a table: what pyarrow says of a damaged one is a `FileError`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            import pyarrow
        except ImportError:
            raise MissingExtraError("parquet", f"reading {path.name}") from None
        self.damage = (pyarrow.ArrowException, OSError, StopIteration, ValueError)

    def __enter__(self) -> None:
        with images.opened(self.path):  # a regular file, that may be read
            pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and out_of_memory(error):  # pyarrow's own error is also one of damage
            raise images.Exhausted(shortage(str(self.path), error)) from None
        if isinstance(error, self.damage) and not isinstance(error, images.Exhausted):
            reason = str(error).partition("\n")[0] or "it ends early"
            raise FileError(f"{self.path} cannot be read ({reason}): make it again", path=self.path) from None


def _image_column(path: Path, schema: pyarrow.Schema) -> str:
    """The column of images: that of a usual name, or the only one that holds bytes."""
    from pyarrow import types

    def holds(field: pyarrow.Field) -> bool:
        kinds = [field.type]
        if types.is_struct(field.type):
            kinds = [inner.type for inner in field.type if inner.name == "bytes"]
        return any(types.is_binary(kind) or types.is_large_binary(kind) for kind in kinds)

    found = [field.name for field in schema if holds(field)]
    for name in {*found, "label"}:
        if schema.names.count(name) > 1:
            raise DataError(f"{path} has several columns {name!r}: give each a name of its own", data=path)
    usual = [name for name in _IMAGES if name in found]
    if not usual and len(found) != 1:
        several = f"several columns of bytes ({', '.join(found)})" if found else "no column of images as bytes"
        raise DataError(f"{path} has {several}: name the one with the images 'image'", data=path)
    return (usual or found)[0]


def _class_names(schema: pyarrow.Schema) -> tuple[str, ...]:
    """What Hugging Face's metadata call the classes, also of lists of them; nothing where there is none."""
    try:
        label = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]["label"]
        return tuple(map(str, label.get("feature", label)["names"]))
    except (AttributeError, KeyError, TypeError, ValueError):
        return ()


def _label(value: Any, names: Sequence[str]) -> Label:
    """A class by name or number; of a list, a tuple of them: of truth values, the places of those that are true."""
    if isinstance(value, list):
        if value and all(isinstance(one, bool) for one in value):
            value = [place for place, one in enumerate(value) if one]
        several = [_label(one, names) for one in value]
        return tuple(one for one in several if isinstance(one, int | str)) if None not in several else None
    if isinstance(value, float) and value.is_integer():  # pandas makes numbers floats where one is missing
        value = int(value)
    if isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return value if isinstance(value, int | str) else None


CONTAINERS: dict[str, Container] = {kind.suffix: kind() for kind in (TarFile, ParquetTable, ArrowTable)}
_REMOTE = RemoteFolder()


def container_of(file: str) -> Container | None:
    """What reads a file of that name, or the images below an address; None for a file that is an image itself."""
    if is_address(file):
        return _REMOTE
    return CONTAINERS.get(os.path.splitext(file)[1].lower())  # noqa: PTH122 (a million names)

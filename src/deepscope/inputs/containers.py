"""Files that hold many images, by suffix; among them tables (Parquet, Arrow) of encoded images."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepscope import images
from deepscope.errors import DataError, FileError, MissingExtraError
from deepscope.inputs.container import Container, Inside, Label
from deepscope.inputs.tar_files import TarFile

if TYPE_CHECKING:
    import pyarrow

_ROWS = 32
"""Rows of a table that are read at a time."""
_IMAGES = ("image", "img", "jpg", "png", "bytes", "content")
"""Names of a table's column of images, the first that there is."""


class Table(Container):
    """A table with a column of images as bytes, or as Hugging Face writes them: `{bytes, path}`.

    The column `label`, where there is one, holds class names or numbers.
    """

    @abstractmethod
    def _schema(self, path: Path) -> tuple[pyarrow.Schema, int]:
        """The columns, and the number of rows."""

    @abstractmethod
    def _batches(self, path: Path, columns: list[str], start: int) -> Iterator[tuple[int, pyarrow.RecordBatch]]:
        """Rows in order, from a row at or before `start`: the first row of each batch, and the batch."""

    def entries(self, path: Path) -> Iterator[tuple[str, int, int, Label]]:
        """Each row; labels are read with the images."""
        with _readable(path):
            schema, rows = self._schema(path)
            _image_column(path, schema)
        yield from ((f"{row:09d}", row, 0, None) for row in range(rows))

    def contents(self, path: Path, inside: Sequence[Inside]) -> Iterator[tuple[bytes, Label]]:
        """Each image's bytes, and its label."""
        with _readable(path):
            schema, _ = self._schema(path)
            column, names = _image_column(path, schema), _class_names(schema)
            columns = [column, *(["label"] if "label" in schema.names else [])]
            batches = self._batches(path, columns, inside[0].start)
            first, batch = next(batches)
            for one in inside:
                while one.start >= first + batch.num_rows:
                    first, batch = next(batches)
                content, label = (*(column[one.start - first].as_py() for column in batch.columns), None)[:2]
                if isinstance(label, float) and label.is_integer():  # pandas makes numbers floats where one is missing
                    label = int(label)
                if isinstance(label, int) and 0 <= label < len(names):
                    label = names[label]
                content = content.get("bytes") if isinstance(content, dict) else content
                yield content or b"", label if isinstance(label, int | str) else None


class ParquetTable(Table):
    """A Parquet file."""

    suffix = ".parquet"

    def _schema(self, path: Path) -> tuple[pyarrow.Schema, int]:
        from pyarrow import parquet

        with parquet.ParquetFile(path) as file:
            return file.schema_arrow, file.metadata.num_rows

    def _batches(self, path: Path, columns: list[str], start: int) -> Iterator[tuple[int, pyarrow.RecordBatch]]:
        from pyarrow import parquet

        with parquet.ParquetFile(path) as file:
            first = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if first + rows <= start:
                    first += rows
                    continue
                for batch in file.iter_batches(_ROWS, row_groups=[group], columns=columns, use_threads=False):
                    yield first, batch.select(columns)
                    first += batch.num_rows


class ArrowTable(Table):
    """A file of a local data set of Hugging Face's `datasets`: an Arrow stream, or an Arrow file."""

    suffix = ".arrow"

    def _schema(self, path: Path) -> tuple[pyarrow.Schema, int]:
        with _stream(path) as reader:
            return reader.schema, sum(batch.num_rows for batch in reader)

    def _batches(self, path: Path, columns: list[str], start: int) -> Iterator[tuple[int, pyarrow.RecordBatch]]:
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
    """What Hugging Face's metadata call the classes; nothing where there is none."""
    try:
        about = json.loads((schema.metadata or {})[b"huggingface"])
        return tuple(map(str, about["info"]["features"]["label"]["names"]))
    except (KeyError, TypeError, ValueError):
        return ()


CONTAINERS = {kind.suffix: kind() for kind in (TarFile, ParquetTable, ArrowTable)}


def container_of(file: str) -> Container | None:
    """What reads a file of that name; None for one that is an image itself."""
    return CONTAINERS.get(os.path.splitext(file)[1].lower())  # noqa: PTH122 (a million names)

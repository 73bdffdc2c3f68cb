"""Rows of finished parts, read again some thousand at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepscope.addresses import opened
from deepscope.errors import FileError

if TYPE_CHECKING:
    import pyarrow

BLOCK = 4096
"""Rows of a block. It is the same however parts are cut, and with it the order of every sum."""


def batches(files: Iterable[Path], columns: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
    """Some columns of all rows, in order, in batches of up to `BLOCK` rows.

    Raises:
        FileError: a part is damaged.
    """
    import pyarrow
    from pyarrow import parquet

    for file in files:
        try:
            with opened(file) as source, parquet.ParquetFile(source) as part:
                for batch in part.iter_batches(BLOCK, columns=list(columns), use_threads=False):
                    yield batch.select(list(columns))
        except (pyarrow.ArrowException, OSError, KeyError, ValueError) as error:
            reason: Any = str(error).partition("\n")[0]
            raise FileError(f"{file} cannot be read ({reason}): compute the parts again", path=file) from None


def some(files: Iterable[Path], column: str, wanted: NDArray[np.bool_]) -> Iterator[pyarrow.Array]:
    """The values of a column in the wanted rows, in order.

    Args:
        files: the parts.
        column: its name.
        wanted: (rows of all parts,) bool.

    Raises:
        FileError: a part is damaged.
    """
    import pyarrow

    start = 0
    for batch in batches(files, [column]):
        keep = wanted[start : start + len(batch)]
        start += len(batch)
        if keep.any():
            yield batch.column(0).filter(pyarrow.array(keep))


def vectors(files: Sequence[Path], column: str, wanted: NDArray[np.bool_]) -> Iterator[NDArray[Any]]:
    """The (n, D) values of a column of vectors in the wanted rows, in order.

    Raises:
        FileError: a part is damaged, or vectors differ in length.
    """
    dimension = 0
    for values in some(files, column, wanted):
        flat: Any = values.flatten().to_numpy(zero_copy_only=False)
        dimension = dimension or len(flat) // len(values)
        if (values.value_lengths().to_numpy(zero_copy_only=False) != dimension).any():
            folder = files[0].parent
            raise FileError(f"{folder} has vectors of several lengths: compute the parts again", path=folder)
        yield np.array(flat).reshape(-1, dimension)


def regrouped(arrays: Iterable[NDArray[Any]]) -> Iterator[tuple[slice, NDArray[Any]]]:
    """The same rows, `BLOCK` at a time, with their places: what is computed of a block does not depend on the parts."""
    start, waiting, count = 0, list[NDArray[Any]](), 0
    for array in arrays:
        waiting.append(array)
        count += len(array)
        while count >= BLOCK:
            together = np.concatenate(waiting)
            yield slice(start, start + BLOCK), together[:BLOCK]
            start, waiting, count = start + BLOCK, [together[BLOCK:]], count - BLOCK
    if count:
        yield slice(start, start + count), np.concatenate(waiting)

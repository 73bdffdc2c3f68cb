"""`failing_slices` of more images than memory holds, from the parts of `SlicesJob`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from deepscope.batch import Summary
from deepscope.batch.rows import batches, regrouped, some, vectors
from deepscope.errors import DataError
from deepscope.images import Skipped
from deepscope.inputs.examples import thumbnail_of
from deepscope.session import Session
from deepscope.shortcuts.properties import MEASURED, repeated_patches
from deepscope.shortcuts.slices import FEWEST, Slices, centres, cluster_count, examined, wrong_first

_SAMPLE = 8192
"""Images, at most, by which centres are found, with whose corners others are compared, and whose properties describe
a slice: with fewer images all of them, as in memory."""


def slices_in_parts(found: Summary, *, name: str, session: Session) -> Slices:
    """Find groups of similar images on which a classifier fails more often than on the others, as `failing_slices`.

    Every image is assigned to a cluster and counted. Centres come from a sample of the first half, and what tells a
    slice from the rest from a sample of the second.

    Args:
        found: the finished parts.
        name: of the data.
        session: the seed of halves, samples and clusters.

    Raises:
        DataError: too few images of a known class to find and test slices.
        FileError: a part is damaged.
    """
    files = [found.folder / file for file in found.files]
    used, labels, wrong = _answers(files)
    count = len(wrong)
    if count < FEWEST:
        raise DataError(f"slices need at least {FEWEST} images to be found and tested, not {count}", data=name)
    order = torch.randperm(count, generator=session.rng("halves")).numpy()
    half = count // 2
    first = _mask(count, order[:half])
    clusters = cluster_count(count)
    machine = centres(_normalised(files, _within(used, _mask(count, order[:half][:_SAMPLE]))), clusters, session.seed)
    members = np.empty(count, np.int32)
    for rows, block in regrouped(_blocks(files, used)):
        members[rows] = machine.predict(block)
    shown, values = _properties(files, used, order, half)
    slices = examined(members, wrong, first, labels, shown, values)
    rows = [row for each in slices if each.confirmed for row in wrong_first(each, wrong)]
    paths = _paths(files, used, rows)
    pictures = {row: thumbnail_of(paths[row]) for row in rows}
    skipped = tuple(Skipped(path, reason) for path, reason in found.skipped)
    return Slices(name, paths, wrong, first, clusters, slices, pictures, skipped)


def _answers(files: Sequence[Path]) -> tuple[NDArray[np.bool_], NDArray[np.object_], NDArray[np.bool_]]:
    """(rows,) which have a known class; and of these the class, and whether the prediction is wrong."""
    names, wrong = list[str | None](), list[bool]()
    known: dict[str, str] = {}  # one string per class, not one per image
    for batch in batches(files, ["class", "right"]):
        for name, right in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            names.append(None if name is None or right is None else known.setdefault(name, name))
            wrong.append(right is False)
    labels = np.array(names, object)
    used = np.array([name is not None for name in names], bool)
    return used, labels[used], np.array(wrong, bool)[used]


def _mask(count: int, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    found = np.zeros(count, bool)
    found[rows] = True
    return found


def _within(used: NDArray[np.bool_], rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Some of the images among the rows of all parts."""
    return _mask(len(used), np.flatnonzero(used)[rows])


def _blocks(files: Sequence[Path], wanted: NDArray[np.bool_]) -> Iterator[NDArray[np.float32]]:
    for block in vectors(files, "features", wanted):
        yield functional.normalize(torch.from_numpy(block)).numpy()


def _normalised(files: Sequence[Path], wanted: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.concatenate(list(_blocks(files, wanted)))


def _properties(
    files: Sequence[Path], used: NDArray[np.bool_], order: NDArray[np.int64], half: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Images of the second half, and their (n, P) properties; corners are compared with those of a sample of all."""
    shown, others = np.sort(order[half:][:_SAMPLE]), np.sort(order[:_SAMPLE])
    of_shown, of_others = (_within(used, _mask(len(order), rows)) for rows in (shown, others))
    own = np.concatenate(list(vectors(files, "properties", of_shown)))
    windows, compared = (np.concatenate(list(vectors(files, "corners", rows))) for rows in (of_shown, of_others))
    patches = repeated_patches(torch.from_numpy(windows), torch.from_numpy(compared), np.isin(shown, others))
    return shown, np.concatenate([own[:, : len(MEASURED)], patches.numpy()], 1)


def _paths(files: Sequence[Path], used: NDArray[np.bool_], rows: Sequence[int]) -> dict[int, Path]:
    wanted = np.array(sorted(set(rows)), np.int64)
    found = (
        path
        for values in some(files, "path", _within(used, _mask(int(used.sum()), wanted)))
        for path in values.to_pylist()
    )
    return dict(zip(wanted.tolist(), map(Path, found), strict=True))

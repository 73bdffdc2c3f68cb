"""Parts that `transfer features` wrote, as features with labels: only names and classes are held in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.batch import parts
from deepscope.batch.rows import batches, vectors
from deepscope.errors import DataError
from deepscope.features.job import FeaturesJob
from deepscope.transfer.recipe import Block


@dataclass(frozen=True, eq=False)
class FeatureParts:
    """The features of N images with a class, in Parquet files.

    Attributes:
        files: the parts, in order.
        block: the model, the layer and the pooling that the features are of.
        weights: identity of the model when they were computed.
        classes: names, sorted.
        labels: (N,) places in `classes`.
        digests: (N,) SHA-256 of each image, as 32 bytes.
        used: (rows of all parts,) bool, which rows are these images.
        unlabelled, unreadable: rows that are left out.
    """

    files: tuple[Path, ...]
    block: Block
    weights: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    digests: NDArray[np.bytes_]
    used: NDArray[np.bool_]
    unlabelled: int
    unreadable: int

    @classmethod
    def of(cls, folder: str | Path) -> FeatureParts:
        """The parts in the output folder of `transfer features`. Every file is compared with the digest in its name.

        Raises:
            DataError: they are no features, are not all there, or have fewer than two classes.
            FileError: a part is damaged.
            MissingExtraError: pyarrow is not installed.
        """
        parts.require_parquet()
        place = parts_in(folder)
        if place is None:
            raise DataError(f"{folder} has no parts: name the folder that `transfer features` wrote", data=folder)
        about = parts.described(place)
        if about.get("job") != FeaturesJob.name:
            raise DataError(f"{place} holds parts of {about.get('job')}, not of features", data=folder)
        files = tuple(parts.every(place))
        if missing := _count(about) - len(files):
            raise DataError(
                f"{missing} of {_count(about)} parts are missing in {place}: run `transfer features` again, which "
                "computes them",
                data=folder,
            )
        names, digests, unreadable = _scanned(files)
        used = np.array([name is not None for name in names], dtype=bool)
        classes, labels = np.unique([name for name in names if name is not None], return_inverse=True)
        if len(classes) < 2:
            raise DataError(
                f"the images of {place} have {len(classes)} classes, and a classifier needs two at least: keep the "
                "images of each class in a folder of their own, or give tables with a column 'label'",
                data=folder,
            )
        block = Block(str(about.get("model")), about.get("layer") or "", about.get("pooling", "mean"))
        return cls(
            files,
            block,
            str(about.get("weights")),
            tuple(map(str, classes)),
            labels.astype(np.int64).reshape(-1),
            digests[used],
            used,
            int((~used).sum()) - unreadable,
            unreadable,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, rows: NDArray[np.bool_]) -> Iterator[Tensor]:
        """The (n, D) float32 features of some of the N images, in order.

        Raises:
            FileError: a part is damaged, or has vectors of another length.
        """
        wanted = np.zeros(len(self.used), dtype=bool)
        wanted[np.flatnonzero(self.used)[rows]] = True
        return (
            torch.from_numpy(part.astype(np.float32, copy=False)) for part in vectors(self.files, "features", wanted)
        )


def parts_in(folder: str | Path) -> Path | None:
    """The folder of parts in an output folder, or that folder itself; None where there is none."""
    places = (Path(folder).expanduser() / parts.FOLDER, Path(folder).expanduser())
    return next((place for place in places if parts.described(place)), None)


def _count(about: dict[str, Any]) -> int:
    """Parts that the job has. Raises DataError where its description does not say."""
    try:
        return int(about["images"]["parts"])
    except (KeyError, TypeError, ValueError):
        raise DataError("the folder of parts was written by another version: compute the features again") from None


def _scanned(files: Sequence[Path]) -> tuple[list[str | None], NDArray[np.bytes_], int]:
    """Class and digest of every row, and how many could not be read."""
    names, digests, unreadable = list[str | None](), list[bytes](), 0
    known: dict[str, str] = {}  # one string per class, not one per image
    for file in files:
        parts.require_whole(file)
        for batch in batches([file], ["class", "sha256", "error"]):
            for name, digest, error in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                unreadable += error is not None
                names.append(None if name is None or error is not None else known.setdefault(name, name))
                digests.append(bytes.fromhex(digest or "00"))
    return names, np.array(digests, dtype="S32"), unreadable

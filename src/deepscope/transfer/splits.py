"""Splits into training and test images, and copies of training images among the test images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from deepscope import images
from deepscope.data.audit import audit
from deepscope.data.folders import stratified
from deepscope.errors import DataError, SettingError
from deepscope.inputs.examples import Examples
from deepscope.kept import Arrays, kept
from deepscope.session import Session


@dataclass(frozen=True)
class Holdout:
    """How test images are set aside.

    Attributes:
        splits: 1 uses the split of the data, where it has one; more draw that many stratified splits.
        test_fraction: share of test images where the data has no split.
    """

    splits: int = 1
    test_fraction: float = 0.3

    def __post_init__(self) -> None:
        if self.splits < 1:
            raise SettingError("splits", "must be at least 1", got=self.splits)


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of the readable images.

    Attributes:
        train, test: (n,) rows.
        copied: (n of test,) True where the test image is a copy, or nearly one, of a training image.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    copied: NDArray[np.bool_]


def divide(
    data: Examples,
    readable: NDArray[np.int64],
    holdout: Holdout,
    session: Session,
    *,
    digests: Sequence[bytes] | None = None,
) -> list[Split]:
    """The data's own split, or stratified ones drawn from the session's seed.

    Args:
        data: labelled images; `readable` are rows of it.
        readable: the images that have features, sorted.
        holdout: how many splits, and the share of test images.
        session: its seed draws; its cache keeps which images are copies.
        digests: SHA-256 of each of the data's images; None reads them.

    Raises:
        SettingError: the share of test images is not between 0 and 1.
        DataError: a class is left with no readable image on one side.
    """
    place = {row: at for at, row in enumerate(readable.tolist())}
    copies = _copies(data, place, digests or _digests(data), session)
    labels, fraction = data.labels[readable], holdout.test_fraction
    if data.test is not None:
        fraction = int(data.test.sum()) / len(data)
    made = []
    for number in range(holdout.splits):
        if holdout.splits == 1 and data.test is not None:
            sides = np.flatnonzero(~data.test), np.flatnonzero(data.test)
        else:
            sides = stratified(data.labels, data.classes, fraction, rng=session.rng("split", number))
        train, test = (np.array([place[row] for row in side.tolist() if row in place], np.int64) for side in sides)
        for side, rows in (("train on", train), ("test", test)):
            if empty := set(range(len(data.classes))) - set(labels[rows].tolist()):
                raise DataError(
                    f"class {data.classes[min(empty)]!r} has no readable image to {side}: add some images",
                    data=data.name,
                )
        known = set(train.tolist())
        copied = np.array([not known.isdisjoint(copies.get(row, ())) for row in test.tolist()])
        made.append(Split(train, test, copied))
    return made


def _digests(data: Examples) -> list[bytes]:
    return [images.digest(source.numpy() if isinstance(source, Tensor) else source) for source in data.sources]


def _copies(
    data: Examples, place: Mapping[int, int], digests: Sequence[bytes], session: Session
) -> dict[int, Collection[int]]:
    """Rows of readable images -> rows of their copies.

    For files these are the copies and near-copies that the audit of their folder finds; for images from memory, equal
    ones.
    """
    if data.folder is None:
        alike: dict[bytes, set[int]] = {}
        for row in place:
            alike.setdefault(digests[row], set()).add(row)
        groups: Iterable[set[int]] = alike.values()
    else:
        rows = {path: row for row, path in enumerate(data.paths)}
        groups = [
            {rows[path] for path in group if path in rows}
            for group in _groups(_audited(data, data.folder, digests, session))
        ]
    return {
        place[row]: {place[other] for other in group if other in place and other != row}
        for group in groups
        for row in group
        if row in place and len(group) > 1
    }


def _audited(data: Examples, folder: Path, digests: Sequence[bytes], session: Session) -> list[tuple[Path, Path]]:
    """Pairs of copies in the folder, kept by the names and contents of its images."""

    def compute() -> Arrays:
        found = audit(folder, session)
        named = [(str(found.root / pair.first), str(found.root / pair.second)) for pair in (*found.exact, *found.near)]
        return {"pairs": np.array(named, dtype=str).reshape(-1, 2)}

    content = hashlib.sha256(b"".join(digests) + b"\n".join(map(os.fsencode, data.paths)))
    unseeded = replace(session, seed=0)  # nothing about copies is random
    pairs = kept(unseeded, {"images": content.hexdigest()}, compute)["pairs"]
    return [(Path(first), Path(second)) for first, second in pairs.tolist()]


def _groups(pairs: Iterable[tuple[Path, Path]]) -> list[set[Path]]:
    """The sets of images that pairs of copies connect."""
    groups: dict[Path, set[Path]] = {}
    for first, second in pairs:
        together = groups.get(first, {first}) | groups.get(second, {second})
        groups.update(dict.fromkeys(together, together))
    return list({id(group): group for group in groups.values()}.values())

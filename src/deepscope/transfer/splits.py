"""Which images train and which test, and which test images are copies of training images."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepscope import images
from deepscope.data import ClassFolders
from deepscope.data.audit import audit
from deepscope.errors import DeepscopeError
from deepscope.kept import Cache, code_of
from deepscope.session import Session


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
    data: ClassFolders, readable: NDArray[np.int64], session: Session, *, splits: int, test_fraction: float
) -> list[Split]:
    """The data's own split, or stratified ones drawn from the session's seed.

    Args:
        data: images; `readable` are rows of its `everything`.
        readable: the images that have features, sorted.
        session: its seed draws; its cache remembers which images are copies.
        splits: how many; with more than 1 the data's own split is not used.
        test_fraction: of drawn splits where the data has no split whose share can be kept.

    Raises:
        DeepscopeError: a class is left with no readable image on one side, or `splits` is below 1.
    """
    if splits < 1:
        raise DeepscopeError(f"{splits} splits are none: give 1 or more")
    everything = data.everything
    place = {everything.paths[row]: at for at, row in enumerate(readable)}
    twins = _twins(data, place, session)
    if data.test is not None:
        test_fraction = len(data.test) / len(everything)
    made = []
    for number in range(splits):
        own = splits == 1 and data.test is not None
        part = data if own else data.divide(test_fraction, rng=session.rng("split", number))
        assert part.test is not None
        train, test = (
            np.array([place[path] for path in side.paths if path in place], dtype=np.int64)
            for side in (part.train, part.test)
        )
        labels = everything.labels[readable]
        for side, rows in (("train on", train), ("test", test)):
            if empty := set(range(len(data.classes))) - set(labels[rows].tolist()):
                raise DeepscopeError(
                    f"class {data.classes[min(empty)]!r} has no readable image to {side}: add some images"
                )
        known = set(train.tolist())
        copied = np.array([not known.isdisjoint(twins.get(row, ())) for row in test.tolist()])
        made.append(Split(train, test, copied))
    return made


def _twins(data: ClassFolders, place: dict[Path, int], session: Session) -> dict[int, Collection[int]]:
    """Rows of images -> rows of their copies, as the audit of the data's folder finds them."""
    content = hashlib.sha256(b"".join(images.digest(path) for path in data.everything.paths))
    content.update(b"\n".join(map(os.fsencode, data.everything.paths)))
    content.update(code_of(audit.__module__).encode())
    remembered, name = Cache(session, session.cache / "copies"), f"{content.hexdigest()}.kept"
    if (found := remembered.read(name)) is None:
        session.note("looking for copies among the images")
        audited = audit(data.root, session)
        named = [(str(audited.root / p.first), str(audited.root / p.second)) for p in (*audited.exact, *audited.near)]
        remembered.write(name, found := json.dumps(named).encode())
    pairs = [(Path(first), Path(second)) for first, second in json.loads(found)]
    groups: dict[Path, set[Path]] = {}
    for first, second in pairs:
        together = groups.get(first, {first}) | groups.get(second, {second})
        groups.update(dict.fromkeys(together, together))
    return {
        place[path]: {place[other] for other in group if other in place and other != path}
        for path, group in groups.items()
        if path in place
    }

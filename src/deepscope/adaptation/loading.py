"""Load two domains: datasets, folders, or images from memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.adaptation.domains import DigitDomains, Domains, PhotographDomains
from deepscope.adaptation.step import Labelled
from deepscope.data import ClassFolders, DigitSplit, Photographs, load_any, load_dataset
from deepscope.data.folders import stratified
from deepscope.errors import DataError
from deepscope.features import Features, class_layer_input, extract
from deepscope.inputs import Images, nothing_readable
from deepscope.inputs.examples import Examples, Source, items_of
from deepscope.models import DEFAULT, VisionModel, held_device, load_model
from deepscope.names import Names, short
from deepscope.session import Session

DomainData: TypeAlias = "str | Path | ClassFolders | DigitSplit | Photographs | Examples | Images"
"""A dataset's name or a folder; data that was read; (image, label) pairs; for a target also images without labels."""

_TEST_FRACTION = 0.2
_DIGITS = tuple(str(digit) for digit in range(10))


def load_domains(
    source: DomainData, target: DomainData, model: str | VisionModel = DEFAULT, session: Session | None = None
) -> Domains:
    """Two datasets, or two folders of class folders; the target may also be images without labels.

    Args:
        source, target: names of datasets, folders, or labelled images from memory.
        model: network that extracts features of photographs.
        session: where the data lies, and the seed of a division into training and test images.

    Raises:
        DataError: the data does not exist, is of different kinds, or shares no class.
    """
    session = Session.of(session, device=held_device(model))
    first, second = opened(source, session), opened(target, session)
    if isinstance(first, DigitSplit) and isinstance(second, DigitSplit):
        return _digits(first, second)
    if isinstance(first, Examples) and not isinstance(second, DigitSplit):
        pretrained = model if isinstance(model, VisionModel) else load_model(model, session)
        return _photographs(first, second, pretrained, session)
    if isinstance(first, list) and isinstance(source, (str, Path)):
        load_dataset(source, session, ClassFolders)  # whose error says what the source lacks
    raise DataError(
        f"{called(source)} and {called(target)} cannot be adapted to each other: give two datasets of digits, "
        f"or a folder with one folder of images per class and any folder of images"
    )


def opened(data: DomainData, session: Session) -> DigitSplit | Examples | list[Source]:
    """Digits, labelled images, or images without labels.

    Raises:
        DataError: the data does not exist, or only some of its images have a label.
    """
    if isinstance(data, (str, Path)):
        data = load_any(data, session)
    if isinstance(data, Photographs):
        return list(data.paths)
    if isinstance(data, ClassFolders):
        return Examples.in_folders(data)
    if isinstance(data, (DigitSplit, Examples)):
        return data
    given = items_of(data)
    items = list(given.items)
    if any(item.label is not None for item in items):
        return Examples.of_images(replace(given, items=items))
    return [item.source for item in items]


def called(data: DomainData) -> str:
    """The name of data in a title."""
    if isinstance(data, (str, Path)):
        return str(data)
    if isinstance(data, ClassFolders):
        return short(str(data.root))
    return data.name if isinstance(data, Examples) else "digits" if isinstance(data, DigitSplit) else "images"


def _digits(source: DigitSplit, target: DigitSplit) -> Domains:
    return DigitDomains(
        classes=_DIGITS,
        source=Labelled(_pixels(source.train.images), torch.tensor(source.train.labels)),
        target=_pixels(target.train.images),
        source_test=Labelled(_pixels(source.test.images), torch.tensor(source.test.labels)),
        target_test=Labelled(_pixels(target.test.images), torch.tensor(target.test.labels)),
        remarks=(),
        skipped=(),
    )


def _pixels(digits: NDArray[np.uint8]) -> Tensor:
    """(N, 28, 28) or (N, 3, 28, 28) -> (N, 1 or 3, 28, 28)."""
    return torch.tensor(digits if digits.ndim == 4 else digits[:, None])


@dataclass(frozen=True, eq=False)
class _Described:
    """Images and their features: those of one domain, extracted together.

    Attributes:
        found: the features, and the digest of every image.
        place: row of an image -> its row among the features; images that could not be read have none.
    """

    found: Features
    place: dict[int, int]

    @classmethod
    def of(cls, model: VisionModel, layer: str, sources: Sequence[Source], session: Session) -> _Described:
        found = extract(model, [(layer, "mean")], sources, session)
        return cls(found, {row: at for at, row in enumerate(found.rows.tolist())})

    def features(self, rows: Sequence[int]) -> Tensor:
        """(n, D) of the readable images among these rows.

        Raises:
            DataError: there is none.
        """
        at = [self.place[row] for row in rows if row in self.place]
        if not at:
            raise DataError(nothing_readable(self.found.skipped))
        return torch.from_numpy(self.found.vectors[0][at])

    def labelled(self, rows: Sequence[int], labels: Sequence[int]) -> Labelled:
        """Features of the readable images among these rows, and their labels."""
        kept = [label for row, label in zip(rows, labels, strict=True) if row in self.place]
        return Labelled(self.features(rows), torch.tensor(kept, dtype=torch.long))


def _photographs(source: Examples, target: Examples | list[Source], model: VisionModel, session: Session) -> Domains:
    layer = class_layer_input(model)
    if source.test is None:
        rng = session.rng("division", "source")
        train, test = stratified(source.labels, source.classes, _TEST_FRACTION, rng=rng)
    else:
        train, test = np.flatnonzero(~source.test), np.flatnonzero(source.test)
    known = None if isinstance(target, list) else _known_labels(source.classes, target)
    ours = _Described.of(model, layer, source.sources, session)
    theirs = _Described.of(model, layer, target if isinstance(target, list) else target.sources, session)
    order = sorted(range(len(theirs.found.digests)), key=theirs.found.digests.__getitem__)
    target_test = None
    if isinstance(target, list) or known is None:
        trained, remarks = order, ("the target's images have no class folders: its accuracy cannot be measured",)
    else:
        labels, remarks = known
        trained, tested = _division(target, order, session)
        shared = [row for row in tested if labels[row] is not None]
        if shared:
            target_test = theirs.labelled(shared, [label for row in shared if (label := labels[row]) is not None])
        else:
            remarks = (*remarks, "no test image of the target is of the source's classes")
    return PhotographDomains(
        classes=source.classes,
        source=ours.labelled(train.tolist(), source.labels[train].tolist()),
        target=theirs.features(trained),
        source_test=ours.labelled(test.tolist(), source.labels[test].tolist()),
        target_test=target_test,
        remarks=remarks,
        skipped=(*ours.found.skipped, *theirs.found.skipped),
        pretrained=model,
        layer=layer,
    )


def _known_labels(classes: Sequence[str], target: Examples) -> tuple[list[int | None], tuple[str, ...]]:
    """The source's label of each target image, where it has one, and remarks on what does not match.

    Raises:
        DataError: no class of the target is one of the source's.
    """
    found = Names(classes).paired(target.classes)
    label_of = [found[name] for name in target.classes]
    missing = [name for name, label in zip(target.classes, label_of, strict=True) if label is None]
    absent = [name for label, name in enumerate(classes) if label not in label_of]
    if len(missing) == len(target.classes):
        raise DataError(f"the target's classes ({', '.join(missing[:5])}) are none of the source's: use the same names")
    remarks = []
    if missing:
        remarks.append(f"only in the target, and left out of its accuracy: {', '.join(missing)}")
    if absent:
        remarks.append(f"only in the source: {', '.join(absent)}")
    return [label_of[label] for label in target.labels.tolist()], tuple(remarks)


def _division(target: Examples, order: Sequence[int], session: Session) -> tuple[list[int], list[int]]:
    """Rows of the target to train on and to test with.

    Training images stand in the order of their contents' digests, and are divided from test images by it: not even
    their order depends on a class.
    """
    if target.test is not None:
        return [row for row in order if not target.test[row]], np.flatnonzero(target.test).tolist()
    drawn = torch.randperm(len(order), generator=session.rng("division", "target")).tolist()
    shuffled = [order[at] for at in drawn]
    count = max(round(_TEST_FRACTION * len(order)), 1)
    return shuffled[count:], shuffled[:count]

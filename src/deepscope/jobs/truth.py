"""Which classes of a model are right answers for an image, where its name or folder says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deepscope.data.photographs import truth
from deepscope.models import VisionModel
from deepscope.names import Names


def right_answers(model: VisionModel, paths: Sequence[Path]) -> list[frozenset[int]]:
    """For each file, the classes that count as right; an empty set where the truth is not known.

    Folders side by side are classes of their own: two of them never mean the same class of the model.
    """
    by_wnid = {wnid: index for index, wnid in enumerate(model.wnids)}
    by_folder = _classes_of_folders(model, {path.absolute().parent for path in paths})
    answers: list[frozenset[int]] = []
    for path in paths:
        known = truth(path)
        if known is not None and by_wnid:
            answers.append(frozenset(by_wnid[wnid] for wnid in known.wnids if wnid in by_wnid))
        else:
            label = by_folder[path.absolute().parent]
            answers.append(frozenset() if label is None else frozenset({label}))
    return answers


def _classes_of_folders(model: VisionModel, folders: set[Path]) -> dict[Path, int | None]:
    categories = Names(model.categories)
    side_by_side: dict[Path, list[str]] = {}
    for folder in folders:
        side_by_side.setdefault(folder.parent, []).append(folder.name)
    return {
        parent / name: label
        for parent, names in side_by_side.items()
        for name, label in categories.paired(names).items()
    }

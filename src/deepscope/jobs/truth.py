"""Which classes of a model are right answers for an image, where its name or folder says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deepscope.data.photographs import truth
from deepscope.models import VisionModel
from deepscope.names import plain


def right_answers(model: VisionModel, paths: Sequence[Path]) -> list[frozenset[int]]:
    """For each file, the classes that count as right; an empty set where the truth is not known."""
    by_wnid = {wnid: index for index, wnid in enumerate(model.wnids)}
    by_name: dict[str, int] = {plain(name): index for index, name in enumerate(model.categories)}
    answers: list[frozenset[int]] = []
    for path in paths:
        known = truth(path)
        if known is not None and by_wnid:
            answers.append(frozenset(by_wnid[wnid] for wnid in known.wnids if wnid in by_wnid))
        else:
            folder = by_name.get(plain(path.absolute().parent.name))
            answers.append(frozenset() if folder is None else frozenset({folder}))
    return answers

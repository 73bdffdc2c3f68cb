"""Find properties of images that predict their label, or a classifier's errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from deepscope.errors import DataError
from deepscope.images import Skipped
from deepscope.inputs import Images
from deepscope.inputs.examples import Data, Examples, Source, items_of, thumbnail_of
from deepscope.render import Presented
from deepscope.session import Session
from deepscope.shortcuts.association import associations
from deepscope.shortcuts.properties import NAMES, Properties, measure

_LEVEL = 0.05
_DRAWS = 1000
_ANSWERS = 20
"""Wrong answers that are groups, at most: the most frequent ones."""
_PICTURES = 4


@dataclass(frozen=True, eq=False)
class Shortcuts(Presented):
    """How P properties of N images differ between G groups.

    Attributes:
        name: of the data.
        kind: "label" where groups are classes, "error" where they are what a classifier answers.
        groups: names.
        paths: of the images.
        members: (N, G) which images are in each group.
        values: (N, P) properties, one column per name in `properties.NAMES`.
        auroc: (P, G) the chance that a property is larger for an image of the group than for another one (of the same
            class, where groups are answers).
        p_values: (P, G) of a permutation test, adjusted for all comparisons.
        draws: permutations of that test.
        pictures: of typical images of the strongest findings, by row; None where a file cannot be read any more.
        skipped: what could not be read.
    """

    name: str
    kind: Literal["label", "error"]
    groups: tuple[str, ...]
    paths: tuple[Path, ...]
    members: NDArray[np.bool_]
    values: NDArray[np.float64]
    auroc: NDArray[np.float64]
    p_values: NDArray[np.float64]
    draws: int
    pictures: Mapping[int, Tensor | None]
    skipped: tuple[Skipped, ...]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def found(self) -> list[tuple[int, int]]:
        """(property, group) pairs that differ at the 5 % level, the strongest first."""
        strength = np.abs(self.auroc - 0.5)
        pairs = [(int(row), int(group)) for row, group in zip(*np.nonzero(self.p_values <= _LEVEL))]
        return sorted(pairs, key=lambda pair: -strength[pair])

    def typical(self, pair: tuple[int, int]) -> tuple[list[int], list[int]]:
        """Rows of images of the group that show the difference most, and of others that show it least.

        Images whose property is not known are in neither.
        """
        row, group = pair
        sign = 1 if self.auroc[pair] > 0.5 else -1
        order = np.argsort(-sign * self.values[:, row], kind="stable")
        order = order[~np.isnan(self.values[order, row])]
        inside = self.members[order, group]
        return order[inside][:_PICTURES].tolist(), order[~inside][::-1][:_PICTURES].tolist()

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per property and group."""
        pairs = [(row, group) for row in range(len(NAMES)) for group in range(len(self.groups))]
        return {
            "property": [NAMES[row] for row, _ in pairs],
            "group": [self.groups[group] for _, group in pairs],
            "auroc": [float(self.auroc[pair]) for pair in pairs],
            "p": [float(self.p_values[pair]) for pair in pairs],
        }


def label_shortcuts(
    data: Data, *, limit: int | None = 2000, seed: int = 0, session: Session | None = None
) -> Shortcuts:
    """Find properties that tell the images of a class from those of the others, such as a watermark or darkness.

    A classifier can use such a property in place of what the image shows. Whether it may (sunsets are red) is for a
    person to say. The training images are measured, all where the data is undivided.

    Args:
        data: labelled images, see `Data`.
        limit: images to use, at most, drawn at random.
        seed: of the draw and of the permutations.
        session: folders and progress; its own seed counts where it is given.

    Raises:
        DataError: the data does not exist, or no image could be read.
    """
    session = Session.of(session, seed=seed)
    examples = Examples.of(data, session).training
    examples = examples.at(np.array(session.some(range(len(examples)), limit), np.int64))
    measured = measure(examples.sources, session)
    labels = examples.labels[measured.rows]
    members = labels[:, None] == np.arange(len(examples.classes))
    found = _compared(measured, members, np.zeros_like(labels), session)
    made = replace(
        found,
        name=examples.name,
        groups=examples.classes,
        paths=tuple(examples.paths[row] for row in measured.rows),
        skipped=(*examples.skipped, *measured.skipped),
    )
    return _pictured(made, [examples.sources[row] for row in measured.rows])


def error_shortcuts(
    given: Images,
    labels: Sequence[int],
    predicted: Sequence[int],
    classes: Sequence[str],
    *,
    name: str,
    session: Session,
) -> Shortcuts:
    """Find properties that go with what a classifier answers, among images of the same class.

    The groups are the images classified wrong, and for each class that is a wrong answer the images classified so.

    Args:
        given: images that were classified, none of which the classifier was fitted to.
        labels: their classes, places in `classes`.
        predicted: the classifier's answers.
        classes: names.
        name: of the data.
        session: progress, and the seed of the permutations.

    Raises:
        DataError: the three are not of one length, or no image could be read.
    """
    items = list(items_of(given).items)
    if not len(items) == len(labels) == len(predicted):
        raise DataError(f"{len(items)} images, {len(labels)} labels and {len(predicted)} answers: give one per image")
    measured = measure([item.source for item in items], session)
    true, answers = (np.asarray(given, np.int64)[measured.rows] for given in (labels, predicted))
    wrong = answers != true
    counts = np.bincount(answers[wrong], minlength=len(classes))
    named = [label for label in np.argsort(-counts, kind="stable")[:_ANSWERS].tolist() if counts[label]]
    members = np.stack([wrong, *(answers == label for label in named)], 1)
    kept = [items[row] for row in measured.rows]
    made = replace(
        _compared(measured, members, true, session),
        name=name,
        kind="error",
        groups=("images classified wrong", *(f"images classified as {classes[label]}" for label in named)),
        paths=tuple(item.path for item in kept),
        skipped=measured.skipped,
    )
    return _pictured(made, [item.source for item in kept])


def _compared(
    measured: Properties, members: NDArray[np.bool_], strata: NDArray[np.int64], session: Session
) -> Shortcuts:
    rng = np.random.default_rng(int(session.rng("shortcuts").initial_seed()))
    tested = associations(measured.values, members, strata, draws=_DRAWS, rng=rng)
    return Shortcuts(
        "", "label", (), (), members, measured.values, tested.auroc, tested.p_values, _DRAWS, {}, measured.skipped
    )


def _pictured(found: Shortcuts, sources: Sequence[Source]) -> Shortcuts:
    rows = {row for pair in found.found[:_PICTURES] for side in found.typical(pair) for row in side}
    return replace(found, pictures={row: thumbnail_of(sources[row]) for row in sorted(rows)})

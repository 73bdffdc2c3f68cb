"""The images that `check explanations` explains, with their maps: as figures, and as a gallery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.attributions import Attribution, attribute
from deepscope.gallery import Encoded, Gallery, Measured
from deepscope.inputs import Photos
from deepscope.presenters.explained import heat, image_cell
from deepscope.presenters.gallery import Encoder, entries_of, map_over, measured_of
from deepscope.results import Block, GridCell, ImageGrid, Note
from deepscope.session import Session

_SHOWN = 4
"""Images of each kind in the figures."""
MAPPED = 36
"""Images with maps in the gallery."""
Rows = Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class Shown:
    """Photographs and each method's maps of the predicted class.

    Attributes:
        photos: all that are explained.
        rows: those that have maps.
        maps: method -> (len(rows), ...) maps of the predicted class.
        contrasts: method -> maps of why the predicted class and not the true one, of the first wrong predictions.
    """

    photos: Photos
    methods: Sequence[Attribution]
    rows: list[int]
    maps: Mapping[str, Tensor]
    contrasts: Mapping[str, Tensor]

    @classmethod
    def of(
        cls,
        methods: Sequence[Attribution],
        photos: Photos,
        batch_size: int,
        session: Session,
        *,
        contrast: bool,
    ) -> Shown:
        """The maps of the first images; half of them are of wrong predictions, where there are enough."""
        right = np.array(photos.correct, dtype=bool)
        wrong = np.flatnonzero(~right)[: max(MAPPED // 2, MAPPED - int(right.sum()))]
        rows = sorted([*wrong.tolist(), *np.flatnonzero(right)[: MAPPED - len(wrong)].tolist()])
        maps = {method.name: _maps(method, photos[rows], None, session, batch_size) for method in methods}
        mistaken = photos[wrong[:_SHOWN].tolist()]
        single = photos.model.head.kind != "multilabel"  # whose mistakes have no one true class
        asked = [method for method in methods if method.of_class] if contrast and single and len(mistaken) else []
        versus = {method.name: _maps(method, mistaken, _true(mistaken), session, batch_size) for method in asked}
        return cls(photos, methods, rows, maps, versus)


def figures(shown: Shown, groups: Rows) -> list[Block]:
    """Some right and some wrong predictions with each method's map of the predicted class."""
    grids: list[Block] = []
    for group, chosen in groups.items():
        if not chosen.any():
            grids.append(Note(f"No prediction among these {len(chosen)} is {group}.", f"Maps, {group}"))
            continue
        rows = np.flatnonzero(chosen)[:_SHOWN].tolist()
        places = torch.tensor([shown.rows.index(row) for row in rows])
        maps = {name: own[places] for name, own in shown.maps.items()}
        against = shown.contrasts if group == "wrong" else {}
        maps |= against
        cells: list[tuple[GridCell, ...]] = [
            (image_cell(shown.photos, row), *(heat(m, maps[m.name][place]) for m in shown.methods))
            for place, row in enumerate(rows)
        ]
        columns = ("image", *(method.name for method in shown.methods))
        caption = "Maps of the predicted class."
        if against:
            caption = "Why the predicted class and not the true one: maps of the difference between the two scores."
        grids.append(ImageGrid(tuple(cells), f"Where the prediction is {group}", caption, columns))
    return grids


def gallery(shown: Shown, gained: Mapping[str, NDArray[np.float64]]) -> Gallery:
    """The images with their maps and their faithfulness."""
    photos = shown.photos
    measured = tuple(
        Measured(
            f"faithfulness/{name}",
            f"faithfulness of {name}",
            "Insertion minus deletion of its map, less that of a random map: above 0 it tells more than chance.",
        )
        for name in gained
    )
    entries = entries_of(photos, Encoder(len(shown.rows)))
    for row, entry in enumerate(entries):
        values = {f"faithfulness/{name}": float(values[row]) for name, values in gained.items()}
        known = {name: value for name, value in values.items() if np.isfinite(value)}
        entries[row] = replace(entry, values={**entry.values, **known}, maps=_overlays(shown, row))
    return Gallery(tuple(entries), (*measured_of(entries), *measured), "The images that are explained")


def _overlays(shown: Shown, row: int) -> dict[str, Encoded]:
    """Each method's map of an image, as far as it has any; of a mistake also why it is not the true class."""
    if row not in shown.rows:
        return {}
    place, count = shown.rows.index(row), len(shown.rows)
    found = {method.name: map_over(heat(method, shown.maps[method.name][place]), count) for method in shown.methods}
    mistakes = [row for row in shown.rows if not shown.photos.correct[row]][:_SHOWN]
    if row in mistakes:
        for method in shown.methods:
            if method.name in shown.contrasts:
                own = shown.contrasts[method.name][mistakes.index(row)]
                found[f"{method.name}: predicted over true class"] = map_over(heat(method, own), count)
    return found


def _true(photos: Photos) -> Tensor:
    """(N,) the true classes, which are known of every image of a check."""
    return torch.tensor([photos.true_class(row) for row in range(len(photos))])


def _maps(method: Attribution, photos: Photos, versus: Tensor | None, session: Session, batch_size: int) -> Tensor:
    rng = session.rng("explain", method.name)
    return attribute(
        method, photos.model, photos.pixels, photos.predicted, versus=versus, rng=rng, batch_size=batch_size
    )

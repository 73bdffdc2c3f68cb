"""Measuring a method's maps of many photographs. Each batch is kept in the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.attributions.attribution import Attribution, image_seeds, per_pixel
from deepscope.attributions.faithfulness import Explanation, Measure, energy_inside
from deepscope.attributions.naming import labels
from deepscope.inputs import Photos
from deepscope.kept import Arrays, digest, kept
from deepscope.registry import plain_value
from deepscope.session import Session

CHANCE = "random"
"""A label in place of a method: random maps, the baseline of every method."""
POINTING = "energy-pointing"
"""The pointing game's name among the measures; it is listed apart because it needs boxes."""

Values = Mapping[str, NDArray[np.float64]]
"""Measure -> (N,) values."""


def measure(
    method: Attribution | None,
    photos: Photos,
    measures: Sequence[Measure],
    session: Session,
    *,
    batch_size: int,
) -> dict[str, NDArray[np.float64]]:
    """Every measure of every photograph's map of its predicted class.

    Args:
        method: None measures random maps.
        photos: with all their pixels.
        measures: what to measure.
        session: seed, cache and progress.
        batch_size: images per batch; the values do not depend on it.

    Returns:
        measure's name -> (N,) values.
    """
    name = CHANCE if method is None else method.name
    parts: list[Values] = []
    with session.progress(f"measuring {name}", total=len(photos)) as advance:
        for first in range(0, len(photos), batch_size):
            part = photos[range(first, min(first + batch_size, len(photos)))]
            parts.append(measure_batch(method, part, measures, session, first=first))
            advance(len(part))
    return joined(parts)


def joined(parts: Sequence[Values]) -> dict[str, NDArray[np.float64]]:
    """The values of consecutive batches as one."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def measure_batch(
    method: Attribution | None,
    photos: Photos,
    measures: Sequence[Measure],
    session: Session,
    *,
    first: int,
    inside: Tensor | None = None,
) -> Arrays:
    """`measure` of one batch, from the cache where it was measured before.

    Args:
        first: the place of the first of these images among all of them.
        inside: (N, H, W), how much of each pixel lies on the object, adds the pointing game.
    """
    about = {
        "model": photos.model.fingerprint,
        "method": None if method is None else identity_of(method),
        "measures": plain_value(measures),
        "images": digest(photos.pixels, photos.predicted, *([] if inside is None else [inside])),
        "first": first,
    }
    return kept(session, about, lambda: _measured(method, photos, measures, session, inside, first))


def identity_of(method: Attribution) -> dict[str, Any]:
    """A method's settings, and the names, sizes and times of the files that it reads, ready for JSON."""
    files = [(path, path.stat()) for path in method.reads()]
    return {
        "settings": plain_value(method),
        "reads": [(str(path), state.st_size, state.st_mtime_ns) for path, state in files],
    }


def _measured(
    method: Attribution | None,
    photos: Photos,
    measures: Sequence[Measure],
    session: Session,
    inside: Tensor | None,
    first: int,
) -> Arrays:
    model = photos.model
    pixels, target = photos.pixels.to(model.device), photos.predicted.to(model.device)

    def stream(*names: str) -> torch.Generator:
        """Each image has its own place in a stream, so that values do not depend on the batch size."""
        rng = session.rng(*names)
        image_seeds(first, 0, rng)
        return rng

    def explain(changed: Tensor) -> Tensor:
        if method is not None:
            return per_pixel(method(model, changed, target, rng=stream("explain", method.name)))
        seeds = image_seeds(len(changed), 1, stream("explain", CHANCE)).flatten().tolist()
        return torch.stack(
            [torch.rand(changed.shape[2:], generator=torch.Generator().manual_seed(s)) for s in seeds]
        ).to(changed)

    maps = explain(pixels)
    found = {
        label: one(Explanation(model, pixels, target, maps, explain, stream("measure", one.name)))
        for label, one in zip(labels(measures), measures)
    }
    if inside is not None:
        found[POINTING] = energy_inside(maps, inside.to(maps))
    return {name: values.double().cpu().numpy() for name, values in found.items()}

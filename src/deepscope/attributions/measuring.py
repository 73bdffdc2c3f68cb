"""Measuring a method's maps of many photographs. Each batch is kept in the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.attributions.attribution import Attribution, image_seeds, per_pixel
from deepscope.attributions.faithfulness import Explanation, Measure, energy_inside, rank_inside
from deepscope.attributions.faithfulness.measure import Shared
from deepscope.attributions.naming import labels
from deepscope.inputs import Photos
from deepscope.kept import Arrays, digest, kept
from deepscope.models.prediction import served
from deepscope.registry import plain_value
from deepscope.session import Session

CHANCE = "random"
"""A label in place of a method: random maps, the baseline of every method."""
POINTING, RANK = "energy-pointing", "relevance-rank"
"""Names among the measures of what is listed apart, because it needs to know where the object is."""

NOTHING = "constant maps"
"""Key of the values that flag maps that are constant or not finite."""

Values = Mapping[str, NDArray[Any]]
"""Measure -> (N,) values, and `NOTHING`."""


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
        measure's name -> (N,) values; NaN for maps that are the same everywhere.
    """
    name = CHANCE if method is None else method.name
    parts: list[Values] = []
    with session.progress(f"measuring {name}", total=len(photos)) as advance:
        for first in range(0, len(photos), batch_size):
            part = photos[range(first, min(first + batch_size, len(photos)))]
            parts.append(measure_batch(method, Batch(part, first), measures, session))
            advance(len(part))
    found = joined(parts)
    del found[NOTHING]
    return found


def joined(parts: Sequence[Values]) -> dict[str, NDArray[Any]]:
    """The values of consecutive batches as one."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@dataclass(frozen=True)
class Batch:
    """Consecutive images that several methods are measured on.

    Attributes:
        photos: with all their pixels.
        first: the place of the first of them among all images.
        inside: (N, H, W), how much of each pixel lies on the object; None where that is not known.
        shared: predictions that do not depend on a method's maps.
        draws: the generator of each stream, by the stream's names; None gives each image its place in the session's.
        passes: forward passes to come, about, by which an engine is chosen for them; 0 leaves them to PyTorch.
    """

    photos: Photos
    first: int = 0
    inside: Tensor | None = None
    shared: Shared = field(default_factory=dict)
    draws: Callable[..., torch.Generator] | None = None
    passes: int = 0


def measure_batch(method: Attribution | None, batch: Batch, measures: Sequence[Measure], session: Session) -> Arrays:
    """`measure` of one batch, from the cache where it was measured before. Maps that show nothing have NaN throughout.

    Where `batch` says where the object is, `POINTING` and `RANK` are measured too.
    """
    photos, inside = batch.photos, batch.inside
    about = {
        "model": photos.model.identity,
        "method": None if method is None else identity_of(method),
        "measures": plain_value(measures),
        "images": digest(photos.pixels, photos.predicted, *([] if inside is None else [inside])),
        "first": batch.first,
        "engine": session.engine if batch.passes else "torch",
    }
    return kept(session, about, lambda: measured(method, batch, measures, session))


def identity_of(method: Attribution) -> dict[str, Any]:
    """A method's settings, and the names, sizes and times of the files that it reads, ready for JSON."""
    files = [(path, path.stat()) for path in method.reads()]
    return {
        "settings": plain_value(method),
        "reads": [(str(path), state.st_size, state.st_mtime_ns) for path, state in files],
    }


def measured(method: Attribution | None, batch: Batch, measures: Sequence[Measure], session: Session) -> Arrays:
    """`measure_batch`, without the cache."""
    model = served(batch.photos.model, session, images=batch.passes)
    pixels, target = batch.photos.pixels.to(model.device), batch.photos.predicted.to(model.device)

    def stream(*names: str) -> torch.Generator:
        """Each image has its own place in a stream, so that values do not depend on the batch size."""
        if batch.draws is not None:
            return batch.draws(*names)
        rng = session.rng(*names)
        image_seeds(batch.first, 0, rng)
        return rng

    def maps_by(one: Attribution, images: Tensor, classes: Tensor) -> Tensor:
        return per_pixel(one(model, images, classes, rng=stream("explain", one.name)))

    def explain(changed: Tensor) -> Tensor:
        if method is not None:
            bounded = method.bounded()
            return maps if changed is pixels and bounded is method else maps_by(bounded, changed, target)
        seeds = image_seeds(len(changed), 1, stream("explain", CHANCE)).flatten().tolist()
        return torch.stack(
            [torch.rand(changed.shape[2:], generator=torch.Generator().manual_seed(s)) for s in seeds]
        ).to(changed)

    def explain_class(classes: Tensor) -> Tensor:
        return maps if method is None else maps_by(method.bounded(), pixels, classes)

    maps = explain(pixels) if method is None else maps_by(method, pixels, target)
    shows = says_something(maps)
    given = Explanation(model, pixels, target, maps, explain, explain_class=explain_class, shared=batch.shared)
    found = {
        label: one(replace(given, rng=stream("measure", one.name))) for label, one in zip(labels(measures), measures)
    }
    if batch.inside is not None:
        inside = batch.inside.to(maps)
        found |= {POINTING: energy_inside(maps, inside), RANK: rank_inside(maps, inside)}
    found = {name: values.double().where(shows, torch.nan).cpu().numpy() for name, values in found.items()}
    return {**found, NOTHING: (~shows).cpu().numpy()}


def says_something(maps: Tensor) -> Tensor:
    """(N,) whether an (H, W) map has an order of pixels: one that is the same everywhere, or not finite, has none."""
    values = maps.flatten(1)
    return values.isfinite().all(1) & (values.amax(1) > values.amin(1))

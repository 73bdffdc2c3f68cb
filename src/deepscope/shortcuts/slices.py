"""Slices of the data on which a classifier fails more often: found on one half of the images, tested on the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from deepscope.errors import DataError
from deepscope.features import class_layer_input, extract
from deepscope.images import Skipped
from deepscope.inputs import Images
from deepscope.inputs.examples import items_of, thumbnail_of
from deepscope.models import VisionModel
from deepscope.render import Presented
from deepscope.session import Session
from deepscope.shortcuts.association import associations
from deepscope.shortcuts.properties import NAMES, measure
from deepscope.statistics import Estimate, proportion

LEVEL = 0.05
"""The share of false discoveries among the slices that are reported, at most."""
_MOST = 20
_EACH = 15
"""Images of the first half per cluster, on average, at least."""
FEWEST = 4 * _EACH
"""Images that it takes to find slices and to test them."""
_PICTURES = 4


@dataclass(frozen=True, eq=False)
class Slice:
    """A cluster of images in feature space whose errors were frequent on the first half.

    Attributes:
        rows: its images in the second half.
        finders: its images in the first half, whose errors made it a slice.
        errors: the share of them that is classified wrong.
        elsewhere: the same of the other images of the second half.
        p_value: of Fisher's exact test, one-sided, on the second half.
        q_value: adjusted for the number of slices tested (Benjamini and Hochberg 1995).
        properties: what tells its images from the others, strongest first: (name, AUROC).
        classes: the most frequent classes in it: (name, share).
    """

    rows: NDArray[np.int64]
    finders: NDArray[np.int64]
    errors: Estimate
    elsewhere: Estimate
    p_value: float
    q_value: float
    properties: tuple[tuple[str, float], ...]
    classes: tuple[tuple[str, float], ...]

    @property
    def confirmed(self) -> bool:
        """Whether the second half confirms it."""
        return self.q_value <= LEVEL


@dataclass(frozen=True, eq=False)
class Slices(Presented):
    """Slices of N classified images.

    Attributes:
        name: of the data.
        paths: of the images; in parts, of those with a picture, by row.
        wrong: (N,) which are classified wrong.
        first: (N,) which were used to find slices; the others tested them.
        clusters: how many there were.
        slices: those tested, the smallest p-value first.
        pictures: of wrong images of the confirmed slices, by row.
        skipped: what could not be read.
    """

    name: str
    paths: tuple[Path, ...] | Mapping[int, Path]
    wrong: NDArray[np.bool_]
    first: NDArray[np.bool_]
    clusters: int
    slices: tuple[Slice, ...]
    pictures: Mapping[int, Tensor | None]
    skipped: tuple[Skipped, ...]

    def __len__(self) -> int:
        return len(self.wrong)

    @property
    def confirmed(self) -> tuple[Slice, ...]:
        """The slices that the second half confirms."""
        return tuple(each for each in self.slices if each.confirmed)

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per slice."""
        return {
            "images": [len(each.rows) for each in self.slices],
            "errors": [each.errors.value for each in self.slices],
            "elsewhere": [each.elsewhere.value for each in self.slices],
            "p": [each.p_value for each in self.slices],
            "q": [each.q_value for each in self.slices],
            "confirmed": [each.confirmed for each in self.slices],
        }


def failing_slices(
    model: VisionModel,
    given: Images,
    labels: Sequence[str],
    wrong: Sequence[bool],
    *,
    name: str,
    session: Session,
) -> Slices:
    """Find groups of similar images on which a classifier fails more often than on the others.

    The model's features of one half of the images are clustered, and the clusters with more errors than the average
    become slices. The other half decides which of them are real, with the share of false discoveries controlled.

    Args:
        model: its features are clustered.
        given: images that were classified, none of which the classifier was fitted to.
        labels: names of their classes.
        wrong: whether each was classified wrong.
        name: of the data.
        session: progress, cache, and the seed of halves and clusters.

    Raises:
        DataError: the three are not of one length, or too few images to find and test slices.
    """
    items = list(items_of(given).items)
    sources = [item.source for item in items]
    if not len(items) == len(labels) == len(wrong):
        raise DataError(f"{len(items)} images, {len(labels)} labels and {len(wrong)} answers: give one per image")
    measured = measure(sources, session)
    found = extract(model, [(class_layer_input(model), "mean")], sources, session)
    rows, own, seen = np.intersect1d(measured.rows, found.rows, return_indices=True)
    if len(rows) < FEWEST:
        raise DataError(f"slices need at least {FEWEST} images to be found and tested, not {len(rows)}", data=name)
    vectors = functional.normalize(torch.from_numpy(found.vectors[0][seen])).numpy()
    errors = np.asarray(wrong, bool)[rows]
    order = torch.randperm(len(rows), generator=session.rng("halves")).numpy()
    first = np.zeros(len(rows), bool)
    first[order[: len(rows) // 2]] = True
    clusters = cluster_count(len(rows))
    members = centres(vectors[first], clusters, session.seed).predict(vectors)
    kept = [items[row] for row in rows]
    second = np.flatnonzero(~first)
    slices = examined(members, errors, first, np.asarray(labels, object)[rows], second, measured.values[own][second])
    shown = [row for each in slices if each.confirmed for row in wrong_first(each, errors)]
    pictures = {row: thumbnail_of(kept[row].source) for row in shown}
    return Slices(name, tuple(item.path for item in kept), errors, first, clusters, slices, pictures, measured.skipped)


def wrong_first(found: Slice, wrong: NDArray[np.bool_]) -> list[int]:
    """The images of a slice that are shown."""
    return found.rows[np.argsort(~wrong[found.rows], kind="stable")][:_PICTURES].tolist()


def cluster_count(images: int) -> int:
    """Into how many clusters images are divided."""
    return min(_MOST, images // 2 // _EACH)


def centres(vectors: NDArray[np.float32], clusters: int, seed: int) -> Any:
    """k-means of the first half's (n, D) vectors of norm 1; `predict` gives the cluster of any others."""
    from sklearn.cluster import KMeans

    machine: Any = KMeans(clusters, n_init=4, random_state=seed)  # pyright: ignore[reportArgumentType]
    return machine.fit(vectors)


def examined(
    members: NDArray[Any],
    wrong: NDArray[np.bool_],
    first: NDArray[np.bool_],
    labels: NDArray[Any],
    shown: NDArray[np.int64],
    values: NDArray[np.float64],
) -> tuple[Slice, ...]:
    """Clusters with more errors than the average of the first half, tested on the second.

    Args:
        members: (N,) the cluster of each image.
        wrong: (N,) which are classified wrong.
        first: (N,) which were used to find slices.
        labels: (N,) names of classes.
        shown: images of the second half whose properties describe the slices.
        values: their (n, P) properties.
    """
    from scipy import stats

    average = wrong[first].mean()
    chosen = [each for each in np.unique(members[first]) if wrong[first & (members == each)].mean() > average]
    halves = [tuple(np.flatnonzero(half & (members == each)) for half in (~first, first)) for each in chosen]
    halves = [(rows, finders) for rows, finders in halves if len(rows)]
    inside = [rows for rows, _ in halves]
    if not inside:
        return ()
    total, bad = int((~first).sum()), int(wrong[~first].sum())
    p_values = [float(stats.hypergeom.sf(int(wrong[rows].sum()) - 1, total, bad, len(rows))) for rows in inside]
    q_values = stats.false_discovery_control(p_values)
    made = []
    for (rows, finders), p_value, q_value in zip(halves, p_values, q_values):
        count, size = int(wrong[rows].sum()), len(rows)
        errors, elsewhere = proportion(count, size), proportion(bad - count, total - size)
        described = _properties(np.isin(shown, rows), values), _classes(labels[rows])
        made.append(Slice(rows, finders, errors, elsewhere, p_value, float(q_value), *described))
    return tuple(sorted(made, key=lambda each: each.p_value))


def _properties(inside: NDArray[np.bool_], values: NDArray[np.float64]) -> tuple[tuple[str, float], ...]:
    """The three properties that tell the images of the slice best from the others."""
    rng = np.random.default_rng(0)
    compared = associations(values, inside[:, None], np.zeros(len(inside), int), draws=0, rng=rng)
    order = np.argsort(-np.abs(compared.auroc[:, 0] - 0.5))[:3]
    return tuple((NAMES[place], float(compared.auroc[place, 0])) for place in order)


def _classes(labels: NDArray[Any]) -> tuple[tuple[str, float], ...]:
    names, counts = np.unique(labels.astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")[:3]
    return tuple((str(names[place]), float(counts[place] / len(labels))) for place in order)

"""Pseudo-classes: clusters of similar images, found without labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from deepscope.errors import SettingError
from deepscope.gans.pictures import Labelled
from deepscope.kept import digest, kept
from deepscope.session import Session

_DIRECTIONS, _CELLS, _COMPONENTS = 8, 8, 60
_AT_ONCE, _ATTEMPTS = 4000, 3
_NEIGHBOURS, _ROUNDS, _ROWS = 10, 4, 1000
_DIVISIBLE = 20
"""Images that can be divided: ten for each of two clusters."""


def clusters(images: Tensor, count: int, session: Session) -> Tensor:
    """Group images by the directions of their edges: k-means of the `gathered` principal components of `edges`.

    With 50 clusters of MNIST's training digits, 97 % belong to their cluster's most frequent class; 91 % without
    gathering, 78 % with clusters of raw pixels. Time grows with the square of the number of images: 60,000 take a
    minute, and the result is cached.

    Args:
        images: (N, C, H, W) uint8.
        count: of clusters, at least 2; on average each has ten images or more.
        session: its seed initialises k-means; its cache keeps the result.

    Returns:
        (N,) int64, in [0, count).

    Raises:
        SettingError: there are too few images for this many clusters.
    """
    if not 2 <= count <= len(images) // 10:
        problem = f"must be from 2 to {len(images) // 10}, a tenth of the training images"
        if len(images) < _DIVISIBLE:
            problem = f"needs at least {_DIVISIBLE} training images, and there are {len(images)}"
        raise SettingError("clusters", problem, got=count)
    about = {"clusters": count, "images": digest(images)}
    found = kept(session, about, lambda: {"clusters": _clusters(images, count, session)})["clusters"]
    return torch.from_numpy(found)


def clusters_of_classes(data: Labelled, classes: Sequence[str], count: int, session: Session) -> Tensor:
    """Divide each class into clusters of similar images, each by `clusters`.

    Args:
        data: images (N, C, H, W) uint8 and their classes (N,).
        classes: their names.
        count: of clusters in each class, at least 2; on average each has ten images or more.
        session: as for `clusters`.

    Returns:
        (N,) int64: class * count + cluster.

    Raises:
        SettingError: a class has too few images for this many clusters.
    """
    sizes = torch.bincount(data.labels, minlength=len(classes))
    fewest, name = int(sizes.min()), classes[int(sizes.argmin())]
    if not 2 <= count <= fewest // 10:
        problem = f"must be from 2 to a tenth of the training images of each class, and {name} has {fewest}"
        if fewest < _DIVISIBLE:
            problem = f"needs at least {_DIVISIBLE} training images of each class, and {name} has {fewest}"
        raise SettingError("clusters", problem, got=count)
    found = torch.empty_like(data.labels)
    for label in range(len(classes)):
        rows = data.labels == label
        found[rows] = label * count + clusters(data.images[rows], count, session)
    return found


def _clusters(images: Tensor, count: int, session: Session) -> NDArray[np.int64]:
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.decomposition import PCA

    seed = session.rng("clusters").initial_seed() % 2**32
    described = np.concatenate([edges(part) for part in images.split(_AT_ONCE)])
    parts = PCA(min(_COMPONENTS, *described.shape), random_state=seed).fit_transform(described)
    parts = gathered(torch.from_numpy(parts).float().to(session.device)).cpu().numpy()
    attempts: Any = _ATTEMPTS  # the stubs know "auto" alone
    found = MiniBatchKMeans(count, batch_size=_AT_ONCE, n_init=attempts, random_state=seed).fit_predict(parts)
    return found.astype(np.int64)


def gathered(points: Tensor) -> Tensor:
    """Repeatedly move each point to the mean of its nearest neighbours and itself, so that clusters contract.

    A mean shift (Fukunaga and Hostetler 1975) along the neighbours that the points had at first: what leads from one
    kind to the next over many small steps thins out.

    Args:
        points: (N, D) float32.

    Returns:
        (N, D): after 4 rounds with 10 neighbours.
    """
    lengths = points.square().sum(1)
    nearest = [  # of its own neighbours, each point is the first
        (lengths - 2 * part @ points.T).topk(min(_NEIGHBOURS + 1, len(points)), largest=False).indices
        for part in points.split(_ROWS)
    ]
    neighbours = torch.cat(nearest)
    for _ in range(_ROUNDS):
        points = torch.cat([points[part].mean(1) for part in neighbours.split(_ROWS)])
    return points


def edges(images: Tensor) -> NDArray[np.float32]:
    """Histograms of edge directions in overlapping cells (Dalal and Triggs 2005), as square roots, of length 1.

    Args:
        images: (N, C, H, W) uint8, of at least 16 pixels per side.

    Returns:
        (N, 8 * 7 * 7): the strength of edges in 8 directions, from dark to bright, in cells a quarter of a side wide.
    """
    grey = functional.avg_pool2d(images.float().mean(1, keepdim=True), 3, stride=1, padding=1)
    across = functional.pad(grey[..., 2:] - grey[..., :-2], (1, 1))
    down = functional.pad(grey[..., 2:, :] - grey[..., :-2, :], (0, 0, 1, 1))
    place = torch.atan2(down, across) * (_DIRECTIONS / (2 * math.pi))
    bins = torch.arange(_DIRECTIONS)[:, None, None]
    # each edge counts for the two directions next to it, the nearer one more
    far = ((place - bins + _DIRECTIONS / 2) % _DIRECTIONS - _DIRECTIONS / 2).abs()
    strength = torch.hypot(across, down) * (1 - far).clamp_min(0)
    cells = functional.avg_pool2d(functional.adaptive_avg_pool2d(strength, _CELLS), 2, stride=1).flatten(1)
    return functional.normalize(cells, p=1, dim=1).sqrt().numpy()

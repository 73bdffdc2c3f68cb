"""Clusters: the description of edges against a plain loop, and what is put together."""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from deepscope.errors import DeepscopeError
from deepscope.gans import clusters, drawn, load_pictures
from deepscope.gans.clusters import edges, gathered
from deepscope.session import Session


def plain_edges(image: np.ndarray) -> np.ndarray:
    """(C, H, W) -> the description, pixel by pixel."""
    grey = np.pad(image.astype(float).mean(0), 1)
    height, width = grey.shape[0] - 2, grey.shape[1] - 2
    smooth = np.array([[grey[y : y + 3, x : x + 3].mean() for x in range(width)] for y in range(height)])
    cells = np.zeros((8, 8, 8))
    side = height // 8
    for y in range(height):
        for x in range(width):
            across = smooth[y, x + 1] - smooth[y, x - 1] if 0 < x < width - 1 else 0.0
            down = smooth[y + 1, x] - smooth[y - 1, x] if 0 < y < height - 1 else 0.0
            place = (math.atan2(down, across) % (2 * math.pi)) / (2 * math.pi) * 8
            low = int(place)
            for direction, part in ((low, 1 - (place - low)), (low + 1, place - low)):
                cells[direction % 8, y // side, x // side] += math.hypot(across, down) * part
    found = np.array([cells[:, y : y + 2, x : x + 2].sum((1, 2)) for y in range(7) for x in range(7)]).T.ravel()
    return np.sqrt(found / found.sum())


def test_edges_against_a_plain_loop() -> None:
    images = torch.randint(0, 256, (2, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for image, found in zip(images, edges(images), strict=True):
        np.testing.assert_allclose(found, plain_edges(image.numpy()), atol=1e-4)
    assert np.isfinite(edges(torch.zeros(1, 1, 16, 16, dtype=torch.uint8))).all()


def test_gathered_against_a_plain_loop() -> None:
    points = np.random.default_rng(0).normal(size=(40, 3))
    nearest = [
        sorted(range(40), key=lambda other: float(np.square(point - points[other]).sum()))[:11] for point in points
    ]
    expected = points
    for _ in range(4):
        expected = np.array([np.mean([expected[row] for row in rows], axis=0) for rows in nearest])
    np.testing.assert_allclose(gathered(torch.from_numpy(points)).numpy(), expected, atol=1e-9)


def test_gathering_parts_two_kinds() -> None:
    rng = torch.Generator().manual_seed(0)
    kinds = [torch.randn(100, 2, generator=rng) + shift for shift in (0.0, 4.0)]
    parted = gathered(torch.cat(kinds))
    within = parted[:100].std(0).mean() + parted[100:].std(0).mean()
    assert within < 0.8 * (kinds[0].std(0).mean() + kinds[1].std(0).mean())
    assert len(gathered(torch.zeros(3, 2))) == 3  # fewer than the neighbours that are asked for


def test_clusters_hold_digits_that_are_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(cache=tmp_path / "one", quiet=True)
    digits = load_pictures("mnist-extract", 32, session).train
    found = clusters(digits.images, 30, session)
    assert torch.equal(found, clusters(digits.images, 30, Session(cache=tmp_path / "two", quiet=True)))
    with monkeypatch.context() as patched:
        patched.setattr(import_module("deepscope.gans.clusters"), "_clusters", None)
        assert torch.equal(found, clusters(digits.images, 30, session))  # read, not found anew
    assert int(found.min()) >= 0 and int(found.max()) < 30
    most = sum(int(digits.labels[found == number].bincount().max()) for number in found.unique())
    assert most / len(digits) > 0.9  # a tenth is chance


@pytest.mark.parametrize("count", [1, 81])
def test_too_few_images_for_so_many(count: int) -> None:
    with pytest.raises(DeepscopeError, match="a tenth of the training images"):
        clusters(torch.zeros(800, 1, 16, 16, dtype=torch.uint8), count, Session(quiet=True))


def test_labels_are_drawn_as_often_as_their_shares() -> None:
    found = drawn(20_000, (0.5, 0.0, 0.3, 0.2), torch.Generator().manual_seed(0)).bincount(minlength=4) / 20_000
    np.testing.assert_allclose(found, [0.5, 0, 0.3, 0.2], atol=0.015)

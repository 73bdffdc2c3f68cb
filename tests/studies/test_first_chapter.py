from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepscope.results import ImageGrid, Table
from deepscope.session import Session
from deepscope.studies.activation_maps import ActivationMaps, explained
from deepscope.studies.architecture import Architecture
from deepscope.studies.predictions import Predictions


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(home=tmp_path, cache=tmp_path / "cache", quiet=True)


def _verdicts(table: Table) -> list[object]:
    return [row[3] for row in table.rows]


def test_vgg16_is_counted_as_published(session: Session) -> None:
    result = Architecture().run(session)
    assert _verdicts(result.blocks[-1]) == ["reproduced"] * 5  # type: ignore[arg-type]
    other = Architecture(model="torchvision:resnet18").run(session)
    assert _verdicts(other.blocks[-1]) == ["answered"] * 5  # type: ignore[arg-type]


def test_what_is_not_here_is_shown_as_not_measured(session: Session) -> None:
    result = Predictions().run(session)
    assert _verdicts(result.blocks[-1]) == ["answered", "not measured here", "not measured here"]  # type: ignore[arg-type]
    assert result.metrics["accuracy/top1/efficientnet_lite0"] == 1


def test_maps_are_counted_for_what_they_follow() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    brightness = pixels.mean(2, dtype=np.float64)
    edges = np.hypot(*np.gradient(brightness))
    colour = pixels[..., 0].astype(float) - pixels[..., 1]
    maps = np.stack([brightness, -3 * brightness, edges, colour]).astype(np.float32)
    assert explained(maps, pixels) == {"edges": 0.25, "brightness": 0.5, "colour": 0.25}


def test_maps_of_dead_filters_follow_nothing() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    dead = np.stack([np.zeros((20, 20)), np.full((20, 20), 0.3), pixels.mean(2)]).astype(np.float32)
    assert explained(dead, pixels) == {"edges": 0, "brightness": 1 / 3, "colour": 0}
    assert explained(dead, np.full_like(pixels, 77)) == {"edges": 0, "brightness": 0, "colour": 0}


def test_the_bundled_network_stands_in_where_weights_are_missing(session: Session) -> None:
    result = ActivationMaps().run(session)
    grids = [block for block in result.blocks if isinstance(block, ImageGrid)]
    assert len(grids) == 2
    assert all(len([cell for row in grid.rows for cell in row]) == 32 for grid in grids)
    assert sum(result.metrics[f"maps/{name}"] for name in ("edges", "brightness", "colour")) == pytest.approx(1)

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import squeezenet1_1

from deepscope.errors import DeepscopeError
from deepscope.results import ImageGrid, Table
from deepscope.session import Session
from deepscope.studies.activation_maps import ActivationMaps, explained
from deepscope.studies.architecture import Architecture
from deepscope.studies.networks import installed
from deepscope.studies.predictions import Predictions
from networks import tiny_model


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


def test_a_network_whose_classes_have_no_names_is_shown_as_not_measured(session: Session) -> None:
    """Such as a `.pth` file of weights, in the layout of torchvision's VGG16."""
    (session.home / "weights").mkdir()
    network = squeezenet1_1(num_classes=6).eval()
    save_file(
        network.state_dict(),
        session.home / "weights" / "mine.safetensors",
        metadata={"architecture": "torchvision:squeezenet1_1", "categories": json.dumps(list("abcdef"))},
    )
    result = Predictions(models=("mine",)).run(session)
    table = result.blocks[-1]
    assert isinstance(table, Table)
    assert table.rows[0][3] == "not measured here" and "models save" in str(table.rows[0][4])


def test_weights_of_torchvision_are_known_by_their_bare_name(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    assert "vgg16" not in installed(session)
    (tmp_path / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "torch" / "hub" / "checkpoints" / "vgg16-397923af.pth").touch()
    assert {"vgg16", "torchvision:vgg16"} <= installed(session, whole=True)


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
    (table,) = (block for block in result.blocks if isinstance(block, Table))
    assert "over 8 images, bootstrap interval" in str(table.rows[0])
    assert all(len([cell for row in grid.rows for cell in row]) == 32 for grid in grids)
    assert sum(result.metrics[f"maps/{name}"] for name in ("edges", "brightness", "colour")) == pytest.approx(1)


def test_a_named_network_is_examined_or_refused(session: Session, tmp_path: Path) -> None:
    tiny = tiny_model()
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(photo)
    held = replace(session, models={"held": tiny})
    found = ActivationMaps((photo,), model="held").run(held)
    assert tiny.name in found.title
    assert found.metrics["maps/edges/high"] == math.inf, "of one image there is no interval"
    with pytest.raises(DeepscopeError, match="nowhere"):
        ActivationMaps((photo,), model="nowhere.pt").run(session)

"""Units: the top images of every channel, against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import deepscope as ds
from deepscope.concepts.units import patch_box
from deepscope.errors import SettingError, UnknownNameError
from networks import tiny_model, tiny_transformer

IMAGES = torch.rand(11, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("layer", "batch_size"), [("4", 4), ("4", 11), ("5", 3), ("7", 3)])
def test_top_images_are_those_of_a_plain_loop(layer: str, batch_size: int) -> None:
    model = tiny_model()
    found = ds.concepts.units(model, IMAGES, layer, top=3, batch_size=batch_size)
    with torch.no_grad():
        largest = torch.stack([model.activations(image[None], [layer])[layer][0].flatten(1).amax(1)
                               if layer != "7" else model(image[None])[0] for image in IMAGES])  # fmt: skip
    assert found.count == 11 and [unit.channel for unit in found.units] == list(range(largest.shape[1]))
    for unit, values in zip(found.units, largest.T):
        wanted = values.sort(descending=True)
        assert list(unit.images) == wanted.indices[:3].tolist()
        np.testing.assert_allclose(unit.activations, wanted.values[:3], rtol=1e-5)
        assert unit.mean == pytest.approx(float(values.mean()), rel=1e-4)
        assert unit.active == pytest.approx(float((values > 0).float().mean()))


def test_tokens_are_maps_without_the_class_token() -> None:
    model = tiny_transformer()
    found = ds.concepts.units(model, IMAGES, "blocks.0", channels=[2, 0], top=2)
    with torch.no_grad():
        tokens = model.activations(IMAGES, ["blocks.0"])["blocks.0"][:, 1:]
    assert [unit.channel for unit in found.units] == [2, 0]
    for unit in found.units:
        assert list(unit.images) == tokens[..., unit.channel].amax(1).topk(2).indices.tolist()


def test_a_patch_is_the_part_of_the_image_around_the_largest_activation() -> None:
    values = np.zeros((4, 4), np.float32)
    values[1, 1], values[1, 2], values[3, 3], values[0, 0] = 1.0, 0.6, 0.9, 0.4
    assert patch_box(values, (16, 32)) == (8, 4, 24, 8)
    model = tiny_model()
    (unit,) = ds.concepts.units(model, IMAGES, "4", channels=[5], top=1).units
    left, top, right, bottom = unit.boxes[0]
    part = IMAGES[unit.images[0]][:, top:bottom, left:right]
    assert torch.equal(unit.patches[0], (part * 255).round().byte())


def test_images_that_excite_a_channel_are_shown_beside_it() -> None:
    found = ds.concepts.units(tiny_model(), IMAGES, "4", channels=[1, 3], top=2)
    made = found.beside([3], torch.ones(1, 3, 8, 8))
    assert made.units[0].visualization is None and made.units[1].visualization is not None
    assert len(made.to_pandas()) == 4
    grid = made.result().blocks[0]
    assert [len(row) for row in grid.rows] == [2, 3]  # type: ignore[union-attr]


def test_wrong_settings_are_refused_in_one_line() -> None:
    with pytest.raises(SettingError, match="channels must be from 0 to 7, as 4 has 8"):
        ds.concepts.units(tiny_model(), IMAGES, "4", channels=[8])
    with pytest.raises(SettingError, match="top must be a whole number, and at least 1"):
        ds.concepts.units(tiny_model(), IMAGES, "4", top=0)
    with pytest.raises(UnknownNameError, match="no layer is named '9'"):
        ds.concepts.units(tiny_model(), IMAGES, "9")

"""Class images and channels on every architecture of the list, whatever size it takes and wherever its channels are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from architectures import ARCHITECTURES, Architecture
from deepscope.checks import class_images, held_out
from deepscope.checks.class_images import ClassImages
from deepscope.errors import SettingError
from deepscope.session import Session
from deepscope.visualization import Layer, preset, visualize
from deepscope.visualization.objectives import ChannelObjective
from painted import CLASSES, paint_folder

_BY_NAME = {one.name: one for one in ARCHITECTURES}


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True)


CLASSIFIERS = [one for one in ARCHITECTURES if one.classes]


@pytest.mark.parametrize(
    ("architecture", "recipe"),
    [(one, "default") for one in CLASSIFIERS]
    + [(one, ("source", "yosinski")[place % 2]) for place, one in enumerate(CLASSIFIERS)],
    ids=lambda one: getattr(one, "name", one),
)
def test_a_preset_gives_an_image(architecture: Architecture, recipe: str, session: Session) -> None:
    model = architecture.model()
    short = replace(preset(recipe), iterations=2)
    found = visualize(model, ["tabby"], recipe=short, session=session)
    assert found.pixels.shape == (1, 3, architecture.size, architecture.size)
    assert found.pixels.isfinite().all() and found.made.watched.isfinite().all()
    assert not torch.equal(found.pixels, visualize(model, ["pug"], recipe=short, session=session).pixels)


@pytest.mark.parametrize(
    ("name", "layer", "positions", "first"),
    [
        ("ResNet", "layer3", (2, 3), 0),
        ("Swin v1", "layers.1", (1, 2), 0),
        ("Swin, torchvision", "features.3", (1, 2), 0),
        ("MambaOut", "stages.1", (1, 2), 0),
        ("ViT, registers", "blocks.1", (1,), 6),
        ("MLP-Mixer", "blocks.1", (1,), 0),
    ],
)
def test_a_channel_is_a_channel(
    name: str, layer: str, positions: tuple[int, ...], first: int, session: Session
) -> None:
    model = _BY_NAME[name].model()
    side = _BY_NAME[name].size
    pixels = torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    channels = torch.tensor([1, 9, 1])
    output = model.activations(pixels, [layer])[layer]
    means = (output[:, first:] if first else output).mean(positions)
    found, _ = ChannelObjective(model, layer, channels)(pixels, torch.arange(3))
    torch.testing.assert_close(found, means[torch.arange(3), channels])
    count = means.shape[1]
    with pytest.raises(SettingError, match=rf"channels 0 to {count - 1} \(got {count}\)"):
        ChannelObjective(model, layer, channels + count - 1 - 8)(pixels, torch.arange(3))
    made = visualize(model, Layer(layer, [1, 9]), recipe=replace(preset("default"), iterations=6), session=session)
    assert made.made.watched[-1].gt(made.made.watched[0]).any()


@pytest.mark.parametrize("name", ["ViT, class token", "Swin v1", "MaxViT", "CoAtNet", "EVA-02"])
def test_the_check_of_class_images_takes_a_fixed_size(
    name: str, tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = replace(_BY_NAME[name].model(), categories=(*CLASSES, "cat", "dog", "hay")[:6])
    monkeypatch.setattr(held_out, "load_model", lambda name, session: model)
    data = str(paint_folder(tmp_path / "pictures", train=2, test=2))
    result = ClassImages(data, classes=2, iterations=2).run(session)
    assert result.metrics["classes"] == 2
    assert class_images.preset is preset  # the real recipe, with views of 128 pixels

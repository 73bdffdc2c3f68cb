"""`activations` from Python: layers of a module that a person holds, for images in any form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from architectures import ARCHITECTURES
from deepscope.classification import activations
from deepscope.errors import DataError, DeepscopeError, ModelError, SettingError, UnsupportedError
from deepscope.models import Preprocessing, VisionModel
from networks import linear_model, tiny_model

SIDE = 16


@pytest.fixture
def pixels() -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (3, 3, SIDE, SIDE), dtype=np.uint8)).float() / 255


@pytest.fixture
def folder(pixels: torch.Tensor, tmp_path: Path) -> Path:
    for index, image in enumerate((pixels * 255).round().byte().permute(0, 2, 3, 1).numpy()):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "photos" / f"{index}.png")
    return tmp_path / "photos"


def test_outputs_are_those_of_the_modules(pixels: torch.Tensor) -> None:
    model = tiny_model()
    found = activations(model, pixels, ["0", "4", "7"])
    with torch.no_grad():
        seen = model.normalise(pixels)
        for index, module in enumerate(model.network.children()):
            seen = module(seen)
            if str(index) in found.outputs and index != 0:  # the next layer changes the first one's in place
                torch.testing.assert_close(found[str(index)], seen)
    assert {name: tuple(output.shape) for name, output in found.outputs.items()} == {
        "0": (3, 6, SIDE, SIDE),
        "4": (3, 8, SIDE // 2, SIDE // 2),
        "7": (3, 4),
    }
    assert tuple(found.maps("7").shape) == (3, 4, 1)


def test_the_same_images_in_any_form_give_the_same_numbers(pixels: torch.Tensor, folder: Path) -> None:
    model = tiny_model()
    forms = (
        folder,
        sorted(folder.iterdir()),
        [Image.open(path) for path in sorted(folder.iterdir())],
        [(image, "hay") for image in pixels],
        (image for image in pixels),
    )
    expected = activations(model, pixels).outputs
    for form in forms:
        found = activations(model, form).outputs
        assert list(found) == ["0"]  # the first convolution
        assert torch.equal(found["0"], expected["0"])
    for size in (1, 2):
        torch.testing.assert_close(activations(model, folder, batch_size=size)["0"], expected["0"])


def test_a_network_without_classes_will_do_with_labelled_images_too(pixels: torch.Tensor) -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 3))
    model = VisionModel("features", network, Preprocessing(resize=SIDE, crop=SIDE))
    found = activations(model, list(zip(pixels, [0, 1, 2])))
    with torch.no_grad():
        torch.testing.assert_close(found["0"], network(model.normalise(pixels)))


def test_a_table_of_channels_and_a_page(pixels: torch.Tensor, tmp_path: Path) -> None:
    found = activations(tiny_model(), pixels, ["1", "7"])
    frame = found.to_pandas()
    assert frame["layer"].tolist() == ["1"] * 6 + ["7"] * 4
    assert frame["channel"].tolist() == [*range(6), *range(4)]
    values = found["1"][:, 2].double().numpy()
    row = frame.iloc[2]
    np.testing.assert_allclose(row[["mean", "std"]].astype(float), [values.mean(), values.std()], rtol=1e-4)
    np.testing.assert_allclose(row[["minimum", "maximum"]].astype(float), [values.min(), values.max()], rtol=1e-5)
    assert row["zero"] == pytest.approx((values == 0).mean())
    result = found.result()
    assert set(result.arrays) == {"activations/1", "activations/7"}
    assert result.metrics["channels/1"] == 6
    assert (found.save(tmp_path / "out") / "result.json").is_file()
    assert "Activation maps" in found._repr_html_()


@pytest.mark.parametrize(
    ("name", "layer", "axes"),
    [
        ("Swin v1", "layers.1", "nhwc"),
        ("MambaOut", "stages.2", "nhwc"),
        ("ResNet", "layer3", "nchw"),
        ("ViT, registers", "blocks.1", "tokens"),
        ("ViT, non-square grid", "blocks.1", "tokens"),
    ],
)
def test_maps_of_any_layout(name: str, layer: str, axes: str) -> None:
    (architecture,) = (one for one in ARCHITECTURES if one.name == name)
    model = architecture.model()
    images = architecture.pixels().float()
    found = activations(model, images, layer)
    output = found[layer]
    if axes == "nhwc":
        expected = output.permute(0, 3, 1, 2)
    elif axes == "nchw":
        expected = output
    else:
        rows, columns, prefix = (4, 4, 6) if "registers" in name else (4, 8, 1)
        expected = output[:, prefix:].transpose(1, 2).reshape(2, -1, rows, columns)
    assert torch.equal(found.maps(layer), expected)
    assert found.result().metrics["channels"] == expected.shape[1]


def test_one_image_is_drawn_in_a_square(pixels: torch.Tensor) -> None:
    result = activations(tiny_model(), pixels[0], "0").result()
    assert result.arrays["activations"].shape == (6, SIDE, SIDE)
    assert set(result.metrics) == {"images", "channels", "mean", "zero", "dead"}


class Windows(nn.Module):
    """Puts out four pieces per image in place of one, as attention in windows does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, x, x, x])


@pytest.mark.parametrize(
    ("call", "kind", "fields"),
    [
        (lambda x: activations(tiny_model(), x, limit=0), SettingError, {"setting": "limit"}),
        (lambda x: activations(tiny_model(), x, batch_size=0), SettingError, {"setting": "batch_size"}),
        (lambda x: activations(linear_model(torch.ones(2, 3 * SIDE**2), size=SIDE), x), ModelError, {}),
        (lambda x: activations(tiny_model(), x, "8"), DeepscopeError, {}),
        (lambda x: activations(tiny_model(), [x[0], x[0, :, :9]]), DataError, {}),
        (
            lambda x: activations(VisionModel("w", nn.Sequential(Windows()), Preprocessing()), x, "0"),
            UnsupportedError,
            {"what": "0"},
        ),
    ],
)
def test_what_cannot_be_done_is_a_typed_error(
    call: Callable[[torch.Tensor], object], kind: type[DeepscopeError], fields: dict[str, object], pixels: torch.Tensor
) -> None:
    with pytest.raises(kind) as caught:
        call(pixels)
    assert {name: getattr(caught.value, name) for name in fields} == fields

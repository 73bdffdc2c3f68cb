"""Integrated gradients from every baseline: completeness, the exact integral, and expected gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from deepscope.attributions import IntegratedGradients
from deepscope.attributions.attribution import baseline_pixels, image_seeds
from deepscope.attributions.measuring import identity_of
from deepscope.errors import DeepscopeError, SettingError
from deepscope.models import VisionModel
from networks import smooth_model

SIDE = 12
PLAIN = ("black", "white", "grey", "mean", "blurred")


@pytest.fixture
def model() -> VisionModel:
    return smooth_model(size=SIDE)


@pytest.fixture
def pixels() -> Tensor:
    return torch.rand(3, 3, SIDE, SIDE, generator=rng(), dtype=torch.float64)


@pytest.fixture
def target() -> Tensor:
    return torch.tensor([1, 3, 0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five images of the size that the model takes."""
    levels = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)
    for index, array in enumerate(levels):
        Image.fromarray(array).save(tmp_path / f"{index}.png")
    return tmp_path


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def integral(model: VisionModel, image: Tensor, start: Tensor, label: int, steps: int = 400) -> Tensor:
    """The midpoint rule in float64, written out."""
    total = torch.zeros_like(image)
    for step in range(steps):
        point = (start + (step + 0.5) / steps * (image - start)).requires_grad_()
        total += torch.autograd.grad(model(point[None])[0, label], point)[0]
    return total / steps * (image - start)


def starts_of(baseline: str, pixels: Tensor, folder: Path, count: int) -> list[Tensor]:
    """The (count, 3, H, W) baselines of each image, as the documentation says they are drawn."""
    if baseline in PLAIN:
        return list(baseline_pixels(baseline, pixels)[:, None])  # type: ignore[arg-type]
    seeds = image_seeds(len(pixels), 1, rng())[:, 0].tolist()
    drawn = [torch.Generator().manual_seed(seed) for seed in seeds]
    if baseline == "random":
        return [torch.rand(count, 3, SIDE, SIDE, generator=one).double() for one in drawn]
    files = sorted(folder.iterdir())
    read = torch.stack([torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255 for file in files])
    return [read[torch.randperm(len(files), generator=one)[:count]].double() for one in drawn]


@pytest.mark.parametrize("baseline", [*PLAIN, "random", "folder"])
def test_shares_are_the_integral_and_add_up(
    baseline: str, model: VisionModel, pixels: Tensor, target: Tensor, folder: Path
) -> None:
    error, count = 0.02, 3
    method = IntegratedGradients(str(folder) if baseline == "folder" else baseline, references=count, error=error)
    shares = method(model, pixels, target, rng=rng())
    for i, starts in enumerate(starts_of(baseline, pixels, folder, count)):
        label = int(target[i])
        rises = model(pixels[i, None])[:, label] - model(starts)[:, label]
        assert abs(float(shares[i].sum() - rises.mean())) <= error * float(rises.abs().mean())
        exact = torch.stack([integral(model, pixels[i], start, label) for start in starts])
        assert float((shares[i] - exact.mean(0)).norm()) <= error * float(exact.flatten(1).norm(dim=1).mean())


@pytest.mark.parametrize("baseline", ["random", "folder"])
@pytest.mark.parametrize("steps", [0, 4])
def test_each_image_has_its_own_baselines(
    baseline: str, steps: int, model: VisionModel, pixels: Tensor, target: Tensor, folder: Path
) -> None:
    method = IntegratedGradients(str(folder) if baseline == "folder" else baseline, references=2, steps=steps)
    whole, generator = method(model, pixels, target, rng=rng()), rng()
    apart = [method(model, pixels[i : i + 1], target[i : i + 1], rng=generator) for i in range(3)]
    torch.testing.assert_close(torch.cat(apart), whole)
    assert not torch.allclose(whole, method(model, pixels, target, rng=torch.Generator().manual_seed(6)))


def test_a_folder_with_fewer_images_is_used_whole(model: VisionModel, pixels: Tensor, folder: Path) -> None:
    target = torch.tensor([1, 1, 1])
    one, other = (
        IntegratedGradients(str(folder), references=9, steps=4)(
            model, pixels, target, rng=torch.Generator().manual_seed(seed)
        )
        for seed in (1, 2)
    )
    torch.testing.assert_close(one, other)


def test_expected_gradients_are_captums(model: VisionModel, pixels: Tensor, folder: Path) -> None:
    """Its estimate from random points is compared with the integrals from all images of the folder."""
    captum = pytest.importorskip("captum.attr", reason="compares with it: pip install 'deepscope[peers]'")
    read = [torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255 for file in sorted(folder.iterdir())]
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - which captum draws from
    theirs = captum.GradientShap(model).attribute(
        pixels[:1], torch.stack(read).double(), n_samples=5000, stdevs=0.0, target=2
    )
    ours = IntegratedGradients(str(folder), references=5, error=0.01)(model, pixels[:1], torch.tensor([2]), rng=rng())
    assert float((ours - theirs).norm()) <= 0.06 * float(theirs.norm())


def test_what_is_no_baseline_is_refused(tmp_path: Path) -> None:
    for given in ("blakc", str(tmp_path), str(tmp_path / "nowhere")):
        with pytest.raises(SettingError, match=r"black, white, grey, mean, blurred, random or a folder of images"):
            IntegratedGradients(given)


def test_a_damaged_image_of_the_folder_is_named(model: VisionModel, pixels: Tensor, folder: Path) -> None:
    (folder / "0.png").write_bytes(b"no image")
    with pytest.raises(DeepscopeError, match=r"0\.png"):
        IntegratedGradients(str(folder))(model, pixels, torch.tensor([0, 0, 0]), rng=rng())


def test_measurements_are_not_those_of_an_older_folder(folder: Path) -> None:
    method = IntegratedGradients(str(folder))
    before = identity_of(method)
    Image.new("RGB", (SIDE, SIDE + 1)).save(folder / "0.png")
    assert identity_of(method) != before

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from deepscope.attacks import OnePixel, Untargeted
from deepscope.attacks.counting import around, ask, counted
from deepscope.models import Preprocessing, VisionModel, load_model
from deepscope.session import Session


def as_torchs_own(module: type[nn.Module]) -> type[nn.Module]:
    """A network written here, taken for one of a library."""
    module.__module__ = "torchvision.test"
    return module


@as_torchs_own
class Branches(nn.Module):
    """What networks are made of: strides, ceilings, branches that join, sums, and a head that pools to a grid."""

    def __init__(self, grid: int = 2) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 6, 5, stride=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True)
        )
        self.narrow, self.wide = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 3, padding=1)
        self.norm, self.relu = nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        self.same, self.dilated = Conv2dSame(8, 8, 3, stride=2), nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(grid), nn.Flatten(), nn.Linear(8 * grid**2, 5))

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stem(images)
        maps = self.norm(torch.cat([self.narrow(maps), self.wide(maps)], 1))
        maps = self.same(maps)
        maps = self.relu(self.dilated(maps) + maps)
        return self.head(maps)


@as_torchs_own
class MindsValues(nn.Module):
    """Control flow that no tracing can follow."""

    def forward(self, images: Tensor) -> Tensor:
        if images.mean() > 0:
            return images.flatten(1)[:, :2]
        return images.flatten(1)[:, 2:4]


@as_torchs_own
class UsesBeforeChanging(nn.Module):
    """Uses a map, then changes it in place: what is kept of it afterwards is not what was used."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.first(images)
        used = self.second(maps)
        return (used + self.relu(maps)).flatten(1)


def vision_model(network: nn.Module, side: int = 96) -> VisionModel:
    return VisionModel("test", network, Preprocessing(resize=side, crop=side), tuple("abcde"))


def variants(image: Tensor, window: int, count: int = 12) -> Tensor:
    """The image (1, 3, H, W) with a window of noise at the corners and elsewhere."""
    generator = torch.Generator().manual_seed(window)
    free = image.shape[2] - window
    places = torch.randint(free + 1, (count, 2), generator=generator)
    places[:4] = torch.tensor([[0, 0], [0, free], [free, 0], [free, free]])
    changed = image.repeat(count, 1, 1, 1)
    for row, (y, x) in zip(changed, places.tolist()):
        row[:, y : y + window, x : x + window] = torch.rand(3, window, window, generator=generator)
    return changed


def random_image(side: int = 96) -> Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("grid", [1, 2])
@pytest.mark.parametrize("window", [1, 3, 20, 60])
def test_a_window_gives_what_the_whole_image_gives(window: int, grid: int) -> None:
    torch.manual_seed(0)
    model, image = vision_model(Branches(grid).double()), random_image().double()
    other = 1 - image
    near = around(model, torch.cat([image, other]))
    assert near is not model
    changed = torch.cat([variants(image, window), image, variants(other, window, 5)])
    rows = torch.tensor([0] * 13 + [1] * 5)
    order = torch.randperm(len(rows))
    found = ask(near, changed[order], rows[order])
    torch.testing.assert_close(found, model(changed[order]), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(near(changed), model(changed))  # where nothing says from which image


@pytest.mark.parametrize("network", [MindsValues(), UsesBeforeChanging()], ids=["control-flow", "in-place"])
def test_what_cannot_be_known_in_parts_is_asked_as_a_whole(network: nn.Module) -> None:
    model, image = vision_model(network), random_image()
    assert around(model, image) is model


def test_a_network_that_may_do_more_than_compute_is_left_alone() -> None:
    class Notes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside, self.seen = Branches(), 0

        def forward(self, images: Tensor) -> Tensor:
            self.seen += 1
            return self.inside(images)

    model, image = vision_model(Notes()), random_image()
    assert around(model, image) is model and model.network.seen == 0
    hooked = Branches()
    hooked.get_submodule("narrow").register_forward_hook(lambda *_: None)
    assert around(vision_model(hooked), image).network is hooked


def test_what_is_asked_nearby_is_counted() -> None:
    images = torch.cat([random_image(), 1 - random_image()])
    watched, cost = counted(vision_model(Branches()), images)
    points = torch.cat([variants(images[:1], 1, 7), variants(images[1:], 1, 5)])
    ask(around(watched, images), points, torch.tensor([0] * 7 + [1] * 5))
    assert cost.queries == 12 and cost.gradients == 0
    assert cost.by_image.tolist() == [7, 5]


@pytest.mark.real
def test_one_pixel_finds_the_same_as_with_the_whole_network(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("squeezenet1_0", Session.open(home=home, device="cpu", quiet=True))
    pixels = model.read([home / "data" / "imagenet-sample" / "n01440764_tench.JPEG"])
    with torch.no_grad():
        criterion = Untargeted(model(pixels).argmax(1))
        changed = variants(pixels, 1)
        near = around(model, pixels)
        assert near is not model
        found = ask(near, changed, torch.zeros(len(changed)).long())
        torch.testing.assert_close(found, model(changed), rtol=1e-4, atol=1e-4)
    attack = OnePixel(queries=60, population=20)
    quick = attack(model, pixels, criterion, rng=torch.Generator().manual_seed(0))
    monkeypatch.setattr("deepscope.attacks.one_pixel.around", lambda model, _: model)
    assert torch.equal(quick, attack(model, pixels, criterion, rng=torch.Generator().manual_seed(0)))

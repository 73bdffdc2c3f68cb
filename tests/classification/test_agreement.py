"""`models check`: the owner's predictions are made with plain PyTorch and Pillow, in each of the ways that go wrong."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

import deepscope as ds
from deepscope.classification import check_predictions
from deepscope.cli.program import run
from deepscope.errors import DataError, DeepscopeError, FileError, SettingError
from deepscope.models import Preprocessing, VisionModel
from deepscope.session import Session

NAMES = ("cat", "dog", "cup")
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Random, sharp enough that each way to prepare images shows in its probabilities."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        linear = nn.Linear(3 * 32 * 32, 3)
        linear.weight.data *= 6
        made = nn.Sequential(nn.Flatten(), linear)
    return made.eval()


@pytest.fixture
def model(network: nn.Module) -> VisionModel:
    return VisionModel("own", network, Preprocessing(40, 32), NAMES)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(6):
        smooth = rng.random((9, 13, 3)) * 255
        image = Image.fromarray(smooth.astype(np.uint8)).resize((130, 90), Image.Resampling.BICUBIC)
        noise = rng.normal(0, 20, (90, 130, 3))
        Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def resized(image: Any, kind: InterpolationMode = InterpolationMode.BILINEAR, side: int = 40) -> Any:
    return functional.center_crop(functional.resize(image, [side], kind), [32, 32])


def levels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float()


def usual(image: Image.Image) -> Tensor:
    return (levels(image) / 255 - MEAN) / STD


def rough(image: Image.Image) -> Tensor:
    pixels = functional.resize(levels(image) / 255, [40], InterpolationMode.BILINEAR, antialias=False)
    return (functional.center_crop(pixels, [32, 32]) - MEAN) / STD


def swapped(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image)[..., ::-1].copy())


WAYS: dict[str, tuple[Callable[[Image.Image], Tensor], str]] = {
    "right": (lambda image: usual(resized(image)), "the model's own"),
    "bgr": (lambda image: usual(swapped(resized(image))), "channels in the order BGR"),
    "half": (lambda image: (levels(resized(image)) / 255 - 0.5) / 0.5, "mean and deviation 0.5"),
    "plain": (lambda image: levels(resized(image)) / 255, "pixels from 0 to 1, not normalised"),
    "levels": (lambda image: levels(resized(image)), "pixels from 0 to 255, not normalised"),
    "squash": (lambda image: usual(image.resize((32, 32), Image.Resampling.BILINEAR)), "squashed to the input's size"),
    "small": (
        lambda image: usual(resized(image, side=32)),
        "resized to the input's size, then cropped",
    ),
    "bicubic": (lambda image: usual(resized(image, InterpolationMode.BICUBIC)), "bicubic filter"),
    "rough": (rough, "no antialiasing"),
    "two": (
        lambda image: usual(swapped(resized(image, InterpolationMode.BICUBIC))),
        "channels in the order BGR, and bicubic filter",
    ),
}


def written(
    path: Path, photos: Path, network: nn.Module, prepare: Callable[[Image.Image], Tensor], *, decimals: int = 6
) -> Path:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("file", *NAMES))
        for photo in sorted(photos.iterdir()):
            with Image.open(photo) as image, torch.no_grad():
                scores = network(prepare(image.convert("RGB"))[None])[0].softmax(0)
            table.writerow((photo.name, *(f"{value:.{decimals}f}" for value in scores.tolist())))
    return path


@pytest.mark.parametrize("way", WAYS)
def test_each_mistake_is_found(way: str, model: VisionModel, network: nn.Module, photos: Path, tmp_path: Path) -> None:
    prepare, name = WAYS[way]
    found = check_predictions(model, photos, written(tmp_path / "p.csv", photos, network, prepare))
    assert found.explained and found.best.name == name
    assert found.agrees == (way == "right")
    assert found.images == 6 and model.preprocessing == Preprocessing(40, 32)


@pytest.mark.parametrize("way", ["right", "bgr", "half"])
def test_two_decimals_are_enough(
    way: str, model: VisionModel, network: nn.Module, photos: Path, tmp_path: Path
) -> None:
    """What rounding leaves of a difference is no mistake of the preprocessing; what is larger is one."""
    prepare, name = WAYS[way]
    found = check_predictions(model, photos, written(tmp_path / "p.csv", photos, network, prepare, decimals=2))
    assert found.explained and found.best.name == name and 1e-4 < found.best.difference < 0.0075
    assert found.agrees == (way == "right")


def test_what_nothing_explains_is_said(model: VisionModel, network: nn.Module, photos: Path, tmp_path: Path) -> None:
    path = written(tmp_path / "p.csv", photos, network, lambda image: usual(resized(image)).roll(5, 2))
    found = check_predictions(model, photos, path)
    assert not found.explained and not found.agrees and len(found.ways) > 50
    assert "none of" in str(found.result().blocks[0])


def test_classes_alone_are_compared_by_the_share_that_differs(
    model: VisionModel, network: nn.Module, photos: Path, tmp_path: Path
) -> None:
    answers = {}
    for photo in sorted(photos.iterdir()):
        with Image.open(photo) as image, torch.no_grad():
            answers[photo.name] = NAMES[int(network(usual(resized(image))[None]).argmax())]
    path = tmp_path / "p.csv"
    path.write_text("file,class\nother.png,cat\n" + "\n".join(f"{name},{answer}" for name, answer in answers.items()))
    found = check_predictions(model, photos, path, limit=4)
    assert (found.images, found.of_classes, found.agrees, found.own.difference) == (4, True, True, 0.0)
    name = next(iter(answers))
    wrong = NAMES[(NAMES.index(answers[name]) + 1) % 3]
    path.write_text(f"file,class\n{name},{wrong}\n")
    assert check_predictions(model, photos, path).own.difference == 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "first line"),
        ("name,cat\n0.png,1\n", "first line"),
        ("file,horse\n0.png,1\n", r"line 1.*'horse'"),
        ("file,cat\n0.png,many\n", r"line 2.*'many'"),
        ("file,cat\n0.png,nan\n", "between 0 and 1"),
        ("file,cat\n0.png,1,2\n", "3 values below 2 columns"),
        ("file,cat,0\n0.png,0.1,0.1\n", "a class has two columns"),
        ("file,cat,dog,cup\n0.png,0.9,0.9,0.9\n", "sum to 1"),
        ("file,class\n0.png,horse\n", r"line 2.*'horse'"),
        ("file,cat\nx.png,1\n", "names no image"),
        ("file,cat\n" + "x" * 200_000 + ",1\n", "no CSV file"),
    ],
)
def test_files_that_say_something_else_are_refused(
    text: str, said: str, model: VisionModel, photos: Path, tmp_path: Path
) -> None:
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(DeepscopeError, match=said) as refused:
        check_predictions(model, photos, path)
    assert "\n" not in str(refused.value)
    with pytest.raises(FileError, match="cannot be read"):
        check_predictions(model, photos, tmp_path / "none.csv")
    with pytest.raises(SettingError, match="limit"):
        check_predictions(model, photos, path, limit=-1)
    (tmp_path / "empty").mkdir()
    for folder, said in (("none", "no such file or folder"), ("empty", "holds no image files")):
        with pytest.raises(DataError, match=said):
            check_predictions(model, tmp_path / folder, path)


def test_the_command_says_what_explains_the_difference(
    network: nn.Module,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEEPSCOPE_CACHE", str(tmp_path / "cache"))
    torch.save(network.state_dict(), tmp_path / "m.pth")
    code = [
        "import deepscope, torch",
        "network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 3))",
        f"network.load_state_dict(torch.load({str(tmp_path / 'm.pth')!r}))",
        "def build(): return deepscope.wrap(network, preprocessing=deepscope.Preprocessing(40, 32))",
    ]
    (tmp_path / "own.py").write_text("\n".join(code))
    path = written(tmp_path / "p.csv", photos, network, WAYS["bgr"][0])
    words = ["models", "check", f"{tmp_path / 'own.py'}:build", "--images", str(photos), "--expected", str(path)]
    assert run([*words, "--classes", ",".join(NAMES), "--limit", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"]["explained"] and not found["metrics"]["agrees"]
    assert "order BGR" in json.dumps(found["blocks"])


def test_nothing_is_written_or_changed(model: VisionModel, photos: Path, network: nn.Module, tmp_path: Path) -> None:
    before = network.state_dict()["1.weight"].clone()
    path = written(tmp_path / "p.csv", photos, network, lambda image: usual(resized(image)))
    check_predictions(model, photos, path, session=Session(cache=tmp_path / "cache", quiet=True))
    assert torch.equal(before, network.state_dict()["1.weight"]) and not (tmp_path / "cache").exists()


def test_images_that_are_not_cropped_may_have_any_shape(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number, size in enumerate([(90, 130), (130, 90), (100, 100)]):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 3, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3)).eval()
    network[-1].weight.data *= 20  # pyright: ignore
    model = VisionModel("own", network, Preprocessing(40, None), NAMES)

    def whole(image: Image.Image) -> Tensor:
        return usual(functional.resize(image, [40]))  # pyright: ignore[reportArgumentType]  (images work too)

    path = written(tmp_path / "p.csv", folder, network, whole)
    assert check_predictions(model, folder, path).agrees


class Fixed(nn.Module):
    """The same logits for every image."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.register_buffer("logits", torch.tensor([logits]))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.get_buffer("logits").expand(len(pixels), -1)


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_many_labels_are_compared_one_by_one(photos: Path, tmp_path: Path) -> None:
    """Values with three decimals, of eighty labels whose thresholds differ: their errors do not add up."""
    rng = np.random.default_rng(0)
    exact = rng.uniform(0.05, 0.95, 80)
    names = [f"label {number}" for number in range(80)]
    thresholds = rng.uniform(0.2, 0.8, 80).tolist()
    model = ds.wrap(
        Fixed(*map(logit, exact)),
        names,
        preprocessing=Preprocessing(40, 32),
        head="multilabel",
        thresholds=thresholds,
    )
    path = tmp_path / "p.csv"
    path.write_text("\n".join([",".join(["file", *names]), ",".join(["0.png", *(f"{one:.3f}" for one in exact)])]))
    found = check_predictions(model, photos, path)
    assert found.own.difference == pytest.approx(np.abs(exact.round(3) - exact).mean(), abs=1e-6) and found.agrees
    path.write_text(
        "\n".join([",".join(["file", *names]), ",".join(["0.png", *(f"{one + 0.01:.6f}" for one in exact)])])
    )
    assert check_predictions(model, photos, path).own.difference == pytest.approx(0.01, abs=1e-6)
    shown = [name for name, probability, threshold in zip(names, exact, thresholds) if probability > threshold]
    assert 0 < len(shown) < 80
    for said, difference in ((shown, 0.0), (shown[1:], 1.0)):
        path.write_text(f"file,class\n0.png,{';'.join(said)}\n")
        assert check_predictions(model, photos, path).own.difference == difference


def test_one_logit_is_compared_by_its_threshold_and_by_either_column(photos: Path, tmp_path: Path) -> None:
    model = ds.wrap(
        Fixed(logit(0.4)), ["no", "yes"], preprocessing=Preprocessing(40, 32), head="binary", thresholds=0.3
    )
    path = tmp_path / "p.csv"
    for text, difference in (
        ("class\n0.png,yes", 0),
        ("class\n0.png,no", 1),
        ("yes\n0.png,0.5", 0.1),
        ("no\n0.png,0.5", 0.1),
        ("no,yes\n0.png,0.5,0.5", 0.1),
    ):
        path.write_text(f"file,{text}\n")
        assert check_predictions(model, photos, path).own.difference == pytest.approx(difference, abs=1e-6)

"""`models describe` and `models save`: what is known before anything is computed, and a folder that says it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torchvision

from deepscope.cli.program import run
from deepscope.models import Preprocessing, VisionModel, load_model
from deepscope.models.describing import describe
from deepscope.session import Session
from networks import tiny_model


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEEPSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DEEPSCOPE_CACHE", str(tmp_path / "cache"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(torchvision.models.resnet18(num_classes=3).state_dict(), tmp_path / "m.pth")
    return tmp_path / "m.pth"


def test_each_fact_says_where_it_comes_from(weights: Path, tmp_path: Path) -> None:
    session = Session(home=tmp_path, cache=tmp_path / "cache", quiet=True)
    model = load_model(weights, session, architecture="torchvision:resnet18")
    found = describe(model)
    assert found.parameters == sum(p.numel() for p in torchvision.models.resnet18(num_classes=3).parameters())
    rows = found.rows()
    assert rows["architecture"] == "torchvision:resnet18"
    assert rows["classes"] == "3: class 0, class 1, class 2"
    assert rows["class names from"] == "numbers: the file does not name them"
    assert rows["preprocessing from"] == "torchvision's ResNet18_Weights.IMAGENET1K_V1"
    assert rows["preprocessing"].startswith("resize 256 (bilinear), crop 224 x 224, mean 0.485 0.456 0.406, std 0.229")
    assert rows["input"] == "3 channels, any size"
    assert rows["can be asked for"] == "gradients, layers, probabilities"
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    named = load_model(weights, session, architecture="torchvision:resnet18", categories=tmp_path / "names.txt")
    assert describe(named).rows()["class names from"] == str(tmp_path / "names.txt")


def test_models_of_other_kinds_are_described() -> None:
    assert describe(tiny_model()).rows()["architecture"] == "not known by name"
    features = VisionModel("f", torch.nn.Flatten(), Preprocessing(8, 8, mean=(0.5,), std=(0.5,)))
    rows = describe(features).rows()
    assert (rows["classes"], rows["head"], rows["input"][:9]) == ("none, features only", "none", "1 channel")
    fixed = VisionModel(
        "x", torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2)), Preprocessing(8, 8), ("a", "b")
    )
    assert describe(fixed).rows()["input"] == "3 channels, 8 x 8 only"
    assert "8 x 8 only" in str(describe(fixed).result())


def test_what_was_saved_needs_no_flags(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(torchvision.models.squeezenet1_1(num_classes=3).state_dict(), weights)
    said = ["--classes", "cat,dog,cup"]
    assert run(["models", "save", str(weights), *said, "--out", str(tmp_path / "saved"), "--quiet"]) == 0
    capsys.readouterr()
    assert run(["models", "describe", str(tmp_path / "saved"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"]["classes"] == 3 and "cat, dog, cup" in json.dumps(found["blocks"])
    session = Session(home=tmp_path, cache=tmp_path / "cache", quiet=True)
    pixels = torch.rand(2, 3, 224, 224)
    own = load_model(weights, session)
    torch.testing.assert_close(load_model(tmp_path / "saved", session)(pixels), own(pixels))
    assert run(["models", "show", str(tmp_path / "saved"), "--json"]) == 0


def test_what_cannot_be_saved_is_refused(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["models", "save", str(weights), "--architecture", "torchvision:resnet18"]) == 2
    assert "--out must name the folder" in capsys.readouterr().err
    (tmp_path / "own.py").write_text("import torch\ndef build():\n    return torch.nn.Flatten()\n")
    monkeypatch.chdir(tmp_path)
    assert run(["models", "save", "own.py:build", "--out", "x", "--quiet"]) == 2
    assert "architecture" in capsys.readouterr().err
    assert run(["models", "describe", str(weights)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("deepscope: --architecture must be given") and said.count("\n") == 1

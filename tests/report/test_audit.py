"""The audit of a model that the caller holds: the page of `deepscope report`, from Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import deepscope
from deepscope.cli.program import run
from deepscope.errors import DataError, DeepscopeError
from deepscope.report import audit as module
from deepscope.session import Session


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Dark and bright images, which a network of one weight tells apart."""
    rng = np.random.default_rng(0)
    for name, low in (("dark", 0), ("bright", 150)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for row in range(6):
            pixels = rng.integers(low, low + 100, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{row}.png")
    return tmp_path / "pictures"


def _network() -> torch.nn.Module:
    convolution = torch.nn.Conv2d(3, 2, 3, padding=1)
    with torch.no_grad():
        convolution.weight.copy_(torch.stack([-torch.ones(3, 3, 3), torch.ones(3, 3, 3)]))
        convolution.bias.zero_()  # type: ignore[union-attr]
    return torch.nn.Sequential(convolution, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())


def test_a_module_is_audited_and_its_page_saved(pictures: Path, tmp_path: Path) -> None:
    mean = deepscope.Preprocessing(32, 32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    model = deepscope.wrap(_network(), ["dark", "bright"], preprocessing=mean, name="brightness")
    session = Session(cache=tmp_path / "cache", quiet=True)
    found = deepscope.audit(model, pictures, checks=["accuracy", "leaks"], session=session)
    assert found.metrics["accuracy/accuracy/top1"] == 1
    assert [outcome.kept for outcome in found.outcomes] == [False, False]
    page = found.save(tmp_path / "audit.html").read_text()
    assert "brightness on pictures" in page
    assert "<html" in page
    headlines = [outcome.section.headline(outcome.result) for outcome in found.outcomes]
    assert [one.estimate.value for one in headlines if one and one.estimate] == [1, 0]
    assert "Accuracy is 100" in page and "none is corrupt" in page
    table = found.to_pandas()
    assert dict(zip(table["metric"], table["value"]))["accuracy/top1"] == 1
    assert found.result().metrics == found.metrics

    again = deepscope.audit(model, pictures, checks=["accuracy", "leaks"], session=session)
    assert [outcome.kept for outcome in again.outcomes] == [True, True]
    assert again.metrics == found.metrics

    with torch.no_grad():
        model.network[0].weight.neg_()  # type: ignore[index,union-attr]
    model = deepscope.wrap(model.network, ["dark", "bright"], preprocessing=mean, name="brightness")
    other = deepscope.audit(model, pictures, checks=["accuracy"], session=session)
    assert other.metrics["accuracy/accuracy/top1"] == 0, "another network of the same name is never served the first"


def test_an_empty_class_folder_is_noted_and_the_others_are_audited(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    network = torch.nn.Sequential(*_network().children(), torch.nn.Linear(2, 2))  # it has features
    model = deepscope.wrap(network, ["dark", "bright"], preprocessing=deepscope.Preprocessing(32, 32), name="light")
    session = Session(cache=tmp_path / "cache", quiet=True)
    full = deepscope.audit(model, pictures, checks=["accuracy"], session=session)
    (pictures / "grey").mkdir()
    names = ["accuracy", "labels", "shortcuts", "leaks"]
    found = deepscope.audit(model, pictures, checks=names, session=Session(cache=tmp_path / "other", quiet=True))
    assert not [one.failure or one.missing for one in found.outcomes if one.failure or one.missing]
    assert found.metrics["accuracy/images"] == 12
    assert found.metrics["accuracy/accuracy/top1"] == full.metrics["accuracy/accuracy/top1"]
    assert "grey has no images and is left out." in found.page()
    pairs = deepscope.audit(model, pictures, train=pictures, checks=["accuracy"], session=session)
    assert pairs.metrics["accuracy/images"] == 12

    monkeypatch.setenv("DEEPSCOPE_CACHE", str(tmp_path / "cache"))
    words = ["report", "--model", _factory(tmp_path), "--data", str(pictures), "--studies", "accuracy", "--quiet"]
    words += ["--out", str(tmp_path / "page")]
    assert run(words) == 0
    assert "grey has no images and is left out." in (tmp_path / "page" / "index.html").read_text()
    for path in (pictures / "dark").iterdir():
        path.unlink()
    capfd.readouterr()
    assert run(words) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "class 'dark' in" in line and "has no image: give it some, or remove the folder" in line


def test_what_cannot_be_audited_is_refused_at_once(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = deepscope.wrap(_network(), ["dark", "bright"], preprocessing=deepscope.Preprocessing(32, 32))
    monkeypatch.setattr(module, "run", lambda *_: pytest.fail("a check ran"))
    with pytest.raises(DataError, match="image-0 has no label"):
        deepscope.audit(model, torch.zeros(1, 3, 4, 4))
    with pytest.raises(DataError, match=r"no label is a class of Sequential \(dark, bright, .*: they are cat, dog"):
        deepscope.audit(model, [(torch.zeros(3, 4, 4), "cat"), (torch.zeros(3, 4, 4), "dog")])
    with pytest.raises(DataError, match="no image was given"):
        deepscope.audit(model, [])
    with pytest.raises(DeepscopeError, match="no check is named 'acuracy': did you mean 'accuracy'"):
        deepscope.audit(model, pictures, checks=["acuracy"])
    with pytest.raises(DeepscopeError, match="nowhere"):
        deepscope.audit(model, pictures / "nowhere")


def _factory(folder: Path) -> str:
    """A file with the network of `_network`, as a person writes it."""
    source = """
import torch
import deepscope

def brightness():
    convolution = torch.nn.Conv2d(3, 2, 3, padding=1)
    with torch.no_grad():
        convolution.weight.copy_(torch.stack([-torch.ones(3, 3, 3), torch.ones(3, 3, 3)]))
        convolution.bias.zero_()
    network = torch.nn.Sequential(convolution, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    pixels = deepscope.Preprocessing(32, 32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    return deepscope.wrap(network, ["dark", "bright"], preprocessing=pixels, name="brightness")
"""
    (folder / "mine.py").write_text(source)
    return f"{folder / 'mine.py'}:brightness"


def test_a_missed_requirement_ends_with_status_1_after_everything_is_written(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEEPSCOPE_CACHE", str(tmp_path / "cache"))
    words = ["report", "--model", _factory(tmp_path), "--data", str(pictures), "--studies", "accuracy"]
    words += ["--studies", "leaks", "--out", str(tmp_path / "page"), "--quiet", "--json"]
    requirements = tmp_path / "ship.toml"
    requirements.write_text('[require]\naccuracy = ">=0.7"\n[recommend]\naccuracy = ">=0.99"\n')

    assert run([*words, "--requirements", str(requirements)]) == 0
    found = json.loads(capfd.readouterr().out)
    verdicts = {row[0]: row[2] for row in found["blocks"][1]["rows"]}
    assert verdicts == {"accuracy >= 0.7": "pass", "accuracy >= 0.99": "warn"}  # 12 of 12: [0.76, 1]

    assert run([*words, "--require", "leaks<=-1", "--require", "accuracy>=0.7"]) == 1
    out, err = capfd.readouterr()
    assert json.loads(out)["metrics"]["accuracy/accuracy/top1"] == 1, "the result is printed all the same"
    assert err.strip().splitlines()[-1] == "deepscope: 1 of 2 requirements are missed: leaks <= -1"
    card = json.loads((tmp_path / "page" / "model-card.json").read_text())
    assert card["verdict"] == "fail" and card["model"]["classes"] == ["dark", "bright"]
    assert json.loads((tmp_path / "page" / "result.json").read_text())["metrics"]["studies"] == 2
    page = (tmp_path / "page" / "index.html").read_text()
    assert "Failed" in page and "leaks &lt;= -1" in page

    assert run([*words, "--require", "acuracy>=1"]) == 2
    assert "did you mean" in capfd.readouterr().err
    assert run(["report", "--require", "accuracy>=1"]) == 2
    assert "--require needs --data" in capfd.readouterr().err
    (tmp_path / "page" / "model-card.md").write_text("# my own card")
    assert run([*words]) == 2
    assert "model-card.md was not written by deepscope" in capfd.readouterr().err
    assert (tmp_path / "page" / "model-card.md").read_text() == "# my own card"


def test_requirements_from_python(pictures: Path, tmp_path: Path) -> None:
    mean = deepscope.Preprocessing(32, 32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    model = deepscope.wrap(_network(), ["dark", "bright"], preprocessing=mean, name="brightness")
    session = Session(cache=tmp_path / "cache", quiet=True)
    found = deepscope.audit(model, pictures, checks=["accuracy"], require=["accuracy>=0.9"], session=session)
    assert found.card.verdict == "warn"  # 12 of 12: [0.76, 1]
    assert [one.reason for one in found.card.requirements] == [
        "the figure keeps to the bound, its 95 % interval does not"
    ]
    assert "Passed with warnings" in found.page()
    with pytest.raises(DeepscopeError, match="did you mean"):
        deepscope.audit(model, pictures, require="acuracy>=0.9", session=session)


class _OutsidePyTorch(torch.nn.Module):
    """A module without gradients, which nothing tells before it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = _network()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.inner(pixels.detach()).detach().numpy().copy())


def test_a_module_that_leaves_pytorch_is_no_failure(pictures: Path, tmp_path: Path) -> None:
    model = deepscope.wrap(_OutsidePyTorch(), ["dark", "bright"], preprocessing=deepscope.Preprocessing(32, 32))
    checks = ["accuracy", "class-images", "labels", "image-map"]
    found = deepscope.audit(model, pictures, checks=checks, session=Session(cache=tmp_path / "cache", quiet=True))
    lacking = {outcome.section.name: outcome.missing for outcome in found.outcomes if outcome.missing}
    assert not any(outcome.failure for outcome in found.outcomes)
    assert "does not depend differentiably on the pixels" in lacking.pop("class-images")
    assert lacking.keys() == {"labels", "image-map"}
    assert all("its forward pass leaves PyTorch" in why for why in lacking.values())

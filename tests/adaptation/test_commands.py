from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deepscope.adaptation import Adaptation, AdversarialTeacher, Dann, SourceOnly, load_domains, loading
from deepscope.command import NotKept
from deepscope.commands.adapt_evaluate import AdaptEvaluate
from deepscope.commands.adapt_fit import AdaptFit
from deepscope.commands.adapt_predict import AdaptPredict
from deepscope.data import Digits, DigitSplit
from deepscope.data.mnist import MnistExtract, MnistMExtract
from deepscope.errors import DeepscopeError
from deepscope.models import DEFAULT, Preprocessing, VisionModel, digits, load_model
from deepscope.results import Note
from deepscope.session import Session

pytestmark = pytest.mark.usefixtures("small_extracts")

FIT = AdaptFit(source="mnist-extract", target="mnist-m-extract", epochs=1)


def poisoned(clean: Digits) -> Digits:
    return Digits(clean.images, (clean.labels + 1 + np.arange(len(clean)) % 9) % 10)


def session(folder: Path) -> Session:
    return Session(quiet=True, out=folder, cache=folder.parent / "cache")


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()


def warnings(result_blocks: object) -> str:
    return " ".join(block.text for block in result_blocks if isinstance(block, Note) and block.level == "warning")  # type: ignore[attr-defined]


def test_a_full_disk_loses_the_model_but_not_its_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = FIT.run(session(tmp_path / "whole"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save", full)
    monkeypatch.setattr("deepscope.training.checkpoints.Checkpoint.save", full)
    with pytest.raises(NotKept, match="No space left on device") as caught:
        FIT.run(session(tmp_path / "adapted"))
    assert caught.value.result.metrics == whole.metrics
    assert whole.title.endswith("by adversarial-teacher")  # the default for digits
    assert "Saved" not in {block.title for block in caught.value.result.blocks}


def test_fit_evaluate_predict(tmp_path: Path) -> None:
    folder = tmp_path / "adapted"
    fitted = replace(FIT, method=Dann(), epochs=10).run(session(folder))
    evaluated = AdaptEvaluate(str(folder), source="mnist-extract", target="mnist-m-extract").run(session(folder))
    assert fitted.metrics["accuracy/source"] > 0.3  # chance is 0.1
    assert fitted.metrics["accuracy/target/low"] < fitted.metrics["accuracy/target"]
    # The saved model is the adapted network, as it is for the target; a few digits lie on the edge.
    assert evaluated.metrics["accuracy/target"] == pytest.approx(fitted.metrics["accuracy/target"], abs=0.011)

    assert {"accuracy/target/one-view", "accuracy/source/one-view"} <= fitted.metrics.keys()
    images = MnistMExtract.load(Path()).test.images[:12]
    (tmp_path / "digits").mkdir()
    for number, pixels in enumerate(images):
        Image.fromarray(np.moveaxis(pixels, 0, 2)).save(tmp_path / "digits" / f"{number:02}.png")
    predicted = AdaptPredict(str(folder), (tmp_path / "digits",)).run(session(folder))
    model = load_model(str(folder))
    logits = model(model.read([np.moveaxis(pixels, 0, 2) for pixels in images]))
    assert predicted.arrays["classes"].tolist() == logits.argmax(1).tolist()
    assert model.categories == tuple("0123456789")
    confidence = predicted.arrays["probabilities"].max(1)
    assert predicted.metrics["unsure"] == pytest.approx((confidence < 0.9).mean())


@pytest.mark.parametrize("method", [AdversarialTeacher(warmup=0.0), Dann()])
def test_poisoned_target_labels_change_no_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Adaptation
) -> None:
    fit = replace(FIT, method=method)
    clean = fit.run(session(tmp_path / "clean"))
    data = MnistMExtract.load(Path())
    poison = DigitSplit(poisoned(data.train), poisoned(data.test))
    monkeypatch.setattr(MnistMExtract, "load", lambda home: poison)
    dirty = fit.run(session(tmp_path / "dirty"))
    assert weights(tmp_path / "clean") == weights(tmp_path / "dirty")
    assert clean.metrics["epoch"] == dirty.metrics["epoch"]
    assert clean.metrics["accuracy/target"] != dirty.metrics["accuracy/target"]


def test_poisoned_source_labels_do_change_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = replace(FIT, method=SourceOnly())
    fit.run(session(tmp_path / "clean"))
    data = MnistExtract.load(Path())
    monkeypatch.setattr(MnistExtract, "load", lambda home: DigitSplit(poisoned(data.train), data.test))
    fit.run(session(tmp_path / "dirty"))
    assert weights(tmp_path / "clean") != weights(tmp_path / "dirty")


def photographs(folder: Path, classes: dict[str, tuple[int, int, int]], *, count: int = 8, dim: float = 1.0) -> Path:
    rng = np.random.default_rng(len(classes))
    for name, colour in classes.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.clip(np.array(colour) + rng.integers(-40, 40, (48, 48, 3)), 0, 255) * dim
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{name}{number}.png")
    return folder


@pytest.fixture
def _tiny_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained network of the digits' architecture, in place of a pretrained one."""
    torch.manual_seed(0)
    model = VisionModel("tiny", digits.network(), Preprocessing(28, 28), architecture="deepscope:digits")
    monkeypatch.setattr(loading, "load_model", lambda name, session: model)


COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "deep_blue": (40, 40, 200)}


@pytest.mark.usefixtures("_tiny_model")
def test_two_folders_of_photographs(tmp_path: Path) -> None:
    source = photographs(tmp_path / "source", COLOURS)
    others = {"Red": COLOURS["red"], "deep blue": COLOURS["deep_blue"], "black": (0, 0, 0)}
    target = photographs(tmp_path / "target", others, count=12, dim=0.6)
    fit = AdaptFit(source=str(source), target=str(target), epochs=40)
    result = fit.run(session(tmp_path / "adapted"))
    assert result.title.endswith("by minimum-class-confusion")  # the default for photographs
    assert result.metrics["accuracy/source"] > 0.6
    assert "only in the target" in warnings(result.blocks) and "black" in warnings(result.blocks)
    assert "only in the source: green" in warnings(result.blocks)
    model = load_model(str(tmp_path / "adapted"))
    assert model.categories == ("deep_blue", "green", "red")
    evaluated = AdaptEvaluate(str(tmp_path / "adapted"), target=str(target)).run(session(tmp_path / "adapted"))
    assert evaluated.metrics["accuracy/target"] > 0.6
    assert "black" in warnings(evaluated.blocks) and "no train/ and test/" in warnings(evaluated.blocks)


@pytest.mark.usefixtures("_tiny_model")
def test_not_even_the_folders_of_target_photographs_matter(tmp_path: Path) -> None:
    source = photographs(tmp_path / "source", COLOURS)
    target = photographs(tmp_path / "target", COLOURS, dim=0.6)
    fit = AdaptFit(source=str(source), target=str(target), epochs=2)
    fit.run(session(tmp_path / "clean"))
    (target / "red").rename(target / "aside")
    (target / "green").rename(target / "red")
    (target / "aside").rename(target / "green")
    (target / "red" / "green0.png").rename(target / "green" / "a.png")
    fit.run(session(tmp_path / "dirty"))
    assert weights(tmp_path / "clean") == weights(tmp_path / "dirty")


@pytest.mark.usefixtures("_tiny_model")
def test_a_target_without_class_folders(tmp_path: Path) -> None:
    source = photographs(tmp_path / "source", COLOURS)
    target = photographs(tmp_path, {"plain": (90, 10, 10)}) / "plain"
    found = load_domains(str(source), str(target), DEFAULT, session(tmp_path / "out"))
    assert found.target_test is None and len(found.target) == 8
    assert "cannot be measured" in found.remarks[0]


@pytest.mark.usefixtures("_tiny_model")
def test_what_cannot_be_adapted_says_so(tmp_path: Path) -> None:
    source = photographs(tmp_path / "source", COLOURS, count=2)
    stranger = photographs(tmp_path / "stranger", {"cat": (1, 2, 3), "dog": (3, 2, 1)}, count=2)
    here = session(tmp_path / "out")
    with pytest.raises(DeepscopeError, match="none of the source's"):
        load_domains(str(source), str(stranger), DEFAULT, here)
    with pytest.raises(DeepscopeError, match="cannot be adapted to each other"):
        load_domains("mnist-extract", str(source), DEFAULT, here)
    photographs(tmp_path / "one", {"coast": (1, 2, 3)}, count=2)
    with pytest.raises(DeepscopeError, match="at least two, and has only 'coast'"):
        load_domains(str(tmp_path / "one"), str(source), DEFAULT, here)
    with pytest.raises(DeepscopeError, match="out must name a folder"):
        FIT.run(replace(here, out=None))
    with pytest.raises(DeepscopeError, match="epochs 0 is out of range"):
        replace(FIT, epochs=0).run(here)
    with pytest.raises(DeepscopeError, match="source and target leave nothing to measure on"):
        AdaptEvaluate(DEFAULT).run(here)
    with pytest.raises(DeepscopeError, match="none of the classes"):
        AdaptEvaluate(DEFAULT, source="mnist-extract").run(here)

"""Temperatures and thresholds, against distributions whose right answers are known."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepscope.classification import classify
from deepscope.commands.models_abstain import ModelsAbstain
from deepscope.commands.models_calibrate import ModelsCalibrate
from deepscope.errors import DataError, SettingError, UnsupportedError
from deepscope.models import Preprocessing, VisionModel, load_model, save_model
from deepscope.models.heads import Head
from deepscope.models.scaling import abstaining, with_temperature
from deepscope.results import Table
from deepscope.session import Session
from deepscope.transfer import ImageClassifier
from deepscope.transfer.abstention import abstain, threshold
from deepscope.transfer.calibration import calibrate
from networks import tiny_model
from painted import CLASSES, paint_folder

SESSION = Session(quiet=True)
FACTOR = 3.0


def over_sure(factor: float = FACTOR) -> VisionModel:
    """Logits are `factor` times the log-odds that the first two pixels state: too sure where it is above 1."""

    class Stated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(factor))

        def forward(self, inputs: Tensor) -> Tensor:
            odds = 4 * (inputs[:, 0, 0, :2] - 0.5)
            return self.scale * torch.cat([odds, torch.zeros_like(odds[:, :1])], 1)

    raw = Preprocessing(4, 4, mean=(0.0,) * 3, std=(1.0,) * 3)
    return VisionModel("stated", Stated(), raw, ("a", "b", "c"))


def drawn(count: int, seed: int = 0) -> list[tuple[Tensor, str]]:
    """Images whose classes are drawn from the probabilities that they state."""
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.rand(count, 3, 4, 4, generator=rng)
    probabilities = over_sure(1.0)(pixels).softmax(1)
    labels = torch.multinomial(probabilities, 1, generator=rng)[:, 0].tolist()
    return [(image, "abc"[label]) for image, label in zip(pixels, labels)]


def test_the_temperature_undoes_an_over_sure_scale() -> None:
    found = calibrate(over_sure(), drawn(3000), session=SESSION)
    assert found.temperature == pytest.approx(FACTOR, rel=0.12)
    assert len(found) == 1500
    before, after = found.error(calibrated=False), found.error(calibrated=True)
    assert before.value > 0.1 > 0.05 > after.value
    assert before.low < before.value < before.high
    assert found.before.error == pytest.approx(before.value) and found.after.error == pytest.approx(after.value)
    assert found.likelihood(calibrated=True) < found.likelihood(calibrated=False)
    assert 0 < found.fall.low < found.fall.value == pytest.approx(before.value - after.value)
    pixels = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(8))
    torch.testing.assert_close(found.calibrated(pixels), found.model(pixels) / found.temperature)
    assert set(found.result().metrics) >= {"temperature", "expected-calibration-error/after/low"}
    assert found.to_pandas().shape == (1500, 5)


def test_the_measuring_images_choose_nothing() -> None:
    """Their labels may all be wrong: the temperature stays."""
    pairs = drawn(200)
    found = calibrate(over_sure(), pairs, session=SESSION)
    other = [(image, label if chosen else "c") for (image, label), chosen in zip(pairs, found.halves.chosen.tolist())]
    assert calibrate(over_sure(), other, session=SESSION).temperature == pytest.approx(found.temperature)


def test_the_last_layer_is_scaled_so_that_the_model_can_be_saved(tmp_path: Path) -> None:
    model = tiny_model()
    warm = with_temperature(model, 2.5)
    pixels = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(warm(pixels), model(pixels) / 2.5)
    assert type(warm.network) is type(model.network)
    torch.testing.assert_close(warm.network[-1].weight, model.network[-1].weight / 2.5)  # type: ignore[index]
    assert warm.fingerprint != model.fingerprint
    folder = paint_folder(tmp_path / "pictures", train=4, test=8)
    fitted = ImageClassifier("efficientnet_lite0@blocks.0", session=SESSION).fit(folder)
    fitted.save(tmp_path / "model")
    session = Session(home=tmp_path, cache=tmp_path / "cache", quiet=True, out=tmp_path / "warm")
    result = ModelsCalibrate(str(folder), model=str(tmp_path / "model")).run(session)
    before, after = load_model(str(tmp_path / "model"), session), load_model(str(tmp_path / "warm"), session)
    seen = torch.rand(2, 3, *before.preprocessing.size)
    torch.testing.assert_close(after(seen), before(seen) / result.metrics["temperature"], rtol=1e-3, atol=1e-4)
    assert any("is the calibrated model" in getattr(block, "text", "") for block in result.blocks)
    saved = save_model(abstaining(before, 0.6), tmp_path / "cautious")
    assert load_model(str(saved), session).head.abstain_below == 0.6


def test_a_model_that_nothing_rebuilds_is_measured_and_said_to_be_unsaved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepscope.commands import models_abstain, models_calibrate

    model = dataclasses.replace(tiny_model(classes=3, size=32), categories=CLASSES)
    for module in (models_calibrate, models_abstain):
        monkeypatch.setattr(module, "load_model", lambda name, session: model)
    folder = str(paint_folder(tmp_path / "pictures", train=2, test=8))
    result = ModelsCalibrate(folder).run(Session(cache=tmp_path, quiet=True, out=tmp_path / "out"))
    assert result.metrics["images"] == 24  # the test images alone
    assert any("is not saved" in getattr(block, "text", "") for block in result.blocks)
    abstained = ModelsAbstain(folder).run(Session(cache=tmp_path, quiet=True))
    assert np.isnan(abstained.metrics["threshold"]) and abstained.metrics["coverage"] == 0


@pytest.mark.parametrize("where", ["test/stripes", "stripes"])
def test_a_class_without_images_is_left_out_as_in_an_audit(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepscope.checks import held_out
    from deepscope.commands import models_abstain, models_calibrate

    model = dataclasses.replace(tiny_model(classes=3, size=32), categories=CLASSES)
    for module in (models_abstain, models_calibrate, held_out):
        monkeypatch.setattr(module, "load_model", lambda name, session: model)
    painted = paint_folder(tmp_path / "pictures", train=2, test=8)
    folder = painted if where.startswith("test") else painted / "test"
    for file in (folder / where).iterdir():
        file.unlink()
    session = Session(cache=tmp_path, quiet=True)
    audited = held_out.held_out("model", str(folder), session)
    assert len(audited.images) == 16
    for command in (ModelsCalibrate(str(folder)), ModelsAbstain(str(folder))):
        result = command.run(session)
        assert result.metrics["images"] == 16, "those that an audit evaluates"
        (listed,) = [block for block in result.blocks if isinstance(block, Table) and block.title == "Skipped"]
        assert listed.rows == ((str(folder / where), "it has no images: the class is left out"),)


def test_too_few_classes_with_images_are_still_refused(tmp_path: Path) -> None:
    folder = paint_folder(tmp_path / "pictures", train=2, test=8) / "test"
    for name in CLASSES[1:]:
        for file in (folder / name).iterdir():
            file.unlink()
    model = dataclasses.replace(tiny_model(classes=3, size=32), categories=CLASSES)
    with pytest.raises(DataError, match=f"class {CLASSES[1]!r} in .* has no image: give it some, or remove the folder"):
        calibrate(model, folder, session=Session(cache=tmp_path, quiet=True))


def test_images_of_other_classes_are_left_out_and_listed() -> None:
    strange = [(image, "zebra") for image, _ in drawn(5)]
    found = calibrate(over_sure(), [*drawn(30), *strange], session=SESSION)
    assert len(found.halves.labels) == 30 and len(found.skipped) == 5
    with pytest.raises(DataError, match="none of the classes"):
        calibrate(over_sure(), strange, session=SESSION)


def test_the_guarantee_holds_as_often_as_it_says() -> None:
    """Accuracy at a confidence c is c: above a threshold t it is (1 + t) / 2, for uniform confidences."""
    rng, wanted, error = np.random.default_rng(0), 0.8, 0.1
    broken, answered = 0, []
    for _ in range(200):
        confidence = rng.random(800)
        right = rng.random(800) < confidence
        found = threshold(torch.tensor(confidence), torch.tensor(right), wanted, error=error)
        assert not found.found or found.guaranteed >= wanted
        broken += found.found and (1 + found.confidence) / 2 < wanted
        answered.append(1 - found.confidence if found.found else 0)
    assert broken <= 200 * error
    assert 0.15 < np.mean(answered) < 0.4  # 0.4 is the best possible


def test_abstention_answers_what_it_can_guarantee() -> None:
    found = abstain(over_sure(1.0), drawn(4000), 0.68, session=SESSION)
    assert found.threshold.found
    assert found.selective.high >= 0.68
    assert 0.05 < found.coverage.value < 1
    assert found.selective.value > found.correct.float().mean().item() + 0.05
    assert (found.confidence[found.answered] >= found.threshold.confidence).all()
    never = abstain(over_sure(1.0), drawn(40), 0.999, session=SESSION)
    assert not never.threshold.found and never.coverage.value == 0
    assert "No threshold guarantees" in never._repr_html_()
    assert found.result().metrics["coverage"] == found.coverage.value


def test_equal_confidences_stay_together() -> None:
    """Half of the predictions have one confidence: a threshold inside that group would not be one."""
    confidence = torch.tensor([0.9] * 500 + [0.5] * 500)
    right = torch.tensor([True] * 500 + [True] * 250 + [False] * 250)
    found = threshold(confidence, right, 0.95, error=0.05)
    assert 0.5 < found.confidence <= 0.9 and found.guaranteed > 0.98
    assert threshold(confidence, right, 0.6, error=0.05).confidence <= 0.5


def test_the_guarantee_holds_where_accuracy_falls_with_confidence() -> None:
    """Accuracy is 0.5 above a confidence of 0.5, and 1 below: the bounds assume no order of the two."""
    rng, wanted, error, broken = np.random.default_rng(1), 0.72, 0.2, 0
    for _ in range(300):
        confidence = rng.random(300)
        right = (rng.random(300) < 0.5) | (confidence < 0.5)
        low = threshold(torch.tensor(confidence), torch.tensor(right), wanted, error=error).confidence
        accuracy = 0.5 if low >= 0.5 else (0.5 * 0.5 + (0.5 - low)) / (1 - low)
        broken += np.isfinite(low) and accuracy < wanted
    assert broken <= 300 * error


def test_a_model_keeps_its_threshold(tmp_path: Path) -> None:
    found = abstain(over_sure(1.0), drawn(4000), 0.68, session=SESSION)
    below = found.threshold.confidence
    pixels = [image for image, _ in drawn(20, seed=5)]
    seen = classify(found.abstaining, pixels)
    wanted = found.model(torch.stack(pixels)).softmax(1).amax(1) < below
    assert torch.equal(seen.abstained, wanted) and 0 < wanted.sum() < 20
    assert [label is None for label in seen.labels] == wanted.tolist()
    assert classify(found.abstaining, pixels, abstain_below=0).abstained.sum() == 0
    assert with_temperature(abstaining(tiny_model(), 0.75), 2.0).head.abstain_below == 0
    bundled = abstaining(load_model("efficientnet_lite0", SESSION), below)
    assert load_model(str(save_model(bundled, tmp_path / "net")), SESSION).head.abstain_below == below
    with pytest.raises(SettingError, match="one class per image"):
        abstaining(dataclasses.replace(tiny_model(), head=Head("multilabel")), 0.5)


def test_what_does_not_work_is_refused() -> None:
    with pytest.raises(DataError, match="3 images are too few"):
        calibrate(over_sure(), drawn(3), session=SESSION)
    with pytest.raises(SettingError, match="accuracy"):
        abstain(over_sure(), drawn(30), 1.0, session=SESSION)
    several = dataclasses.replace(over_sure(), head=Head("multilabel"))
    with pytest.raises(UnsupportedError, match="several labels per image"):
        calibrate(several, drawn(30), session=SESSION)
    with pytest.raises(UnsupportedError, match="threshold"):
        with_temperature(dataclasses.replace(tiny_model(classes=2), head=Head("binary", (0.3,))), 2)

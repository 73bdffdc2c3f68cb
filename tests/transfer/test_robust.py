"""Adversarial training of digits: few digits, a small radius."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from deepscope.attacks import PGD, Untargeted
from deepscope.commands.transfer_fit import TransferFit
from deepscope.data import Digits, DigitSplit
from deepscope.errors import DataError, SettingError
from deepscope.models import load_model
from deepscope.session import Session
from deepscope.transfer import robust
from deepscope.transfer.robust import RobustClassifier, RobustTraining, fit_robust

SETTINGS = RobustTraining(0.1, epochs=3, steps=1, step_size=1.25, batch_size=32)
SESSION = Session(quiet=True)


@pytest.fixture(scope="module")
def few() -> DigitSplit:
    """Two bright halves: the digit 0 is bright on the left, 1 on the right."""
    rng = np.random.default_rng(0)

    def some(count: int) -> Digits:
        labels = rng.integers(0, 2, count)
        images = rng.integers(0, 60, (count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels):
            image[:, 14 * label : 14 * label + 14] += 120
        return Digits(images, labels.astype(np.int64))

    return DigitSplit(some(400), some(100))


@pytest.fixture(autouse=True, scope="module")
def data(few: DigitSplit) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(robust, "load_dataset", lambda name, session, kind: few)
        yield


@pytest.fixture(scope="module")
def found(few: DigitSplit, data: None) -> RobustClassifier:
    return fit_robust("halves", SETTINGS, session=SESSION)


def test_what_it_withstands_is_what_an_attack_of_another_package_finds(
    found: RobustClassifier, few: DigitSplit
) -> None:
    pixels = (torch.tensor(few.test.images)[:, None].float() / 255).expand(-1, 3, -1, -1).contiguous()
    labels = torch.tensor(few.test.labels)
    with torch.no_grad():
        clean = found.model(pixels).argmax(1) == labels
    assert torch.equal(clean, found.correct)
    attack = PGD(radius=0.1, steps=20, step_size=0.1)
    changed = attack(found.model, pixels, Untargeted(labels), rng=torch.Generator().manual_seed(1))
    with torch.no_grad():
        held = (found.model(changed).argmax(1) == labels).float().mean().item()
    assert held == pytest.approx(found.robust.value, abs=0.05)
    assert found.accuracy.value > 0.95 and found.robust.value > 0.9
    assert found.robust.value <= found.accuracy.value


def test_channels_count_by_their_mean_alone(found: RobustClassifier) -> None:
    pixels = torch.rand(3, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    grey = pixels.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    with torch.no_grad():
        torch.testing.assert_close(found.model(pixels), found.model(grey))


def test_the_same_seed_gives_the_same_bits_and_the_model_is_saved(found: RobustClassifier, tmp_path: Path) -> None:
    again = fit_robust("halves", SETTINGS, folder=tmp_path / "training", session=SESSION)
    pixels = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = found.model(pixels)
        assert torch.equal(again.model(pixels), wanted)
        again.save_model(tmp_path / "model")
        opened = load_model(str(tmp_path / "model"), SESSION)
        torch.testing.assert_close(opened(pixels), wanted)
    assert opened.categories == tuple("0123456789")
    assert found.result().metrics["accuracy/attacked"] == found.robust.value
    assert "Held-out digits" in found._repr_html_()


def test_a_collapse_ends_the_training_and_keeps_the_best_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.5, 0.9, 0.6, 0.8, 0.9, 0.9])
    seen: list[torch.Tensor] = []

    def measured(network: torch.nn.Module, pixels: torch.Tensor, labels: torch.Tensor, *_: object) -> object:
        seen.append(torch.cat([weights.flatten().clone() for weights in network.parameters()]))
        rows = torch.arange(10) < 10 * next(scores)
        return rows, rows

    monkeypatch.setattr(robust, "measure", measured)
    found = fit_robust("halves", SETTINGS, session=SESSION)
    assert found.stopped and len(seen) == 4  # three epochs, and the test digits
    assert torch.equal(seen[3], seen[1]) and not torch.equal(seen[3], seen[2])
    assert any("collapsed" in getattr(block, "text", "") for block in found.result().blocks)


def test_settings_and_data_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="radius"):
        RobustTraining(radius=0)
    session = Session(quiet=True, out=tmp_path / "out")
    with pytest.raises(SettingError, match="cannot be combined"):
        TransferFit("mnist", robust=0.3, fine_tune=1).run(session)
    with pytest.raises(SettingError, match="combined with head"):
        TransferFit("mnist", robust=0.3, head="ridge").run(session)
    colour = Digits(np.zeros((20, 3, 28, 28), np.uint8), np.zeros(20, np.int64))
    monkeypatch.setattr(robust, "load_dataset", lambda name, session, kind: DigitSplit(colour, colour))
    with pytest.raises(DataError, match="colour digits"):
        TransferFit("mnist-m", robust=0.3).run(session)


def test_the_command_trains_and_saves(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = TransferFit("mnist", robust=0.1, robust_epochs=1, robust_steps=1).run(Session(quiet=True, out=out))
    assert result.metrics["images"] == 100
    assert load_model(str(out), SESSION).categories == tuple("0123456789")

"""Temperature and abstention on images that did not choose them: planted confidences, and models that allow neither."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import Tensor

from deepscope.checks import confidences
from deepscope.inputs import Photos
from deepscope.models import VisionModel
from deepscope.models.heads import Head
from deepscope.session import Session
from networks import tiny_model

SESSION = Session(quiet=True)


def photos(logits: Tensor, labels: Tensor, model: VisionModel | None = None) -> Photos:
    count = len(labels)
    return Photos(
        model or tiny_model(classes=logits.shape[1]),
        tuple(Path(f"{number}.png") for number in range(count)),
        torch.zeros(0, 3, 16, 16),
        logits,
        tuple(frozenset({label}) for label in labels.tolist()),
        tuple(bytes([number % 256]) for number in range(count)),
    )


def test_the_temperature_undoes_logits_that_are_three_times_too_large() -> None:
    rng = torch.Generator().manual_seed(0)
    true = torch.randn(2000, 4, generator=rng)
    labels = torch.multinomial(true.softmax(1), 1, generator=rng)[:, 0]
    found = confidences.measured(photos(3 * true, labels), SESSION)
    assert found is not None
    assert 2.6 < found.metrics["calibrated/temperature"] < 3.4
    assert found.metrics["calibrated/expected-calibration-error"] < 0.06 and found.metrics["calibrated/fall/low"] > 0.1
    assert not confidences.left_out(found.metrics).keys() - {"abstention"}


def test_images_are_answered_from_the_confidence_on_that_makes_the_answers_right() -> None:
    """Nine in ten images have a confidence of 0.99 and are right; the others 0.6, and are wrong."""
    sure = torch.arange(1000) % 10 != 0
    logits = torch.tensor([[0.0, 4.6]]) * sure[:, None] + torch.tensor([[0.0, 0.4]]) * ~sure[:, None]
    found = confidences.measured(photos(logits, sure.long()), SESSION)
    assert found is not None
    assert 0.59 < found.metrics["abstention/threshold"] <= 0.991
    assert abs(found.metrics["abstention/coverage"] - 0.9) < 0.05 and found.metrics["abstention/accuracy"] == 1
    assert confidences.left_out(found.metrics) == {}
    assert [block.title for block in found.blocks] == ["Calibration by a temperature", "Abstention"]


def test_what_the_images_do_not_allow_is_left_out_and_said() -> None:
    logits, labels = torch.randn(12, 2, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 2
    few = confidences.measured(photos(logits, labels), SESSION)
    assert few is not None and "abstention/coverage" not in few.metrics
    assert confidences.left_out(few.metrics)["abstention"].startswith("no confidence guarantees an accuracy of 0.95")
    assert confidences.measured(photos(logits[:3], labels[:3]), SESSION) is None
    model = tiny_model(classes=2)
    binary = dataclasses.replace(model, head=Head("binary", thresholds=(0.2,)))
    assert confidences.measured(photos(logits, labels, binary), SESSION) is None
    assert set(confidences.left_out({})) == {"calibration by a temperature", "abstention"}

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from deepscope.errors import DeepscopeError
from deepscope.models import VisionModel
from deepscope.models.heads import Head
from deepscope.visualization.quality import diversity, recognise, saturation, translate
from networks import tiny_model


def test_ranks_and_probabilities_are_those_of_the_rounded_image() -> None:
    evaluator = tiny_model()
    pixels = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 1, 2, 3, 0])
    seen = recognise(evaluator, pixels, targets, batch_size=2)
    for row, target in enumerate(targets.tolist()):
        logits = evaluator(torch.round(pixels[row : row + 1] * 255) / 255)[0].tolist()
        assert int(seen.ranks[row]) == sum(logit > logits[target] for logit in logits)
        expected = math.exp(logits[target]) / sum(math.exp(logit) for logit in logits)
        assert float(seen.probabilities[row]) == pytest.approx(expected, rel=1e-5)
    metrics = seen.metrics()
    assert metrics["recognised/tiny/top1"] == pytest.approx(float((seen.ranks == 0).float().mean()))
    assert not any("top5" in name for name in metrics), "the five best of four classes always hold the right one"
    assert metrics["recognised/tiny/top1/low"] <= metrics["recognised/tiny/top1"]


def test_an_image_that_is_no_number_is_recognised_by_nobody() -> None:
    seen = recognise(tiny_model(), torch.full((1, 3, 16, 16), float("nan")), torch.tensor([0]))
    assert int(seen.ranks[0]) == 4


def test_images_of_another_size_are_resized_for_the_evaluator() -> None:
    small, large = torch.full((1, 3, 16, 16), 0.4), torch.full((1, 3, 40, 40), 0.4)
    found = [recognise(tiny_model(), pixels, torch.tensor([1])) for pixels in (small, large)]
    torch.testing.assert_close(found[0].probabilities, found[1].probabilities)


def test_saturation_counts_black_and_white() -> None:
    pixels = torch.full((1, 3, 2, 2), 0.5)
    pixels[0, 0] = torch.tensor([[0.0, 1.0], [1.5 / 255, 4 / 255]])
    assert float(saturation(pixels)) == pytest.approx(3 / 12)


def test_diversity_is_one_minus_correlation_over_pairs() -> None:
    pixels = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    flat = pixels.flatten(1).numpy()
    pairs = [1 - np.corrcoef(flat[i], flat[j])[0, 1] for i, j in ((0, 1), (0, 2), (1, 2))]
    assert diversity(pixels) == pytest.approx(np.mean(pairs), rel=1e-5)
    assert diversity(pixels[:1].expand(3, -1, -1, -1)) == pytest.approx(0, abs=1e-6)
    assert math.isnan(diversity(pixels[:1]))


def test_classes_translate_by_identifier_then_by_name() -> None:
    def named(names: tuple[str, ...], wnids: tuple[str, ...] = ()) -> VisionModel:
        return dataclasses.replace(tiny_model(classes=2), categories=names, wnids=wnids)

    model = named(("crane", "wombat"), ("n1", "n2"))
    assert translate(0, model, named(("wombat", "crane bird"), ("n2", "n1"))) == 1
    assert translate(1, model, named(("Wombat", "hay"))) == 0
    with pytest.raises(DeepscopeError, match="cannot evaluate"):
        translate(0, model, named(("hay", "snail")))


def test_a_label_is_recognised_above_its_threshold() -> None:
    """Of two labels, both or none may be; the order of their probabilities says nothing of that."""
    single = tiny_model()
    pixels = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    logits = single(torch.round(pixels * 255) / 255)
    thresholds = tuple(logits.sigmoid().median(0).values.tolist())  # each image is above some of them
    evaluator = dataclasses.replace(single, head=Head("multilabel", thresholds))
    for label in range(4):
        seen = recognise(evaluator, pixels, torch.full((6,), label))
        above = logits[:, label].sigmoid() > thresholds[label]
        assert torch.equal(seen.ranks == 0, above) and 0 < int(above.sum()) < 6

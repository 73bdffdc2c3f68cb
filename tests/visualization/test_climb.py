from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from deepscope.ascent import Streams
from deepscope.errors import SettingError, UnsupportedError
from deepscope.models import VisionModel
from deepscope.session import Session
from deepscope.visualization import (
    PRESETS,
    ChannelObjective,
    ClassObjective,
    LayerObjective,
    Objective,
    Recipe,
    climb,
    final,
    preset,
)
from deepscope.visualization.batch_norm import statistics_distance
from networks import linear_model, smooth_model, tiny_model

SHORT = {name: dataclasses.replace(recipe, iterations=6) for name, recipe in PRESETS.items()}


def streams(count: int) -> Streams:
    return Streams.split(torch.Generator().manual_seed(3), count)


def starts(count: int, size: int = 12) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def single(*, batch_norm: bool) -> VisionModel:
    """The smooth network in float32, which is what noise comes in."""
    model = smooth_model(batch_norm=batch_norm)
    model.network.float()
    return model


def classes(model: VisionModel, count: int = 4) -> ClassObjective:
    return ClassObjective(model, torch.arange(count) % len(model.categories))


def test_on_a_linear_network_the_ascent_ends_at_the_optimum_of_score_minus_l2() -> None:
    """The gradient of w x - l2 |x|^2 is zero at x = w / (2 l2)."""
    size, l2 = 6, 0.05
    weights = 0.05 * torch.randn(3, 3 * size * size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = linear_model(weights, size=size)
    bare = dataclasses.replace(preset("unregularised"), iterations=600, jitter=0)
    recipe = dataclasses.replace(bare, learning_rate=0.1, update_rule="momentum", l2=l2)
    frame = final(climb(classes(model, 3), recipe, streams(3), start=starts(3, size)))
    reached = model.normalise(frame.pixels).flatten(1)
    torch.testing.assert_close(reached, weights / (2 * l2), atol=1e-4, rtol=0)
    torch.testing.assert_close(frame.scores, weights.square().sum(1) / (4 * l2), atol=1e-6, rtol=0)


def test_the_source_preset_is_its_plain_loop() -> None:
    """Jitter, score minus L2, a step along the gradient over its norm, back, clamp, and a blur every ten steps."""
    model, recipe, steps = smooth_model(), preset("report"), 23
    assert (recipe.iterations, recipe.learning_rate, recipe.l2, recipe.blur_every) == (1000, 5, 1e-3, 10)
    frames = list(climb(classes(model, 2), dataclasses.replace(recipe, iterations=steps), streams(2), start=starts(2)))
    mean, std = (
        torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    black, white = -mean / std, (1 - mean) / std
    for row in range(2):
        image = (starts(2)[row : row + 1] - mean) / std
        own = Streams(streams(2).generators[row : row + 1])
        for step in range(steps):
            down, right = own.integers(torch.tensor([0]), 17, 2)[0].tolist()
            shifted = torch.from_numpy(np.roll(image.numpy(), (down, right), (2, 3))).requires_grad_()
            score = model(shifted * std + mean)[0, row] - 1e-3 * shifted.norm() ** 2
            score.backward()
            assert shifted.grad is not None
            assert float(frames[step].scores[row]) == pytest.approx(float(score.detach()))
            gradient = np.roll(shifted.grad.numpy(), (-down, -right), (2, 3))
            image = image + 5 * torch.from_numpy(gradient / np.sqrt((gradient**2).sum()))
            image = torch.maximum(torch.minimum(image, white), black)
            if step % 10 == 0:
                image = torch.from_numpy(ndimage.gaussian_filter(image.numpy(), (0, 0, 0.5, 0.5), mode="reflect"))
        torch.testing.assert_close(frames[-1].pixels[row : row + 1], image * std + mean)


@pytest.mark.parametrize("name", sorted({*PRESETS} - {"statistics"}))
def test_an_image_does_not_depend_on_its_batch(name: str) -> None:
    objective = classes(smooth_model())
    together = final(climb(objective, SHORT[name], streams(4), start=starts(4))).pixels
    for rows in (slice(0, 1), slice(1, 4)):
        part = Streams(streams(4).generators[rows])
        apart = final(climb(objective.part(rows), SHORT[name], part, start=starts(4)[rows])).pixels
        torch.testing.assert_close(apart, together[rows], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", PRESETS)
def test_a_climb_continues_from_any_frame_to_the_same_bits(name: str) -> None:
    objective = classes(single(batch_norm=name == "statistics"))
    frames = list(climb(objective, SHORT[name], streams(4)))
    for frame in frames[::3]:
        again = list(climb(objective, SHORT[name], streams(4), resume=frame.resume))
        assert [other.step for other in again] == list(range(frame.step, 7))
        assert torch.equal(again[-1].pixels, frames[-1].pixels)
        assert torch.equal(again[0].watched, frame.watched)


@pytest.mark.parametrize("name", PRESETS)
def test_the_score_rises_in_the_box_and_the_network_stays_as_it_was(name: str) -> None:
    model = single(batch_norm=name == "statistics")
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    recipe = dataclasses.replace(SHORT[name], iterations=30, learning_rate=0.2)
    frames = list(climb(classes(model), recipe, streams(4)))
    assert all(float(frame.pixels.min()) >= 0 and float(frame.pixels.max()) <= 1 for frame in frames)
    assert float(frames[-1].scores.mean()) > float(frames[0].scores.mean())
    assert all(torch.equal(value, before[key]) for key, value in model.network.state_dict().items())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.network.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks or m.training for m in model.network.modules())


def test_statistics_matching_brings_statistics_closer() -> None:
    objective = classes(single(batch_norm=True))
    with_them = final(climb(objective, dataclasses.replace(SHORT["statistics"], iterations=40), streams(4)))
    without = final(climb(objective, dataclasses.replace(SHORT["default"], iterations=40), streams(4)))
    distances = []
    for frame in (with_them, without):
        with statistics_distance(objective.model.network) as distance:
            objective.model(frame.pixels)
            distances.append(float(distance.take()))
    assert distances[0] < 0.9 * distances[1]


@pytest.mark.parametrize(
    "objective",
    [
        ChannelObjective(smooth_model(), "0", torch.tensor([0, 3])),
        LayerObjective(smooth_model(), "0", 2),
        ClassObjective(smooth_model(), torch.tensor([1, 2]), log_probability=True),
    ],
    ids=lambda objective: type(objective).__name__,
)
def test_objectives_are_what_they_say(objective: Objective) -> None:
    pixels, model = starts(2), objective.model
    score, _ = objective(pixels, torch.arange(2))
    layer = model.activations(pixels, ["0"])["0"]
    if isinstance(objective, ChannelObjective):
        expected = torch.stack([layer[0, 0].mean(), layer[1, 3].mean()])
    elif isinstance(objective, LayerObjective):
        expected = torch.stack([(layer[row] ** 2).mean() for row in range(2)])
    else:
        expected = torch.log(model(pixels).softmax(1)[torch.arange(2), torch.tensor([1, 2])])
    torch.testing.assert_close(score, expected)
    assert len(objective) == 2
    assert len(objective.part(slice(1, 2))) == 1
    torch.testing.assert_close(objective.part(slice(1, 2))(pixels[1:], torch.tensor([0]))[0], expected[1:])


def test_competing_classes_are_the_five_highest_other_logits() -> None:
    model, targets = smooth_model(), torch.tensor([1, 2])
    pixels, count = starts(2), len(model.categories)
    objective = ClassObjective.of(model, targets, Recipe(objective="logit", competing_classes=0.7))
    score, probability = objective(pixels, torch.arange(2))
    logits = model(pixels)
    for row, target in enumerate(targets.tolist()):
        others = sorted((float(logits[row, k]) for k in range(count) if k != target), reverse=True)[:5]
        assert float(score[row]) == pytest.approx(float(logits[row, target]) - 0.7 * sum(others) / len(others))
    torch.testing.assert_close(probability, logits.softmax(1)[torch.arange(2), targets])
    part = objective.part(slice(1, 2))
    torch.testing.assert_close(part(pixels[1:], torch.tensor([0]))[0], score[1:])


def test_bfloat16_ends_at_nearly_the_same_image() -> None:
    objective = classes(tiny_model())
    recipe = dataclasses.replace(SHORT["report"], learning_rate=0.5)
    exact, coarse = (final(climb(objective, recipe, streams(4), bfloat16=half)).pixels for half in (False, True))
    assert coarse.dtype == torch.float32
    assert float((exact - coarse).abs().mean()) < 0.01
    assert not torch.equal(exact, coarse)


def test_the_defaults_of_a_recipe_are_the_default_preset() -> None:
    assert preset("default") == Recipe()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"l2": -1}, "l2 -1 is out of range"),
        ({"iterations": 0}, "iterations 0 is out of range"),
        ({"learning_rate": float("nan")}, "learning_rate nan"),
        ({"clip_small_norm": 101}, "clip_small_norm 101"),
        ({"zoom": 0}, "zoom 0"),
        ({"view": 8}, "view is too small"),
        ({"canvas": "fourier"}, "blur_every acts on pixels: set canvas to pixels"),
    ],
)
def test_settings_without_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        dataclasses.replace(preset("report"), **changes)


def test_a_preset_of_the_last_release_still_works_and_says_its_new_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert preset("source-strong", Session()) == PRESETS["report-strong"]
    assert "preset source-strong is now called report-strong" in capsys.readouterr().err
    assert "source" not in PRESETS


def test_a_preset_that_does_not_exist_and_a_network_that_does_not_fit_are_refused() -> None:
    with pytest.raises(SettingError, match="must be one of default, statistics, report"):
        preset("sorce")
    with pytest.raises(UnsupportedError, match="no batch normalisation"):
        final(climb(classes(smooth_model()), SHORT["statistics"], streams(4)))

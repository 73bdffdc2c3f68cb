"""XRAI, KernelSHAP and LIME: exact Shapley values by enumeration, honest standard errors, and other libraries."""

from __future__ import annotations

import math
import warnings
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepscope.attributions import LIME, XRAI, IntegratedGradients, KernelSHAP
from deepscope.attributions.attribution import Attribution, baseline_pixels
from deepscope.attributions.kernel_shap import _Shapley
from deepscope.attributions.lime import _Linear, kernel, ridge
from deepscope.attributions.superpixels import superpixels
from deepscope.attributions.xrai import ranked, segments
from deepscope.models import VisionModel, wrap
from networks import tiny_model

SIDE = 16


@pytest.fixture
def model() -> VisionModel:
    model = tiny_model()
    model.network.double()
    for parameter in model.network.parameters():
        parameter.mul_(3)  # so that probabilities differ
    return model


@pytest.fixture
def pixels() -> Tensor:
    coarse = torch.rand(2, 3, 5, 5, generator=rng(), dtype=torch.float64)
    return torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear")


@pytest.fixture
def target(model: VisionModel, pixels: Tensor) -> Tensor:
    return model(pixels).argmax(1)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(4)


def behind(model: VisionModel, image: Tensor, label: int, visible: NDArray[np.bool_], places: Any) -> float:
    """The probability of a class where the other superpixels have the image's mean colour."""
    shown = torch.from_numpy(visible[places])
    seen = torch.where(shown, image, baseline_pixels("mean", image[None])[0])
    return float(model(seen[None]).softmax(1)[0, label])


def shapley(value: Any, count: int) -> NDArray[np.float64]:
    """By their definition: the mean contribution over all orders, summed over all sets."""
    found = np.zeros(count)
    for player in range(count):
        others = [other for other in range(count) if other != player]
        for size in range(count):
            weight = 1 / (count * math.comb(count - 1, size))
            for chosen in combinations(others, size):
                before = np.zeros(count, dtype=bool)
                before[list(chosen)] = True
                after = before.copy()
                after[player] = True
                found[player] += weight * (value(after) - value(before))
    return found


def game(count: int) -> Any:
    """A value of sets with interactions, between 0 and 1."""
    draws = np.random.default_rng(0)
    linear, pairs = draws.normal(size=count), draws.normal(size=(count, count))

    def value(visible: NDArray[np.bool_]) -> NDArray[np.float64]:
        on = np.atleast_2d(visible).astype(float)
        return 1 / (1 + np.exp(-(on @ linear + np.einsum("ni,ij,nj->n", on, pairs, on) / 2)))

    return value


def test_where_all_sets_fit_the_values_are_exact(model: VisionModel, pixels: Tensor, target: Tensor) -> None:
    method = KernelSHAP(superpixels=6)
    found = method.estimate(model, pixels, target, rng=rng())
    for i in range(2):
        places = superpixels(pixels[i], 6)
        count = int(places.max()) + 1
        assert 4 <= count <= 9

        def value(visible: Any, i: int = i, places: Any = places) -> float:
            return behind(model, pixels[i], int(target[i]), visible, places)

        exact = shapley(value, count)
        np.testing.assert_allclose(found.values[i], exact, atol=1e-8)
        np.testing.assert_allclose(found.maps[i].numpy(), exact[places], atol=1e-8)
        assert found.passes[i] == 2**count and not found.errors[i].any()


def test_sampled_values_are_the_exact_ones_within_their_errors() -> None:
    """Over many runs: no bias, and the standard errors say how far the values spread."""
    count, runs = 7, 150
    value = game(count)
    exact = shapley(lambda visible: float(value(visible)[0]), count)
    values, errors = [], []
    for seed in range(runs):
        one = _Shapley(count, 100, np.random.default_rng(seed))  # of 126 sets, so that they are drawn
        while len(masks := one.draw()):
            one.add(masks, value(masks))
        estimate, error = one.estimate()
        assert estimate.sum() == pytest.approx((value(np.ones(count)) - value(np.zeros(count)))[0])
        values.append(estimate)
        errors.append(error)
    spread = np.std(values, axis=0, ddof=1)
    assert np.all(np.abs(np.mean(values, axis=0) - exact) < 4 * spread / math.sqrt(runs))
    said = np.sqrt(np.mean(np.square(errors), axis=0))
    assert np.all((said / spread > 0.8) & (said / spread < 1.3))


def test_limes_errors_say_how_far_its_weights_spread() -> None:
    count, runs = 6, 200
    value = game(count)
    values, errors = [], []
    for seed in range(runs):
        one = _Linear(count, 256, np.random.default_rng(seed))
        while len(masks := one.draw()):
            one.add(masks, value(masks))
        estimate, error = one.estimate()
        values.append(estimate)
        errors.append(error)
    ratio = np.sqrt(np.mean(np.square(errors), axis=0)) / np.std(values, axis=0, ddof=1)
    assert np.all((ratio > 0.8) & (ratio < 1.25))


def test_limes_weights_are_those_of_lime() -> None:
    base = pytest.importorskip("lime.lime_base", reason="compares with it: pip install 'deepscope[peers]'")
    pairwise = pytest.importorskip("sklearn.metrics")
    count, value = 8, game(8)
    masks = np.random.default_rng(3).random((200, count)) < 0.5
    masks[0], masks[1] = True, False
    seen = value(masks)
    distances = pairwise.pairwise_distances(masks.astype(float), masks[:1].astype(float), metric="cosine").ravel()
    theirs = base.LimeBase(lambda d: np.sqrt(np.exp(-(d**2) / 0.25**2)))
    np.testing.assert_allclose(kernel(masks), theirs.kernel_fn(distances))
    _, weights, _, _ = theirs.explain_instance_with_data(
        masks.astype(float), np.stack([1 - seen, seen], 1), distances, 1, count, feature_selection="none"
    )
    np.testing.assert_allclose(ridge(masks, seen)[0], [weight for _, weight in sorted(weights)], rtol=1e-8)


def test_captum_agrees_on_shapley_values(model: VisionModel, pixels: Tensor, target: Tensor) -> None:
    captum = pytest.importorskip("captum.attr", reason="compares with it: pip install 'deepscope[peers]'")
    places = torch.from_numpy(superpixels(pixels[0], 6))
    theirs = captum.ShapleyValues(
        lambda x: model(x).softmax(1)
    ).attribute(  # over all orders
        pixels[:1],
        baselines=baseline_pixels("mean", pixels[:1]),
        target=int(target[0]),
        feature_mask=places[None, None].repeat(1, 3, 1, 1),
    )
    ours = KernelSHAP(superpixels=6)(model, pixels[:1], target[:1], rng=rng())
    torch.testing.assert_close(ours, theirs[:, 0].double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [KernelSHAP, LIME])
def test_sampling_stops_where_every_standard_error_is_small_enough(
    kind: Any, model: VisionModel, pixels: Tensor, target: Tensor
) -> None:
    found = {error: kind(superpixels=16, error=error).estimate(model, pixels, target) for error in (0.01, 0.001)}
    for error, one in found.items():
        assert all(errors.max() <= error for errors in one.errors)
    assert sum(found[0.001].passes) > sum(found[0.01].passes)
    assert max(found[0.001].passes) < 2002
    rough, fine = (found[error] for error in (0.01, 0.001))
    for one, other in zip(rough.values, fine.values):
        assert np.abs(one - other).max() < 5 * 0.01


@pytest.mark.parametrize("kind", [KernelSHAP, LIME])
def test_what_cannot_be_reached_is_said(kind: Any, model: VisionModel, pixels: Tensor, target: Tensor) -> None:
    method = kind(superpixels=16, error=1e-6, samples=80)
    with pytest.warns(UserWarning, match="2 of 2 images had all 80 samples"):
        found = method.estimate(model, pixels, target)
    assert max(found.passes) <= 82 and found.maps.isfinite().all()


@pytest.mark.parametrize("method", [KernelSHAP(superpixels=9, error=0.05), LIME(superpixels=9, error=0.05)])
def test_a_model_that_can_only_be_queried(method: Attribution, model: VisionModel, pixels: Tensor) -> None:
    def probabilities(seen: Tensor) -> Tensor:
        with torch.no_grad():
            return model(seen).softmax(1)

    black_box = wrap(probabilities, list(model.categories), preprocessing=model.preprocessing)
    assert not black_box.capabilities.gradients
    target = torch.tensor([1, 2])
    ours, theirs = (method(one, pixels, target, rng=rng()) for one in (model, black_box))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_one_superpixel_has_the_whole_difference(model: VisionModel, pixels: Tensor, target: Tensor) -> None:
    flat = torch.full_like(pixels, 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        maps = KernelSHAP(superpixels=1)(model, flat, target)
    assert maps.abs().max() < 1e-12  # covered by its own colour, the image stays as it is
    pixels = torch.stack([flat[0], pixels[1]])
    found = KernelSHAP(superpixels=1, baseline="black").estimate(model, pixels, target)
    for i, values in enumerate(found.values):
        ends = model(torch.stack([pixels[i], torch.zeros_like(pixels[i])])).softmax(1)[:, target[i]]
        assert values.sum() == pytest.approx(float(ends[0] - ends[1]))


# XRAI


def test_xrai_ranks_regions_as_its_authors_do() -> None:
    core = pytest.importorskip("saliency.core.xrai", reason="compares with it: pip install 'deepscope[peers]'")
    draws = np.random.default_rng(0)
    values = draws.normal(size=(224, 224)).cumsum(0).cumsum(1) / 1000
    masks = np.zeros((30, 224, 224), dtype=bool)
    for mask in masks:
        top, left = draws.integers(0, 200, 2)
        mask[top : top + draws.integers(2, 90), left : left + draws.integers(2, 90)] = True
    theirs, _ = core.XRAI._xrai(values, list(masks))
    np.testing.assert_allclose(ranked(values, masks), theirs, rtol=1e-9)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_xrais_regions_are_those_of_its_authors() -> None:
    core = pytest.importorskip("saliency.core.xrai", reason="compares with it: pip install 'deepscope[peers]'")
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 6, generator=rng()), (224, 224), mode="bicubic")
    image = image[0].double().numpy()
    theirs = core._get_segments_felzenszwalb(image.transpose(1, 2, 0), resize_image=False)
    ours = segments(image)
    assert len(ours) == len(theirs) > 6
    assert all(np.array_equal(one, other) for one, other in zip(ours, theirs))


def test_xrai_finds_the_square_that_counts() -> None:
    """The score is the brightness of one square, so integrated gradients and regions are known."""
    head = torch.zeros(2, 3, 32, 32, dtype=torch.float64)
    head[1, :, 8:20, 4:16] = 1
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2, dtype=torch.float64))
    network.load_state_dict({"1.weight": head.flatten(1), "1.bias": torch.zeros(2)})
    plain = tiny_model(classes=2, size=32)
    prepared = type(plain.preprocessing)(resize=32, crop=32, mean=(0, 0, 0), std=(1, 1, 1))
    model = VisionModel("square", network, prepared, plain.categories)
    pixels = torch.full((1, 3, 32, 32), 0.1, dtype=torch.float64)
    pixels[:, :, 8:20, 4:16] = 0.9
    maps = XRAI(steps=2)(model, pixels, torch.tensor([1]))[0]
    shares = (
        torch.stack([IntegratedGradients(b, steps=2)(model, pixels, torch.tensor([1])) for b in ("black", "white")])
        .mean(0)[0]
        .amax(0)
    )
    assert float(maps[9:19, 5:15].min()) > float(maps[:4].max()) and float(maps[25:].max()) < 1e-9
    assert float(maps[12, 8]) == pytest.approx(float(shares[_region(maps)].mean()))


def _region(maps: Tensor) -> Tensor:
    """Where the map has its largest value."""
    return maps == maps.max()

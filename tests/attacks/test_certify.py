"""Randomised smoothing against the closed form of a linear classifier."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from deepscope.attacks.certify import Certificates, certify
from deepscope.attacks.smoothing import ABSTAINED, Smoothing
from deepscope.errors import DeepscopeError, SettingError, UnsupportedError
from deepscope.models import Preprocessing, VisionModel
from deepscope.models.heads import Head
from deepscope.session import Session
from deepscope.statistics import lower_bound, upper_bound

SIZE, SIGMA = 4, 0.5
SESSION = Session(quiet=True)


def half_space() -> tuple[VisionModel, Tensor, float]:
    """Two classes on both sides of a plane in pixel space: its weights and bias."""
    weight = torch.randn(3 * SIZE * SIZE, generator=torch.Generator().manual_seed(1))
    bias = -float(weight.sum()) / 2  # the plane goes through mid-grey
    layer = nn.Linear(len(weight), 2)
    layer.weight.data, layer.bias.data = torch.stack([-weight, weight]) / 2, torch.tensor([-bias, bias]) / 2
    raw = Preprocessing(SIZE, SIZE, mean=(0.0,) * 3, std=(1.0,) * 3)
    return VisionModel("plane", nn.Sequential(nn.Flatten(), layer), raw, ("below", "above")), weight, bias


@pytest.fixture(scope="module")
def images() -> list[Tensor]:
    pixels = torch.rand(12, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
    return list((pixels * 255).round() / 255)


def margin(image: Tensor) -> float:
    """Distance from the plane, signed."""
    _, weight, bias = half_space()
    return (float(weight.double() @ image.flatten().double()) + bias) / float(weight.double().norm())


@pytest.fixture(scope="module")
def found(images: list[Tensor]) -> Certificates:
    model, _, _ = half_space()
    labelled = [(image, ("below", "above")[margin(image) > 0]) for image in images]
    smoothing = Smoothing(SIGMA, samples=2000, first=50)
    return certify(model, labelled, smoothing, radii=(0.05, 0.2, 0.4), steps=10, session=SESSION)


def test_votes_follow_the_closed_form(images: list[Tensor]) -> None:
    """P(above under noise) = Phi(margin / sigma): the distribution of a linear score."""
    model, _, _ = half_space()
    for row, image in enumerate(images[:4]):
        rng = torch.Generator().manual_seed(row)
        votes = Smoothing(SIGMA).votes(model, image, 4000, rng, session=SESSION)
        expected = NormalDist().cdf(margin(image) / SIGMA)
        assert votes.sum() == 4000
        assert stats.binomtest(int(votes[1]), 4000, expected).pvalue > 1e-3


def test_certificates_are_below_the_distance_from_the_plane(found: Certificates, images: list[Tensor]) -> None:
    exact = np.array([abs(margin(image)) for image in images])
    certain = ~torch.isnan(found.radii).numpy()
    radii = found.radii.numpy()
    assert (radii[certain] <= exact[certain]).all()
    bound = [lower_bound(round(2000 * NormalDist().cdf(one / SIGMA)), 2000, error=0.001) for one in exact]
    wanted = np.array([SIGMA * NormalDist().inv_cdf(one) if one > 0.5 else math.nan for one in bound])
    np.testing.assert_allclose(radii[certain], wanted[certain], atol=0.06)  # what 2000 votes certify on average
    assert certain.sum() >= 8
    assert set(np.flatnonzero(~certain)) <= set(np.flatnonzero(exact < 0.1))  # it abstains near the plane alone
    assert (found.predicted[~certain] == ABSTAINED).all()


def test_certified_accuracy_is_never_above_attacked_accuracy(found: Certificates, images: list[Tensor]) -> None:
    exact = torch.tensor([abs(margin(image)) for image in images])
    for radius, held in found.attacked.items():
        assert not (found.correct & (found.radii >= radius) & ~held).any()
        assert found.certified(radius).value <= found.empirical(radius).value
        assert held[found.correct & (exact > radius)].all()  # no change of that norm reaches the plane
    largest = max(found.attacked)
    reached = found.correct & (exact < largest - 0.15)
    assert reached.any() and not found.attacked[largest][reached].any()  # PGD follows the plane's normal


def test_votes_do_not_depend_on_the_batch_or_on_other_images(found: Certificates, images: list[Tensor]) -> None:
    model, _, _ = half_space()
    labelled = [(image, ("below", "above")[margin(image) > 0]) for image in images[5:7]]
    alone = certify(model, labelled, found.smoothing, radii=(), batch_size=2000, session=SESSION)
    torch.testing.assert_close(alone.radii, found.radii[5:7], equal_nan=True)
    assert not alone.attacked


def test_votes_do_not_depend_on_the_batch_at_sizes_that_vector_units_do_not_divide() -> None:
    bare = Preprocessing(5, 5, mean=(0.0,) * 3, std=(1.0,) * 3)
    model = VisionModel("first pixels", nn.Sequential(nn.Flatten(), nn.Linear(75, 5)), bare, tuple("abcde"))
    pixels = torch.full((3, 5, 5), 0.5)
    votes = [
        Smoothing(2.0).votes(model, pixels, 60, torch.Generator().manual_seed(0), session=SESSION, batch_size=size)
        for size in (1, 7, 60)
    ]
    assert torch.equal(votes[0], votes[1]) and torch.equal(votes[0], votes[2])


def test_the_result_says_what_was_certified(found: Certificates) -> None:
    metrics = found.result().metrics
    assert metrics["images"] == 12
    assert metrics["abstained"] == int((found.predicted == ABSTAINED).sum())
    assert metrics["accuracy/certified/0.2"] == found.certified(0.2).value <= metrics["accuracy/attacked/0.2"]
    assert "Certified and attacked accuracy" in found._repr_html_()
    assert found.to_pandas().shape == (12, 4 + 3)


def test_bounds_are_those_of_clopper_and_pearson() -> None:
    for successes, total in ((0, 20), (7, 20), (20, 20), (990, 1000)):
        both = stats.binomtest(successes, total).proportion_ci(0.9, method="exact")
        low, high = lower_bound(successes, total, error=0.05), upper_bound(successes, total, error=0.05)
        assert (low, high) == pytest.approx((both.low, both.high), abs=1e-9)


def test_a_vote_that_may_be_chance_abstains() -> None:
    smoothing = Smoothing(alpha=0.001)
    assert smoothing.decide(torch.tensor([52, 48, 0])) == ABSTAINED
    assert smoothing.decide(torch.tensor([10, 80, 10])) == 1
    assert smoothing.certify(torch.tensor([1000, 0]), 0) == pytest.approx(0.25 * stats.norm.ppf(0.001 ** (1 / 1000)))
    assert math.isnan(smoothing.certify(torch.tensor([520, 480]), 0))


def test_what_does_not_work_is_refused_in_one_line(images: list[Tensor]) -> None:
    model, _, _ = half_space()
    with pytest.raises(SettingError, match="sigma"):
        Smoothing(sigma=0)
    with pytest.raises(SettingError, match="alpha"):
        Smoothing(alpha=1)
    with pytest.raises(SettingError, match="radii"):
        certify(model, images, radii=(0.0,), session=SESSION)
    several = VisionModel("several", model.network, model.preprocessing, model.categories, head=Head("multilabel"))
    with pytest.raises(UnsupportedError, match="several labels per image"):
        certify(several, images, session=SESSION)
    with pytest.raises(DeepscopeError):
        certify(model, [], session=SESSION)

"""Whether a network returns logits or probabilities is seen from its outputs, and does not depend on the images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deepscope.errors import DeepscopeError
from returning_networks import Make, Network, four_images, model_of, sharp


@pytest.fixture
def pixels() -> Tensor:
    return four_images()


@pytest.mark.parametrize("bias", [[0.25, 0.25, 0.5], [0.0, 0.0, 1.0], [0.3, 0.3, 0.3]])
@pytest.mark.parametrize("gain", [0.0, 1e-3, 1.0])
def test_logits_that_look_like_probabilities_stay_logits(bias: list[float], gain: float, pixels: Tensor) -> None:
    """A linear head whose first outputs lie in [0, 1], and may sum to 1."""
    network = Network(lambda z: z, gain=gain)
    network.head.bias.data = torch.tensor(bias)
    model = model_of(network)
    with torch.no_grad():
        wanted = network(model.normalise(pixels))
    assert torch.equal(model(pixels), wanted)


def test_a_saturated_softmax_is_still_probabilities(pixels: Tensor) -> None:
    network = Network(lambda z: (z * 0 + torch.tensor([0.0, 200.0, 0.0])).softmax(1))
    assert model_of(network)(pixels).softmax(1)[:, 1].min() > 0.999


def hand_written(z: Tensor) -> Tensor:
    powers = (z - z.amax(1, keepdim=True)).exp()
    return powers / powers.sum(1, keepdim=True)


def overflowing(z: Tensor) -> Tensor:
    """NaN for large logits, as on all the noise."""
    return z.exp() / z.exp().sum(1, keepdim=True)


def remaining(z: Tensor) -> Tensor:
    """The last probability is what the others leave, which rounding makes negative."""
    others = z.softmax(1)[:, :-1]
    return torch.cat([others, 1 - others.sum(1, keepdim=True) - 1e-6], 1)


def without_graph(z: Tensor) -> Tensor:
    with torch.no_grad():
        return z.softmax(1)


@pytest.mark.parametrize("gain", [1.0, 1000.0])
@pytest.mark.parametrize("images", [1, 2, 4])
@pytest.mark.parametrize(
    "make",
    [
        lambda z: z,
        lambda z: z.softmax(1),
        lambda z: z.log_softmax(1).exp(),
        hand_written,
        remaining,
        without_graph,
        lambda z: (z.softmax(1) + z.softmax(1)) / 2,
        lambda z: z.softmax(1).clamp(1e-7, 1 - 1e-7),
        lambda z: z.t().softmax(0).t(),
        lambda z: z.softmax(1) @ torch.eye(5),
    ],
)
def test_the_reading_depends_on_no_batch(make: Make, images: int, gain: float, pixels: Tensor) -> None:
    given, logits = sharp(make, gain=gain)
    model = model_of(given, tuple("abcde"))
    shown = model.normalise(pixels)
    with torch.no_grad():
        wanted = logits(shown).softmax(1)
    for start in range(0, 4, images):
        found = model(pixels[start : start + images]).softmax(1)
        torch.testing.assert_close(found, wanted[start : start + images], atol=1e-4, rtol=0)


@pytest.mark.parametrize("images", [1, 4])
def test_probabilities_that_overflow_on_noise_are_the_networks_own(images: int, pixels: Tensor) -> None:
    with torch.no_grad():
        given, logits = sharp(overflowing, gain=100)
        model = model_of(given, tuple("abcde"))
        wanted = logits(model.normalise(pixels)).softmax(1)
        assert given(model.normalise(pixels)).isfinite().all()
    torch.testing.assert_close(model(pixels[:images]).softmax(1), wanted[:images], atol=1e-4, rtol=0)


@pytest.mark.parametrize("images", [1, 4])
@pytest.mark.parametrize("gain", [1.0, 1000.0])
def test_both_halves_of_a_hand_written_sigmoid_are_probabilities(images: int, gain: float, pixels: Tensor) -> None:
    def both(z: Tensor) -> Tensor:
        p = 1 / (1 + torch.exp(-z))
        return torch.cat([1 - p, p], 1)

    given, _ = sharp(both, out=1, gain=gain)
    model = model_of(given, ("a", "b"))
    with torch.no_grad():
        wanted = given(model.normalise(pixels))
    torch.testing.assert_close(model(pixels[:images]).softmax(1), wanted[:images])


@pytest.mark.parametrize("images", [1, 4])
@pytest.mark.parametrize("gain", [1.0, 1000.0])
@pytest.mark.parametrize(
    "make",
    [lambda z: 1 / (1 + torch.exp(-z)), lambda z: z.tanh().abs(), lambda z: z.sigmoid().clamp(1e-7, 1 - 1e-7)],
)
def test_one_value_that_may_be_either_is_refused(make: Make, images: int, gain: float, pixels: Tensor) -> None:
    given, _ = sharp(make, out=1, gain=gain)
    with pytest.raises(DeepscopeError, match="may be a logit or a probability") as caught:
        model_of(given, ("a", "b"))(pixels[:images])
    assert "\n" not in str(caught.value)


def test_probabilities_are_required_of_every_pass(pixels: Tensor) -> None:
    """A sigmoid per class is refused when it first shows itself."""
    network = Network(lambda z: z.softmax(1))
    model = model_of(network)
    model(pixels)
    network.make = lambda z: z.sigmoid()
    with pytest.raises(DeepscopeError, match="do not sum to 1"):
        model(pixels)


@pytest.mark.parametrize("images", [1, 4])
@pytest.mark.parametrize("make", [lambda z: z.relu(), lambda z: z.abs(), lambda z: z.relu() * 0])
def test_logits_that_are_never_negative_stay_logits(make: Make, images: int, pixels: Tensor) -> None:
    model = model_of(Network(make))
    with torch.no_grad():
        wanted = model.network(model.normalise(pixels[:images]))
    assert torch.equal(model(pixels[:images]), wanted)

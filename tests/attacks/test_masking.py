"""Planted fake defences are flagged, honest networks are not; adaptive attacks see through the fakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscope.attacks import PGD, Masking, Strength, Subjects, Untargeted, averaged, defended, worst_case
from deepscope.attacks.defences import bit_depth
from deepscope.attacks.masking import gradient_masking, signs_of
from deepscope.attacks.outcome import run_attack
from deepscope.errors import SettingError, UnsupportedError
from deepscope.models import Preprocessing, VisionModel
from deepscope.session import Session

SIDE, RADIUS = 12, 8 / 255
QUIET = Session(quiet=True)


def pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise with a faint bright half, left, right, above or below."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=generator)
    images = 0.35 + 0.3 * torch.rand(count, 3, SIDE, SIDE, generator=generator)
    half = SIDE // 2
    for image, label in zip(images, labels.tolist()):
        part = [(slice(None), slice(half)), (slice(None), slice(half, None)), (slice(half),), (slice(half, None),)]
        image[(slice(None), *part[label])] += 0.06
    return (images * 255).round() / 255, labels


@cache
def trained(kind: str) -> VisionModel:
    """A small network that was trained for a moment."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU() if kind == "relu" else nn.SiLU(), nn.AvgPool2d(3)),
            *(nn.Flatten(), nn.Linear(8 * 16, 4)),
        )
        images, labels = pictures(512, 1)
        optimizer = torch.optim.Adam(network.parameters(), 0.01)
        for _ in range(40):
            loss = functional.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    bare = Preprocessing(resize=SIDE, crop=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3)
    return VisionModel(kind, network, bare, tuple("lrab"))


class Quantised(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs * 31).round() / 31


class Noisy(nn.Module):
    """A random shift and noise, as in defences by random resizing."""

    def forward(self, inputs: Tensor) -> Tensor:
        shift = int(torch.randint(-1, 2, ()))
        return inputs.roll(shift, 3) + 0.1 * torch.randn_like(inputs)


class Saturated(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return (1e4 * inputs).softmax(1)


class Shattered(nn.Module):
    """Passes images on with ripples far too fine to matter, whose slopes drown every other gradient."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + 2e-3 * torch.sin(2e4 * inputs)


FAKES: dict[str, tuple[nn.Module, nn.Module, str]] = {
    "quantised input": (Quantised(), nn.Identity(), "vanishing-gradients"),
    "random shift and noise": (Noisy(), nn.Identity(), "random-answers"),
    "saturated probabilities": (nn.Identity(), Saturated(), "vanishing-gradients"),
    "shattered gradients": (Shattered(), nn.Identity(), "misleading-gradients"),
}


def behind(name: str) -> VisionModel:
    before, after, _ = FAKES[name]
    plain = trained("relu")
    return replace(plain, network=nn.Sequential(before, plain.network, after))


def subjects(model: VisionModel, count: int = 16) -> Subjects:
    images, labels = pictures(2 * count, 2)
    with torch.no_grad():
        right = (trained("relu")(images).argmax(1) == labels) & (model(images).argmax(1) == labels)
    rows = right.nonzero()[:count, 0]
    assert len(rows) == count
    return Subjects((images[rows] * 255).round().byte(), labels[rows], Untargeted(labels[rows]))


def looked_at(model: VisionModel) -> Masking:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return signs_of(model, subjects(model), QUIET, radius=RADIUS, steps=10, queries=60)


@pytest.mark.parametrize("name", FAKES)
def test_a_fake_defence_is_flagged_by_the_sign_that_it_shows(name: str) -> None:
    found = looked_at(behind(name))
    assert found.verdict == "warn"
    assert FAKES[name][2] in {sign.name for sign in found.signs if sign.found}


@pytest.mark.parametrize("kind", ["relu", "silu"])
def test_an_honest_network_shows_no_sign(kind: str) -> None:
    found = looked_at(trained(kind))
    assert found.verdict == "pass", [sign for sign in found.signs if sign.found]
    assert [sign.share.value for sign in found.signs if sign.name == "unbounded-attack-fails"] == [0]


def test_a_network_without_gradients_is_refused_and_attacks_that_need_none_are_named() -> None:
    class Detached(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return plain.network(inputs).detach()

    plain = trained("relu")
    said = r"gradient_masking needs gradients, which relu does not give \(its output .*\): use hop-skip-jump or square"
    with pytest.raises(UnsupportedError, match=said):
        gradient_masking(replace(plain, network=Detached()), pictures(4, 2)[0])


def survivors(model: VisionModel, attack: PGD, on: Callable[[VisionModel], Subjects] = subjects) -> int:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        outcome = run_attack(attack, model, on(model), QUIET)
    return len(outcome) - sum(outcome.successes())


def test_a_straight_through_gradient_attacks_through_quantisation() -> None:
    plain, attack = trained("relu"), PGD(RADIUS, steps=20, random_start=False)
    blunt = defended(plain, bit_depth, straight_through=False)
    known = defended(plain, bit_depth)
    images = pictures(3, 4)[0]
    torch.testing.assert_close(known(images), plain(bit_depth(images)))
    assert survivors(blunt, attack) == 16 > 4 * survivors(known, attack)


def test_the_gradient_behind_a_defence_is_that_of_the_network_at_what_it_sees() -> None:
    plain = trained("silu")
    pixels = pictures(2, 5)[0].requires_grad_()
    (known,) = torch.autograd.grad(defended(plain, bit_depth)(pixels)[:, 0].sum(), pixels)
    seen = bit_depth(pixels.detach()).requires_grad_()
    (plainly,) = torch.autograd.grad(plain(seen)[:, 0].sum(), seen)
    torch.testing.assert_close(known, plainly)


def test_averaging_estimates_the_expected_gradient() -> None:
    """Of logits w * (x + noise) * sign, whose mean is known: the error falls with the square root of the draws."""

    class Randomised(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            total = (inputs * (1 + torch.randn(inputs.shape[1:]))).flatten(1).sum(1)
            return torch.stack([total, -total], 1)

    bare = Preprocessing(resize=4, crop=4, mean=(0.0,) * 3, std=(1.0,) * 3)
    model = VisionModel("randomised", Randomised(), bare, ("a", "b"))
    model.outputs.kind = "logits"
    pixels = torch.full((1, 3, 4, 4), 0.5).requires_grad_()
    errors: dict[int, float] = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for draws in (1, 100):
            (gradient,) = torch.autograd.grad(averaged(model, draws, seed=1)(pixels)[:, 0].sum(), pixels)
            errors[draws] = float((gradient - 1).square().mean().sqrt())  # the expected gradient is 1 everywhere
    assert 5 < errors[1] / errors[100] < 20
    with pytest.raises(SettingError, match="at least 1"):
        averaged(model, 0)
    assert averaged(model, 1) is model


def test_averaged_scores_follow_from_the_seed_and_the_image() -> None:
    """Whatever the state of the global generator, which stays as it is, the batch, and earlier queries."""
    noisy, images = behind("random shift and noise"), pictures(3, 7)[0]
    model = averaged(noisy, 4, seed=5)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        state = torch.get_rng_state()
        expected = model(images)
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(1)
        assert torch.equal(torch.cat([model(image) for image in images.split(1)]), expected)
        assert not torch.equal(averaged(noisy, 4, seed=6)(images), expected)
        assert (
            len(
                {
                    tuple(row)
                    for row in averaged(noisy, 4)(images[:1] + torch.tensor([0, 1e-6]).view(2, 1, 1, 1)).tolist()
                }
            )
            == 2
        )
    with torch.inference_mode():
        assert not torch.equal(model(images), expected)  # an attack cannot select the draws that evaluate it


def test_the_worst_case_of_a_randomised_network_repeats_in_any_batch() -> None:
    data = list(zip(pictures(5, 6)[0], pictures(5, 6)[1].tolist()))
    found = []
    with torch.random.fork_rng():
        for state, batch in ((0, 5), (1, 2)):
            torch.manual_seed(state)
            noisy = behind("random shift and noise")
            strength = Strength(4, 1, 5)
            found.append(worst_case(noisy, data, radius=4 / 255, strength=strength, draws=3, batch_size=batch))
    assert found[0].by == found[1].by and torch.equal(found[0].images, found[1].images)


def test_signs_do_not_depend_on_the_batch() -> None:
    model, among = behind("saturated probabilities"), subjects(trained("relu"), 6)
    shown = [
        [
            sign.share.value
            for sign in signs_of(model, among, QUIET, radius=RADIUS, steps=2, queries=3, batch_size=size).signs
        ]
        for size in (6, 4)
    ]
    assert shown[0] == shown[1]


def test_worst_case_over_averaged_draws_misleads_a_randomised_network_more_often() -> None:
    images, labels = pictures(16, 6)
    noisy = behind("random shift and noise")
    data = list(zip(images, labels.tolist()))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = worst_case(noisy, data, radius=16 / 255, strength=Strength(8, 1, 10), draws=8)
    assert found.draws == 8 and found.success.float().mean() > 0.9

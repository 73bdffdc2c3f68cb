"""Images about which an attack proves nothing: their gradients vanish, or their scores never change."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from deepscope.attacks import DDN, PGD, Attack, Boundary, DeepFool, OnePixel, Square, Subjects, Universal, Untargeted
from deepscope.attacks.outcome import Outcome, run_attack
from deepscope.session import Session
from networks import tiny_model


class Round(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs * 15).round() / 15


class Cut(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.detach()


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.factor


class NotANumber(torch.autograd.Function):
    @staticmethod
    def forward(_: object, inputs: Tensor) -> Tensor:
        return inputs.clone()

    @staticmethod
    def backward(_: object, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return gradient * float("nan")


class Broken(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return NotANumber.apply(inputs)  # pyright: ignore[reportReturnType]


MASKED = {
    "probabilities at temperature 1e-4": (nn.Identity(), nn.Sequential(Times(1e5), nn.Softmax(1))),
    "hard sigmoid": (nn.Identity(), nn.Sequential(Times(1e3), nn.Hardsigmoid(), Times(20))),
    "quantised": (Round(), nn.Identity()),
    "detached": (Cut(), nn.Identity()),
    "gradient is not a number": (Broken(), nn.Identity()),
}
HONEST = {"plain": nn.Identity(), "logits at temperature 1e-4": Times(1e4), "probabilities": nn.Softmax(1)}


def evaluated(before: nn.Module, after: nn.Module, attack: Attack) -> Outcome:
    plain = tiny_model()
    model = replace(plain, network=nn.Sequential(before, plain.network, after))
    images = torch.randint(256, (5, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
    rng = torch.Generator().manual_seed(0)
    labels = model(images.float() / 255).argmax(1)
    subjects = Subjects(images, labels, Untargeted(labels))
    return run_attack(attack, model, subjects, Session(quiet=True), rng=rng, batch_size=3)


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize(
    "attack", [PGD(1 / 255, steps=3, random_start=False), DDN(steps=3), DeepFool(steps=3), Universal(1 / 255, steps=3)]
)
def test_images_whose_gradient_vanishes_are_named(name: str, attack: Attack) -> None:
    before, after = MASKED[name]
    found = evaluated(before, after, attack)
    assert not any(verdict.success for verdict in found.verdicts[-1])
    assert found.vanished.all()


@pytest.mark.parametrize("name", ["probabilities at temperature 1e-4", "hard sigmoid"])
@pytest.mark.parametrize("attack", [Square(1 / 255, queries=5), OnePixel(queries=40, population=10)])
def test_images_whose_scores_never_change_are_named(name: str, attack: Attack) -> None:
    before, after = MASKED[name]
    found = evaluated(before, after, attack)
    assert not any(verdict.success for verdict in found.verdicts[-1])
    assert found.vanished.all()


@pytest.mark.parametrize("name", HONEST)
@pytest.mark.parametrize("attack", [Square(1 / 255, queries=1), OnePixel(queries=20), Boundary(queries=60)])
def test_the_scores_of_an_honest_network_change(name: str, attack: Attack) -> None:
    assert not evaluated(nn.Identity(), HONEST[name], attack).vanished.any()


class Faint(nn.Module):
    """Passes values on, and a part of the gradient."""

    def __init__(self, part: float) -> None:
        super().__init__()
        self.part = part

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.detach() + self.part * (inputs - inputs.detach())


@pytest.mark.parametrize("part", [1e-20, 1e-36, 1e-40])
def test_deepfool_finds_the_direction_of_a_gradient_whose_square_underflows(part: float) -> None:
    found = evaluated(Faint(part), nn.Identity(), DeepFool(steps=3))
    assert all(verdict.success for verdict in found.verdicts[-1])


@pytest.mark.parametrize("name", HONEST)
@pytest.mark.parametrize(
    "attack", [PGD(1 / 255, steps=3), DDN(steps=3), DeepFool(steps=3), Universal(1 / 255, steps=3)]
)
def test_no_gradient_of_an_honest_network_vanishes(name: str, attack: Attack) -> None:
    assert not evaluated(nn.Identity(), HONEST[name], attack).vanished.any()


def test_attacks_without_gradients_have_none_that_vanish() -> None:
    assert not evaluated(Cut(), nn.Identity(), Square(1 / 255, queries=5)).vanished.any()

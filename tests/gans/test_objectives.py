from __future__ import annotations

from math import exp, log

import pytest
import torch
from torch import Tensor

from deepscope.errors import SettingError
from deepscope.gans import (
    Architecture,
    Discriminator,
    Hinge,
    LeastSquares,
    NonSaturating,
    Objective,
    Saturating,
    WassersteinGP,
    gradient_penalty,
    r1,
)

REAL, FAKE = torch.tensor([2.0, -0.5]).double(), torch.tensor([1.0, -3.0]).double()


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def by_hand(real: Tensor, fake: Tensor, smoothing: float) -> float:
    """4.3, negative, with D(x) = sigmoid(logit)."""
    kept = [-(1 - smoothing) * log(sigmoid(x)) - smoothing * log(1 - sigmoid(x)) for x in real.tolist()]
    return sum(kept) / 2 - sum(log(1 - sigmoid(x)) for x in fake.tolist()) / 2


LOSSES = [
    (NonSaturating(), by_hand(REAL, FAKE, 0), -(log(sigmoid(1)) + log(sigmoid(-3))) / 2),
    (NonSaturating(0.1), by_hand(REAL, FAKE, 0.1), -(log(sigmoid(1)) + log(sigmoid(-3))) / 2),
    (Saturating(), by_hand(REAL, FAKE, 0), (log(1 - sigmoid(1)) + log(1 - sigmoid(-3))) / 2),
    (Saturating(0.2), by_hand(REAL, FAKE, 0.2), (log(1 - sigmoid(1)) + log(1 - sigmoid(-3))) / 2),
    (LeastSquares(), ((1 + 2.25) / 2 + (1 + 9) / 2) / 2, (0 + 16) / 2 / 2),
    (Hinge(), (0 + 1.5) / 2 + (2 + 0) / 2, -(1 - 3) / 2),
    (WassersteinGP(), (1 - 3) / 2 - (2 - 0.5) / 2, -(1 - 3) / 2),
]


@pytest.mark.parametrize(("objective", "discriminator", "generator"), LOSSES, ids=lambda case: str(case)[:24])
def test_losses_are_those_computed_by_hand(objective: Objective, discriminator: float, generator: float) -> None:
    assert float(objective.discriminator(REAL, FAKE)) == pytest.approx(discriminator)
    assert float(objective.generator(FAKE)) == pytest.approx(generator)


def test_every_objective_has_a_hand_computed_loss() -> None:
    assert {type(objective) for objective, *_ in LOSSES} == set(Objective.concrete())


@pytest.mark.parametrize("objective", [NonSaturating, Saturating])
def test_real_images_keep_a_label_above_0(objective: type[NonSaturating]) -> None:
    with pytest.raises(SettingError, match="it must be at least 0 and below 1"):
        objective(smoothing=1.5)


def test_only_the_saturating_game_loses_its_gradient_to_a_sure_discriminator() -> None:
    gradients = []
    for objective in (NonSaturating(), Saturating()):
        logits = torch.tensor([-12.0], dtype=torch.float64, requires_grad=True)
        objective.generator(logits).backward()
        assert logits.grad is not None
        gradients.append(float(logits.grad))
    assert gradients == pytest.approx([-(1 - sigmoid(-12)), -sigmoid(-12)])


def discriminator() -> Discriminator:
    torch.manual_seed(0)
    network = Discriminator(Architecture(side=16, width=2, normalisation="layer"), 1, 0).double()
    for p in network.parameters():
        p.data *= 10  # gradients that are worth a difference
    return network


def numerical(network: Discriminator, images: Tensor) -> Tensor:
    """(N, H * W) central differences of each image's own logit."""
    labels, found = torch.zeros(1, dtype=torch.int64), torch.zeros(len(images), images[0].numel(), dtype=torch.float64)
    with torch.no_grad():
        for row, image in enumerate(images):
            for pixel in range(image.numel()):
                step = torch.zeros(image.numel(), dtype=torch.float64)
                step[pixel] = 1e-6
                ends = [network(image[None] + sign * step.view_as(image), labels) for sign in (1, -1)]
                found[row, pixel] = (ends[0] - ends[1]).item() / 2e-6
    return found


def test_penalties_against_finite_differences() -> None:
    network = discriminator()
    rng = torch.Generator().manual_seed(3)
    real, fake = torch.randn(2, 2, 1, 16, 16, dtype=torch.float64, generator=rng)
    labels = torch.zeros(2, dtype=torch.int64)

    def critic(images: Tensor) -> Tensor:
        return network(images, labels)

    expected = numerical(network, real).square().sum(1).mean() / 2
    assert r1(critic, real).item() == pytest.approx(float(expected), rel=1e-5)

    share = torch.rand(2, 1, 1, 1, generator=torch.Generator().manual_seed(5)).double()
    between = real + share * (fake - real)
    expected = (numerical(network, between).norm(dim=1) - 1).square().mean()
    found = gradient_penalty(critic, real, fake, torch.Generator().manual_seed(5))
    assert found.item() == pytest.approx(float(expected), rel=1e-5)
    assert WassersteinGP(3).penalty(critic, real, fake, torch.Generator().manual_seed(5)).item() == pytest.approx(
        3 * float(expected), rel=1e-5
    )


def test_a_pack_of_images_has_one_gradient() -> None:
    torch.manual_seed(2)
    network = Discriminator(Architecture(side=16, width=2, normalisation="layer", packing=2), 1, 0).double()
    for p in network.parameters():
        p.data *= 10
    real, fake = torch.randn(2, 4, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    labels = torch.zeros(4, dtype=torch.int64)

    def squares(images: Tensor) -> Tensor:
        """Squared gradients of the two logits, one after the other."""
        found = []
        for row in range(2):
            images = images.detach().requires_grad_()
            found.append(torch.autograd.grad(network(images, labels)[row], images)[0].square().sum())
        return torch.stack(found)

    def critic(images: Tensor) -> Tensor:
        return network(images, labels)

    assert r1(critic, real).item() == pytest.approx(float(squares(real).mean() / 2))
    share = torch.rand(4, 1, 1, 1, generator=torch.Generator().manual_seed(5)).double()
    expected = (squares(torch.lerp(real, fake, share)).sqrt() - 1).square().mean()
    found = gradient_penalty(critic, real, fake, torch.Generator().manual_seed(5))
    assert found.item() == pytest.approx(float(expected))


def test_a_penalty_has_a_gradient_of_its_own() -> None:
    network = discriminator()
    images = torch.randn(2, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    labels = torch.zeros(2, dtype=torch.int64)
    weight = network.head.weight

    def penalty() -> Tensor:
        return r1(lambda x: network(x, labels), images)

    (gradient,) = torch.autograd.grad(penalty(), weight)
    with torch.no_grad():
        weight[0, 3] += 1e-6
    above = penalty().item()
    with torch.no_grad():
        weight[0, 3] -= 2e-6
    assert (above - penalty().item()) / 2e-6 == pytest.approx(gradient[0, 3].item(), rel=1e-4)

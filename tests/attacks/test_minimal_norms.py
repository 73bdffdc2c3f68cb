"""FAB and the projection it rests on: right answers are closed forms and a linear programme's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import Tensor, nn

from deepscope.attacks import FAB, Norm, Targeted, Untargeted
from deepscope.attacks.base import length
from deepscope.attacks.hyperplane import reach
from deepscope.models import Preprocessing, VisionModel

NORMS: tuple[Norm, ...] = ("linf", "l2", "l1")
SIDE = 8


def linear_model(classes: int = 4) -> VisionModel:
    layer = nn.Linear(3 * SIDE * SIDE, classes).double()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(0)))
        layer.bias.zero_()
    bare = Preprocessing(resize=SIDE, crop=SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return VisionModel("linear", nn.Sequential(nn.Flatten(), layer), bare, tuple("abcdef"[:classes]))


def images(count: int = 4) -> Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def shortest(point: Tensor, normal: Tensor, amount: float, norm: Norm) -> float:
    """The length of the shortest change inside the box, by SciPy."""
    x, w = point.flatten().numpy(), normal.flatten().numpy()
    size, low, high = len(x), -x, 1 - x
    if norm == "l2":
        found = minimize(
            lambda d: d @ d,
            w * amount / (w @ w),
            jac=lambda d: 2 * d,
            bounds=list(zip(low, high)),
            constraints={"type": "eq", "fun": lambda d: w @ d - amount, "jac": lambda _: w},
            method="SLSQP",
            options={"maxiter": 500, "ftol": 1e-14},
        )
        return float(np.sqrt(found.fun))
    eye = np.eye(size)
    if norm == "linf":  # minimise t with |d| <= t
        ones = np.ones((size, 1))
        within, cost = np.block([[eye, -ones], [-eye, -ones]]), np.r_[np.zeros(size), 1]
        bounds, equal = [*zip(low, high), (0, None)], np.r_[w, 0][None]
    else:  # minimise the sum of s with |d| <= s
        within, cost = np.block([[eye, -eye], [-eye, -eye]]), np.r_[np.zeros(size), np.ones(size)]
        bounds, equal = [*zip(low, high), *[(0, None)] * size], np.r_[w, np.zeros(size)][None]
    return float(linprog(cost, within, np.zeros(2 * size), equal, [amount], bounds).fun)


@pytest.mark.parametrize("norm", NORMS)
def test_the_projection_is_the_shortest_change_inside_the_box(norm: Norm) -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(6, 12, generator=generator, dtype=torch.float64)
    points[0, :4] = torch.tensor([0.0, 1.0, 0.0, 1.0])
    normal = torch.randn(6, 12, generator=generator, dtype=torch.float64)
    normal[1, 3] = 0
    amount = torch.tensor([1.0, -1.0, 0.3, 2.0, -0.01, 0.0], dtype=torch.float64)
    change = reach(points, normal, amount, norm)
    torch.testing.assert_close((normal * change).sum(1), amount)
    moved = points + change
    assert moved.min() >= -1e-12 and moved.max() <= 1 + 1e-12
    best = [shortest(*row, norm) for row in zip(points, normal, amount.tolist())]
    torch.testing.assert_close(length(change, norm), torch.tensor(best).double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_a_hyperplane_beyond_the_box_gives_the_corner_and_no_normal_nothing(norm: Norm) -> None:
    points = torch.full((3, 4), 0.25, dtype=torch.float64)
    normal = torch.tensor([[1.0, -1.0, 2.0, 1.0], [0.0] * 4, [float("nan"), 1.0, 1.0, 1.0]]).double()
    change = reach(points, normal, torch.tensor([100.0, 1.0, 1.0]).double(), norm)
    torch.testing.assert_close(points[0] + change[0], torch.tensor([1.0, 0.0, 1.0, 1.0]).double())
    assert not change[1:].any()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("targeted", [False, True])
def test_fab_finds_the_minimal_change_of_a_linear_network(norm: Norm, targeted: bool) -> None:
    model, pixels = linear_model(2 if targeted else 4), images()  # on the way to a target lie other classes
    weights, logits = model.network.get_parameter("1.weight"), model(pixels).detach()
    own = logits.argmax(1)
    criterion = Targeted(1 - own) if targeted else Untargeted(own)
    settings = {"steps": 25 if norm == "linf" else 40, "overshoot": 0.001, "retreat": 0.999, "levels": 0}
    attack = FAB(norm=norm, **settings)  # type: ignore[arg-type]
    moved = attack(model, pixels, criterion)
    assert criterion.met(model(moved)).all()
    for row, found in enumerate(length(moved - pixels, norm).tolist()):
        others = [int(criterion.classes[row])] if targeted else [k for k in range(4) if k != own[row]]
        exact = min(
            float(
                length(
                    reach(
                        pixels[row : row + 1],
                        (weights[k] - weights[own[row]]).view(1, 3, SIDE, SIDE),
                        (logits[row, own[row]] - logits[row, k])[None],
                        norm,
                    ),
                    norm,
                )
            )
            for k in others
        )
        assert exact * (1 - 1e-9) <= found <= exact * 1.005 + 1e-9


def test_fab_stops_an_image_whose_change_is_small_enough() -> None:
    model, pixels = linear_model(), images(3)
    criterion = Untargeted(model(pixels).argmax(1))
    calls: list[int] = []
    model.network.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    FAB(steps=20, levels=0)(model, pixels, criterion)
    whole = sum(calls)
    calls.clear()
    moved = FAB(steps=20, levels=0, enough=1.0)(model, pixels, criterion)
    assert criterion.met(model(moved)).all() and sum(calls) < whole / 4

"""Networks whose output has no gradient: it is said, with the layer that loses it, before anything runs for nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deepscope import wrap
from deepscope.models import Preprocessing, VisionModel
from deepscope.models.known_gradients import with_known_gradients

SAID = "its output does not depend differentiably on the pixels"


class Shape(nn.Module):
    """Loses the gradient of its input, as masks and positions do, which costs the scores nothing."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.ones(inputs.shape[1:]).mean()


class Cut(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.detach()


class Network(nn.Module):
    """Returns a dict, as libraries of transformers do."""

    def __init__(self, inside: nn.Module, *, cut: bool = False) -> None:
        super().__init__()
        self.shape, self.cut = Shape(), cut
        self.body = nn.Sequential(nn.Flatten(), inside, nn.Linear(192, 2))

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        logits = self.shape(inputs) * self.body(inputs)
        return {"logits": logits.detach() if self.cut else logits}


class Quantised(nn.Module):
    """Its gradient exists, and is zero: what a defence looks like."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1)[:, :2].round()


class OutsidePyTorch(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return torch.from_numpy(inputs.numpy().reshape(len(inputs), -1)[:, :2] * 3)


class Failing(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1) @ torch.ones(5, 2)


def _model(network: Any) -> VisionModel:
    return wrap(network, ["cat", "dog"], preprocessing=Preprocessing(8, 8))


@pytest.mark.parametrize(
    ("network", "where"),
    [
        (Network(nn.Identity(), cut=True), "the gradient is lost in its forward method, where a call of detach()"),
        (Network(Cut()), "the gradient is lost in layer body.1 (Cut), where a call of detach()"),
        (
            OutsidePyTorch(),
            "its forward method fails where gradients are recorded, with "
            '"Can\'t call numpy() on Tensor that requires grad"',
        ),
    ],
)
def test_where_the_gradient_is_lost(network: nn.Module, where: str) -> None:
    model = _model(network)
    known = with_known_gradients(model)
    assert model.capabilities.gradients and not known.capabilities.gradients
    assert known.capabilities.reason.startswith(f"{SAID}: {where}")
    assert known.capabilities.activations and known.network is model.network
    assert not any(layer._forward_hooks for layer in network.modules()), "no hook is left behind"
    assert with_known_gradients(known) is known


@pytest.mark.parametrize("network", [Network(nn.Identity()), Quantised()])
def test_gradients_that_exist_are_left_to_the_methods(network: nn.Module) -> None:
    model = _model(network)
    assert with_known_gradients(model) is model


def test_a_network_that_cannot_run_at_all_is_not_said_to_lack_gradients() -> None:
    model = _model(Failing())
    assert with_known_gradients(model) is model


def test_a_function_without_gradients_says_so() -> None:
    model = _model(lambda pixels: pixels.detach().flatten(1)[:, :2])
    assert model.capabilities.reason == f"it is a function, and {SAID}"
    assert _model(lambda pixels: pixels.flatten(1)[:, :2]).capabilities.reason == "it is a function"

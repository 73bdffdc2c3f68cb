"""Agreement with foolbox at equal settings, on real weights where they are here."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deepscope.attacks import DDN, FGSM, PGD, PGDL2, DeepFool, Untargeted, distance
from deepscope.attacks.scale import SPREAD, spread
from deepscope.models import VisionModel, load_model
from deepscope.session import Session

_REASON = "compares with foolbox: pip install 'deepscope[peers]'"
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # foolbox's own deprecations
    foolbox = pytest.importorskip("foolbox", reason=_REASON)
    DDNAttack = pytest.importorskip("foolbox.attacks.ddn", reason=_REASON).DDNAttack
    L2DeepFoolAttack = pytest.importorskip("foolbox.attacks.deepfool", reason=_REASON).L2DeepFoolAttack
    PyTorchModel = pytest.importorskip("foolbox.models.pytorch", reason=_REASON).PyTorchModel


@pytest.fixture(scope="module")
def real(home: Path) -> tuple[VisionModel, Tensor, Tensor]:
    """SqueezeNet 1.0 and three photographs that it gets right."""
    model = load_model("squeezenet1_0", Session.open(home=home, device="cpu", quiet=True))
    names = ("n01440764_tench", "n01532829_house_finch", "n01629819_European_fire_salamander")
    pixels = model.read([home / "data" / "imagenet-sample" / f"{name}.JPEG" for name in names])
    with torch.no_grad():
        labels = model(pixels).argmax(1)
    return model, pixels, labels


class Scaled(nn.Module):
    """Another network's logits times a constant."""

    def __init__(self, network: nn.Module, factor: Tensor) -> None:
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs) * self.factor


def one_by_one(real: tuple[VisionModel, Tensor, Tensor]) -> Iterator[tuple[VisionModel, Tensor, Tensor]]:
    """Each image with the network at the scale where its rescaled cross-entropy is foolbox's plain one."""
    model, pixels, labels = real
    for image, label in zip(pixels[:, None], labels[:, None]):
        with torch.no_grad():
            factor = SPREAD / spread(model(image))
        yield replace(model, network=Scaled(model.network, factor)), image, label


def peer(model: VisionModel) -> Any:
    preprocessing = {"mean": model.preprocessing.mean, "std": model.preprocessing.std, "axis": -3}
    return PyTorchModel(model.network, bounds=(0, 1), preprocessing=preprocessing, device="cpu")


def run_peer(attack: object, model: VisionModel, pixels: Tensor, labels: Tensor, epsilon: float | None) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, clipped, _ = attack(peer(model), pixels, labels, epsilons=epsilon)  # type: ignore[operator]
    return clipped


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def agreement(ours: Tensor, theirs: Tensor) -> float:
    """The part of all channel values that agree within float rounding."""
    return ((ours - theirs).abs() < 1e-5).double().mean().item()


@pytest.mark.real
def test_fgsm_is_foolboxs(real: tuple[VisionModel, Tensor, Tensor]) -> None:
    for model, pixels, labels in one_by_one(real):
        ours = FGSM(4 / 255)(model, pixels, Untargeted(labels), rng=rng())
        theirs = run_peer(foolbox.attacks.FGSM(), model, pixels, labels, 4 / 255)
        assert agreement(ours, theirs) > 0.9999


@pytest.mark.real
def test_pgd_is_foolboxs_from_the_same_start(real: tuple[VisionModel, Tensor, Tensor]) -> None:
    """In float64: where an image is classified with certainty, foolbox's gradient in float32 is rounded."""
    model, pixels, labels = real
    doubled = replace(model, network=deepcopy(model.network).double())
    settings = {"steps": 3, "step_size": 0.4, "random_start": False, "stop_early": False, "levels": 0}
    attack = foolbox.attacks.LinfPGD(steps=3, rel_stepsize=0.4, random_start=False)
    for network, image, label in one_by_one((doubled, pixels.double(), labels)):
        ours = PGD(4 / 255, **settings)(network, image, Untargeted(label), rng=rng())
        assert agreement(ours, run_peer(attack, network, image, label, 4 / 255)) > 0.999


@pytest.mark.real
def test_pgd_l2_is_foolboxs_from_the_same_start(real: tuple[VisionModel, Tensor, Tensor]) -> None:
    """One step in float32; more in float64, for what float32 rounds grows a hundredfold in three steps over kinks."""
    model, pixels, labels = real
    doubled = replace(model, network=deepcopy(model.network).double())
    cases = [*((*case, 1, 1e-6) for case in one_by_one(real))]
    cases += [(*case, 2, 1e-12) for case in one_by_one((doubled, pixels[:1].double(), labels[:1]))]
    for network, image, label, steps, most in cases:
        attack = PGDL2(1.0, steps=steps, step_size=0.4, random_start=False, stop_early=False, levels=0)
        ours = attack(network, image, Untargeted(label), rng=rng())
        attack = foolbox.attacks.L2PGD(steps=steps, rel_stepsize=0.4, random_start=False)
        theirs = run_peer(attack, network, image, label, 1.0)
        assert distance(ours, image, "l2").min() > 0.35
        assert (ours - theirs).abs().max() < most


@pytest.mark.real
def test_deepfool_and_ddn_go_no_further_than_foolboxs(real: tuple[VisionModel, Tensor, Tensor]) -> None:
    model, pixels, labels = real
    criterion = Untargeted(labels)
    ours = DeepFool(candidates=4, steps=10, levels=0)(model, pixels, criterion, rng=rng())
    attack = L2DeepFoolAttack(steps=10, candidates=5, overshoot=0.02)  # it counts the prediction too
    theirs = run_peer(attack, model, pixels, labels, None)
    with torch.no_grad():
        assert criterion.met(model(ours)).all()
    assert (distance(ours, pixels, "l2") / distance(theirs, pixels, "l2")).max() < 1.02
    ours = DDN(steps=12, levels=0)(model, pixels, criterion, rng=rng())
    theirs = run_peer(DDNAttack(steps=12), model, pixels, labels, None)
    with torch.no_grad():
        assert criterion.met(model(ours)).all()
    assert (distance(ours, pixels, "l2") / distance(theirs, pixels, "l2")).median() < 1.02

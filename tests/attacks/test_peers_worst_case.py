"""Agreement with torchattacks at equal settings, with rounding off."""

from __future__ import annotations

import pytest
import torch

from deepscope.attacks import FAB, AutoPGD, Norm, Untargeted, distance
from networks import tiny_model

torchattacks = pytest.importorskip("torchattacks", reason="compares with torchattacks: pip install torchattacks")


@pytest.mark.parametrize(("norm", "name"), [("linf", "Linf"), ("l2", "L2")])
def test_fab_goes_no_further_than_torchattacks(norm: Norm, name: str) -> None:
    """In L1 torchattacks 3.5.1 stops with an UnboundLocalError."""
    model = tiny_model()
    pixels = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = model(pixels).argmax(1)
    ours = FAB(norm=norm, steps=20, targets=3, levels=0)(model, pixels, Untargeted(labels))  # type: ignore[arg-type]
    peer = torchattacks.FAB(
        _Pixels(model).eval(), norm=name, eps=1e3, steps=20, multi_targeted=True, n_classes=4, seed=0
    )
    theirs = peer(pixels, labels)
    with torch.no_grad():
        assert (model(ours).argmax(1) != labels).all() and (model(theirs).argmax(1) != labels).all()
    ratio = distance(ours, pixels, norm) / distance(theirs, pixels, norm)
    assert ratio.max() <= 1.01, ratio


@pytest.mark.parametrize(("norm", "name", "radius"), [("linf", "Linf", 0.01), ("l2", "L2", 0.1)])
def test_auto_pgd_misleads_whatever_torchattacks_misleads(norm: Norm, name: str, radius: float) -> None:
    model = tiny_model()
    pixels = torch.rand(24, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = model(pixels).argmax(1)
    attack = AutoPGD(radius=radius, steps=20, norm=norm, levels=0)  # type: ignore[arg-type]
    ours = attack(model, pixels, Untargeted(labels))
    theirs = torchattacks.APGD(_Pixels(model).eval(), norm=name, eps=radius, steps=20)(pixels, labels)
    with torch.no_grad():
        verdicts = [model(moved).argmax(1) != labels for moved in (ours, theirs)]
    assert not verdicts[0].all()
    assert verdicts[1].any() and not (verdicts[1] & ~verdicts[0]).any()


class _Pixels(torch.nn.Module):
    """A model as a module that takes pixels."""

    def __init__(self, model: object) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model(pixels)  # type: ignore[operator]

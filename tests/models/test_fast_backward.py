"""The fast ways back against PyTorch's own, in double precision."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from deepscope.attributions.engine import gradient
from deepscope.models import Preprocessing, VisionModel
from deepscope.models.fast_backward import BatchNorm, FastBackward, StridedConvolution


@given(
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    stride=st.integers(2, 4),
    padding=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    size=st.tuples(st.integers(7, 24), st.integers(7, 24)),
)
def test_every_geometry(kernel: tuple[int, int], stride: int, padding: tuple[int, int], size: tuple[int, int]) -> None:
    rng = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(shape, generator=rng).double() for shape in ((2, 3, *size), (5, 3, *kernel), (5,)))
    x.requires_grad_()
    plain = nn.functional.conv2d(x, weight, bias, stride, padding)
    fast = StridedConvolution.apply(x, weight, bias, stride, padding)
    assert isinstance(fast, torch.Tensor) and torch.equal(fast, plain)
    slope = torch.randn(plain.shape, generator=rng).double()
    (expected,), (found,) = torch.autograd.grad(plain, x, slope), torch.autograd.grad(fast, x, slope)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("stride", "taken"), [(2, True), (1, False)])
def test_gradient_takes_it_where_it_is_faster(stride: int, taken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    apply = StridedConvolution.apply
    monkeypatch.setattr(StridedConvolution, "apply", lambda *given: calls.append(1) or apply(*given))
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride), nn.Conv2d(4, 2, 3), nn.Flatten(), nn.LazyLinear(2))
    pixels = torch.rand(1, 3, 9, 9)
    network(pixels)
    gradient(VisionModel("two", network, Preprocessing(), ("a", "b")), pixels, torch.tensor([1]))
    assert bool(calls) == taken


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (4, 3)])
def test_batch_norm_with_fixed_statistics(affine: bool, shape: tuple[int, ...]) -> None:
    rng = torch.Generator().manual_seed(0)
    x, slope = (torch.randn(shape, generator=rng).double() for _ in range(2))
    mean, variance, weight, bias = (torch.rand(3, generator=rng).double() for _ in range(4))
    given = (mean, variance, weight, bias) if affine else (mean, variance, None, None)
    x.requires_grad_()
    plain, fast = nn.functional.batch_norm(x, *given, eps=1e-3), BatchNorm.apply(x, *given, 1e-3)
    assert isinstance(fast, torch.Tensor) and torch.equal(fast, plain)
    (expected,), (found,) = torch.autograd.grad(plain, x, slope), torch.autograd.grad(fast, x, slope)
    torch.testing.assert_close(found, expected)


def test_gradient_takes_it_for_fixed_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    apply = BatchNorm.apply
    monkeypatch.setattr(BatchNorm, "apply", lambda *given: calls.append(1) or apply(*given))
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.LazyLinear(2)
    )
    pixels = torch.rand(2, 3, 6, 6)
    network(pixels)
    model = VisionModel("normed", network, Preprocessing(), ("a", "b"))
    found, _ = gradient(model, pixels, torch.tensor([1, 0]))
    leaf = pixels.clone().requires_grad_()
    (expected,) = torch.autograd.grad(model(leaf).gather(1, torch.tensor([[1], [0]])).sum(), leaf)
    assert calls == [1]
    torch.testing.assert_close(found, expected)


class Normed(nn.Module):
    """A convolution and its batch norm; what the convolution puts out may serve elsewhere too, or it may run twice."""

    def __init__(self, *, affine: bool, bias: bool, way: str) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 4, 3, 2, bias=False), nn.Conv2d(4, 4, 3, padding=1, bias=bias)
        self.first, self.norm = nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=affine, eps=1e-2)
        self.head, self.way = nn.Linear(4, 3), way
        for norm in (self.first, self.norm):
            for tensor in (norm.running_mean, norm.running_var):
                assert tensor is not None
                tensor.uniform_(0.2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) -> (N, 3)."""
        x = self.first(self.stem(x)).relu()
        between = self.conv(x)
        x = self.norm(between).relu()
        if self.way == "output used again":
            x = torch.cat([x, between], 2)
        if self.way == "run again":
            x = self.norm(self.conv(x)).tanh()
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("way", ["plain", "output used again", "run again"])
def test_batch_norms_are_folded_only_where_that_changes_nothing(affine: bool, bias: bool, way: str) -> None:
    torch.manual_seed(0)
    network = Normed(affine=affine, bias=bias, way=way).double()
    model = VisionModel("normed", network, Preprocessing(), ("a", "b", "c"))
    pixels, target = torch.rand(3, 3, 11, 9).double(), torch.tensor([2, 0, 1])
    kept = [tensor.clone() for tensor in network.state_dict().values()]
    fast, ran = FastBackward.of(model, pixels), []
    for norm in (network.first, network.norm):
        norm.register_forward_hook(lambda module, given, output: ran.append(output is not given[0]))
    found, logit = gradient(model, pixels, target, fast=fast)
    assert sum(ran) == {"plain": 0, "output used again": 1, "run again": 2}[way]
    expected, plain = gradient(model, pixels, target)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(logit, plain)
    assert all(torch.equal(a, b) for a, b in zip(kept, network.state_dict().values()))

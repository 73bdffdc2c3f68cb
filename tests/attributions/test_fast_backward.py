"""The fast ways back against PyTorch's own, in double precision."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from deepscope.attributions.engine import gradient
from deepscope.attributions.fast_backward import BatchNorm, StridedConvolution
from deepscope.models import Preprocessing, VisionModel


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

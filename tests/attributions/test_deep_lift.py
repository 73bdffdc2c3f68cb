"""DeepLIFT against a slow rescale rule, written out with Jacobian matrices; its completeness on real architectures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import deepscope
from architectures import ARCHITECTURES, Architecture
from deepscope.attributions import DeepLIFT
from deepscope.errors import UnsupportedError
from deepscope.models.preprocessing import Preprocessing
from deepscope.models.vision_model import VisionModel
from real_networks import random_weights, real_weights


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


class Gated(nn.Module):
    """One activation module used twice, once in place; a functional one; max pooling; a gate; a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.gate = nn.Conv2d(4, 4, 1)
        self.act = nn.ReLU6(inplace=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x) * 4)
        x = F.max_pool2d(x, 2)
        y = self.act(self.second(x))
        y = y * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(y, 1)))
        y += x
        return self.head(F.hardswish(y).mean((2, 3)))


def jacobian(func: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """(outputs, inputs) matrix of a linear map of one image."""
    return torch.autograd.functional.jacobian(func, at).reshape(func(at).numel(), at.numel())  # type: ignore[union-attr]


def quotient(func: Callable[[Tensor], Tensor], x: Tensor, zero: Tensor) -> Tensor:
    """(n, n) diagonal matrix of the rescale rule; the derivative where nothing differs."""
    leaf = x.detach().requires_grad_()
    derivative = torch.autograd.grad(func(leaf).sum(), leaf)[0]
    return torch.diag(torch.where(x == zero, derivative, (func(x) - func(zero)) / (x - zero)).flatten())


def slow_multipliers(net: Gated, x: Tensor, zero: Tensor) -> Tensor:
    """(3, inputs) multipliers of the three logits, one matrix an operation, written out for `Gated` alone."""

    def pooled(values: Tensor) -> Tensor:
        return F.max_pool2d(values, 2)

    def relu6(values: Tensor) -> Tensor:
        return values.clamp(0, 6)

    first, first0 = net.first(x) * 4, net.first(zero) * 4
    act, act0 = relu6(first), relu6(first0)
    m_act = quotient(relu6, first, first0) @ jacobian(lambda v: net.first(v) * 4, x)
    pool, pool0 = pooled(act), pooled(act0)
    m_pool = torch.zeros(pool.numel(), act.numel(), dtype=x.dtype)
    channels, height, width = pool.shape[1:]
    for row in range(pool.numel()):
        c, i, j = row // (height * width), row // width % height, row % width
        window = [(c, 2 * i + a, 2 * j + b) for a in (0, 1) for b in (0, 1)]
        change = pool[0, c, i, j] - pool0[0, c, i, j]
        side = act if change >= 0 else act0
        winner = max(window, key=lambda place: float(side[(0, *place)]))
        moved = act[(0, *winner)] - act0[(0, *winner)]
        flat = (winner[0] * 2 * height + winner[1]) * 2 * width + winner[2]
        m_pool[row, flat] = change / moved if moved != 0 else 1.0
    m_pool = m_pool @ m_act
    second, second0 = net.second(pool), net.second(pool0)
    y, y0 = relu6(second), relu6(second0)
    m_y = quotient(relu6, second, second0) @ jacobian(net.second, pool) @ m_pool
    mean, mean0 = F.adaptive_avg_pool2d(y, 1), F.adaptive_avg_pool2d(y0, 1)
    pre, pre0 = net.gate(mean), net.gate(mean0)
    m_gate = quotient(torch.sigmoid, pre, pre0) @ jacobian(lambda v: net.gate(F.adaptive_avg_pool2d(v, 1)), y) @ m_y
    gate, gate0 = torch.sigmoid(pre), torch.sigmoid(pre0)
    spread = torch.zeros(y.numel(), channels, dtype=x.dtype)
    for row in range(y.numel()):
        spread[row, row // (height * width)] = (y + y0).flatten()[row] / 2
    m_product = torch.diag(((gate + gate0) / 2).expand_as(y).flatten()) @ m_y + spread @ m_gate
    total, total0 = y * gate + pool, y0 * gate0 + pool0
    m_total = m_product + m_pool
    return jacobian(lambda v: net.head(v.mean((2, 3))), total) @ quotient(F.hardswish, total, total0) @ m_total


def test_against_the_rescale_rule_written_out() -> None:
    torch.manual_seed(4)
    net = Gated().double()
    model = VisionModel("gated", net, Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3), ("a", "b", "c"))
    pixels = torch.rand(3, 3, 6, 8, dtype=torch.float64)
    target = torch.tensor([2, 0, 1])
    shares = DeepLIFT()(model, pixels, target, rng=rng())
    zero = model.normalise(torch.zeros(1, 3, 6, 8, dtype=torch.float64))
    for image in range(3):
        x = model.normalise(pixels[image, None])
        expected = slow_multipliers(net, x, zero)[target[image]].view(1, 3, 6, 8) * (x - zero)
        torch.testing.assert_close(shares[image, None], expected)


def assert_complete(model: VisionModel, pixels: Tensor) -> None:
    with torch.no_grad():
        logits, without = model(pixels), model(torch.zeros_like(pixels))
    target = logits.argmax(1)
    shares = DeepLIFT()(model, pixels, target, rng=rng())
    change = (logits - without).gather(1, target[:, None])[:, 0]
    assert ((shares.sum((1, 2, 3)) - change).abs() <= 1e-4 * change.abs()).all()


@pytest.mark.parametrize(
    "name", ["torchvision:resnet18", "torchvision:mobilenet_v3_small", "timm:mobilenetv3_small_100"]
)
def test_completeness_with_seeded_random_weights(name: str) -> None:
    model = random_weights(name)
    coarse = torch.rand(3, 3, 24, 24, generator=rng())
    assert_complete(model, F.interpolate(coarse, (128, 112), mode="bilinear"))


@pytest.mark.real
@pytest.mark.parametrize("name", ["squeezenet1_0", "efficientnet_lite0"])
def test_completeness_with_real_weights(name: str, home: Path) -> None:
    model = real_weights(name, home)
    paths = sorted((home / "data" / "imagenet-sample").iterdir())[10:90:40]
    assert_complete(model, model.read(paths))


def test_an_operation_without_a_rule_is_found_out() -> None:
    class Strange(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cumprod(x.mean((2, 3)) * 3, dim=1)

    model = VisionModel("strange", Strange(), Preprocessing(), ("a", "b", "c"))
    with pytest.raises(UnsupportedError, match="no rule for an operation of strange"):
        DeepLIFT()(model, torch.rand(1, 3, 8, 8), torch.tensor([2]), rng=rng())


class Mixing(nn.Module):
    """Layer norm, a product of two activations, a softmax over tokens that weighs values, and a gate with GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.query, self.key, self.value, self.gate = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, image: Tensor) -> Tensor:
        x = self.norm(F.unfold(image, 2, stride=2).transpose(1, 2)[..., :4])
        scores = self.query(x) @ self.key(x).transpose(1, 2)
        mixed = scores.softmax(-1) @ self.value(x)
        return (mixed * F.gelu(self.gate(x))).sum(1)


def secant(func: Callable[[float], float], x: float, zero: float) -> float:
    """The rescale rule for one number."""
    return (func(x) - func(zero)) / (x - zero)


def slow_norm(x: Tensor, zero: Tensor, layer: nn.LayerNorm) -> Tensor:
    """(tokens, out, in) multipliers of a layer norm: centred, times the reciprocal root of the mean square."""
    count = x.shape[1]
    rows = []
    for token, other in zip(x - x.mean(1, keepdim=True), zero - zero.mean(1, keepdim=True)):
        energy, energy0 = float(token.square().mean()), float(other.square().mean())
        root, root0 = ((one + layer.eps) ** -0.5 for one in (energy, energy0))
        slope = secant(lambda v: (v + layer.eps) ** -0.5, energy, energy0)
        inner = torch.eye(count, dtype=x.dtype) * (root + root0) / 2
        for i in range(count):
            for j in range(count):  # v moves by (token + other) / count for every step of x
                inner[i, j] += (token[i] + other[i]) / 2 * slope * (token[j] + other[j]) / count
        centre = torch.eye(count, dtype=x.dtype) - 1 / count
        rows.append(layer.weight[:, None] * (inner @ centre))
    return torch.stack(rows)


def slow_softmax(x: Tensor, zero: Tensor) -> Tensor:
    """(out, in) multipliers of the softmax of a vector: exponentials times the reciprocal of their sum."""
    here, there = x.exp(), zero.exp()
    total, total0 = float(here.sum()), float(there.sum())
    found = torch.zeros(len(x), len(x), dtype=x.dtype)
    for j in range(len(x)):
        slope = secant(lambda v: float(torch.tensor(v, dtype=x.dtype).exp()), float(x[j]), float(zero[j]))
        found[j, j] += slope * (1 / total + 1 / total0) / 2
        for i in range(len(x)):
            found[i, j] += (here[i] + there[i]) / 2 * secant(lambda v: 1 / v, total, total0) * slope
    return found


@torch.no_grad()
def test_norm_softmax_and_products_are_the_rule_written_out() -> None:
    torch.manual_seed(2)
    net = Mixing().double().requires_grad_(False)
    for part in (net.query, net.key, net.value, net.gate):
        part.weight.normal_(0, 1)
    net.norm.weight.uniform_(0.5, 2)
    model = VisionModel("mixing", net, Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3), ("a", "b", "c", "d"))
    pixels = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    patches, patches0 = (
        F.unfold(model.normalise(one), 2, stride=2)[0].T[:, :4] for one in (pixels, torch.zeros_like(pixels))
    )
    x, x0 = net.norm(patches), net.norm(patches0)
    (q, q0), (k, k0), (v, v0), (g, g0) = ((part(x), part(x0)) for part in (net.query, net.key, net.value, net.gate))
    scores, scores0 = q @ k.T, q0 @ k0.T
    a, a0 = scores.softmax(-1), scores0.softmax(-1)
    mixed, mixed0 = a @ v, a0 @ v0
    gelu, gelu0 = F.gelu(g), F.gelu(g0)
    target = 1
    wanted = torch.zeros(4, 4, dtype=torch.float64)  # multipliers of the tokens after the norm
    for token in range(4):
        of_mixed, of_gelu = (gelu + gelu0)[token, target] / 2, (mixed + mixed0)[token, target] / 2
        slope = float((gelu - gelu0)[token, target] / (g - g0)[token, target])
        wanted[token] += of_gelu * slope * net.gate.weight[target]
        of_scores = of_mixed * (v + v0)[:, target] / 2 @ slow_softmax(scores[token], scores0[token])
        for other in range(4):
            wanted[other] += of_mixed * (a + a0)[token, other] / 2 * net.value.weight[target]
            wanted[token] += of_scores[other] * (k + k0)[other] / 2 @ net.query.weight
            wanted[other] += of_scores[other] * (q + q0)[token] / 2 @ net.key.weight
    multipliers = torch.einsum("to,toi->ti", wanted, slow_norm(patches, patches0, net.norm))
    shares = multipliers * (patches - patches0)
    found = F.unfold(DeepLIFT()(model, pixels, torch.tensor([target]), rng=rng()), 2, stride=2)[0].T
    torch.testing.assert_close(found[:, :4], shares, rtol=1e-8, atol=1e-10)
    assert not found[:, 4:].any()


@pytest.mark.parametrize("architecture", [one for one in ARCHITECTURES if one.classes], ids=lambda one: one.name)
@torch.no_grad()
def test_completeness_on_every_architecture(architecture: Architecture) -> None:
    """To 1e-4 of the difference of the logits, or 1e-7 of the logit: some networks compute in single precision."""
    model, pixels = architecture.model(), architecture.pixels(count=1)
    logits, without = model(pixels), model(torch.zeros_like(pixels))
    target = logits.argmax(1)
    shares = DeepLIFT()(model, pixels, target, rng=rng())
    change = float((logits - without)[0, target])
    assert abs(float(shares.sum()) - change) <= max(1e-4 * abs(change), 1e-7 * float(logits.amax()))


def test_completeness_of_a_transformer_in_single_precision() -> None:
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=96)
    with torch.no_grad():
        network.head.weight.normal_(0, 0.1)  # type: ignore[union-attr]
    model = VisionModel("vit-tiny", network, Preprocessing(96, 96), tuple("abcde"))
    assert_complete(model, F.interpolate(torch.rand(2, 3, 12, 12, generator=rng()), (96, 96), mode="bilinear"))


class Named(nn.Module):
    """A network that names the operands of functions, as transformers' code does."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(3, 6)

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.project(pixels.flatten(2).transpose(1, 2))
        mixed = F.scaled_dot_product_attention(query=tokens, key=tokens, value=tokens)
        return torch.matmul(F.softmax(input=mixed, dim=-1).mean(1), other=torch.ones(6, 2).triu().to(mixed))


def test_operands_may_be_given_by_name() -> None:
    torch.manual_seed(0)
    model = deepscope.wrap(Named().double(), ["a", "b"], preprocessing=Preprocessing(8, 8))
    pixels, target = torch.rand(2, 3, 8, 8, dtype=torch.float64), torch.tensor([0, 1])
    shares = DeepLIFT()(model, pixels, target)
    with torch.no_grad():
        rise = model(pixels) - model(torch.zeros_like(pixels))
    torch.testing.assert_close(shares.sum((1, 2, 3)), rise.gather(1, target[:, None])[:, 0])

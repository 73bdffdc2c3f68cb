"""The fast ways back against PyTorch's own, in double precision."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import cast

import pytest
import timm
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.autograd import forward_ad
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from deepscope.attributions.engine import gradient
from deepscope.models import Preprocessing, VisionModel, packed
from deepscope.models.fast_backward import FastBackward
from deepscope.models.fast_functions import BatchNorm, StridedConvolution
from layer_orders import ORDERS, closed, convolution, norm, shaken


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
        for fixed in (self.first, self.norm):
            for tensor in (fixed.running_mean, fixed.running_var):
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
    fast = FastBackward.of(model, pixels)
    found, logit = gradient(model, pixels, target, fast=fast)
    assert len(fast._norms) == {"plain": 2, "output used again": 1, "run again": 1}[way]
    expected, plain = gradient(model, pixels, target)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(logit, plain)
    assert all(torch.equal(a, b) for a, b in zip(kept, network.state_dict().values()))


def assert_as_autograd(network: nn.Module, pixels: torch.Tensor, *, classes: int = 3, tolerance: float = 1e-9) -> None:
    """Prepared or not, logits and gradients are those of autograd."""
    model = VisionModel("any", network, Preprocessing(), tuple(map(str, range(classes))))
    target = torch.arange(len(pixels)) % classes
    leaf = pixels.clone().requires_grad_()
    expected = model(leaf).gather(1, target[:, None])[:, 0]
    (slope,) = torch.autograd.grad(expected.sum(), leaf)
    for fast in (None, FastBackward.of(model, pixels)):
        found, logit = gradient(model, pixels, target, fast=fast)
        assert (found - slope).norm() <= tolerance * slope.norm()
        torch.testing.assert_close(logit, expected.detach(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("images", [1, 8])
def test_any_order_of_layers(order: str, images: int) -> None:
    torch.manual_seed(0)
    for _ in range(5):  # what is freed in between may be found again at the same address
        assert_as_autograd(shaken(ORDERS[order]()), torch.rand(images, 3, 12, 12).double())


@pytest.mark.parametrize(
    "reparametrised",
    [parametrizations.weight_norm, parametrizations.spectral_norm, nn.utils.weight_norm, nn.utils.spectral_norm],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
def test_weights_that_are_made_in_each_pass(reparametrised: Callable[[nn.Module], nn.Module]) -> None:
    torch.manual_seed(0)
    layers = [m for inputs in (3, 6, 6) for m in (reparametrised(convolution(inputs)), norm(), nn.ReLU())]
    assert_as_autograd(shaken(closed(*layers)), torch.rand(4, 3, 12, 12).double())


class Steered(nn.Module):
    """A network whose layers depend on the image in ways that one pass does not show.

    `way`: "weight", a convolution's weight comes from the image; "scale", a batch norm's does; "hidden", an operation
    that PyTorch does not announce reads the convolution. For dark images: "branch", the batch norm is left out; "added"
    and "hidden later", the convolution serves elsewhere as well; "in place", it is changed; "number", its mean decides.
    """

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.conv, self.norm, self.rest = way, nn.Conv2d(3, 6, 3, 2), norm(), closed(nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, scale = self.conv.weight, self.norm.weight
        if self.way == "weight":
            weight = weight * x.mean()
        if self.way == "scale":
            scale = scale * x.mean()
        between = nn.functional.conv2d(x, weight, self.conv.bias, (2, 2), (0, 0), (1, 1), 1)
        dark = x.mean() < 0
        if self.way == "branch" and dark:
            return self.rest(between)
        if self.way == "in place" and dark:
            between[:, ::2] = 0.5
        if self.way == "number" and dark and between.mean().item() > -9:
            between = between * between.flatten(1)[0, 0].item()
        after = nn.functional.batch_norm(between, self.norm.running_mean, self.norm.running_var, scale, self.norm.bias)
        if self.way == "added" and dark:
            after = after + between
        if self.way == "hidden" or (self.way == "hidden later" and dark):
            after = after + Doubled.apply(between)  # pyright: ignore[reportOperatorIssue]
        return self.rest(after)


class Doubled(torch.autograd.Function):
    """Twice the input; a custom function's call reaches no `TorchFunctionMode`."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: object, *slopes: torch.Tensor) -> torch.Tensor:
        return 2 * slopes[0]


@pytest.mark.parametrize("way", ["weight", "scale", "hidden", "branch", "added", "in place", "number", "hidden later"])
def test_networks_that_take_another_way(way: str) -> None:
    torch.manual_seed(0)
    network = shaken(Steered(way))
    pixels = torch.rand(4, 3, 12, 12).double()
    assert_as_autograd(network, pixels)
    model = VisionModel("steered", network, Preprocessing(), ("a", "b", "c"))
    fast = FastBackward.of(model, pixels + 10)
    dark = torch.zeros(2, 3, 12, 12).double()
    leaf, target = dark.clone().requires_grad_(), torch.tensor([0, 1])
    (slope,) = torch.autograd.grad(model(leaf).gather(1, target[:, None]).sum(), leaf)
    torch.testing.assert_close(gradient(model, dark, target, fast=fast)[0], slope)


def test_a_network_that_differs_is_not_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = VisionModel("normed", shaken(closed(convolution(3), norm())), Preprocessing(), ("a", "b", "c"))
    pixels = torch.rand(2, 3, 9, 9).double()
    assert len(FastBackward.of(model, pixels)._norms) == 1
    wrong = lambda weight, bias, *_: (2 * weight, weight.new_zeros(len(weight)))  # noqa: E731
    monkeypatch.setattr("deepscope.models.fast_backward.folded", wrong)
    assert not len(FastBackward.of(model, pixels)._convolutions)


LIBRARY = {
    "torchvision:densenet121": 64, "torchvision:resnet18": 48, "timm:test_resnet": 48, "timm:test_efficientnet": 48,
    "timm:test_byobnet": 48, "timm:test_nfnet": 48, "timm:test_convnext": 48, "timm:test_vit": 160,
    "timm:mobileone_s0": 48, "timm:nf_regnet_b0": 64, "timm:resnetv2_50x1_bit": 48, "timm:ghostnet_100": 48,
}  # fmt: skip


@pytest.mark.parametrize("name", LIBRARY)
def test_networks_of_the_libraries(name: str) -> None:
    torch.manual_seed(0)
    library, _, architecture = name.partition(":")
    create = timm.create_model if library == "timm" else torchvision.models.get_model
    network = shaken(create(architecture, num_classes=3))
    assert_as_autograd(network, torch.rand(2, 3, LIBRARY[name], LIBRARY[name]).double(), tolerance=1e-7)


def test_a_network_without_a_gradient_is_left_alone() -> None:
    network = nn.Sequential(nn.Flatten(), Rounded(), nn.LazyLinear(3))
    pixels = torch.rand(2, 3, 4, 4)
    network(pixels)
    model = VisionModel("rounded", network, Preprocessing(), ("a", "b", "c"))
    fast = FastBackward.of(model, pixels)
    assert torch.equal(fast.run(lambda: model(pixels)), model(pixels))


class Rounded(nn.Module):
    """Cuts the graph."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.detach().round()


class Functional(nn.Module):
    """Convolutions as functions, with settings in every form that PyTorch takes."""

    def __init__(self, *settings: object) -> None:
        super().__init__()
        self.conv, self.rest, self.settings = nn.Conv2d(3, 6, 3), closed(norm(), nn.ReLU()), settings

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rest(torch.conv2d(x, self.conv.weight, self.conv.bias, *self.settings))  # pyright: ignore


@pytest.mark.parametrize(
    "settings",
    [
        (2, 1, 1, 1),
        ((2,), (1,), (1,), 1),
        ((2, 2), 1, 1, 1),
        (2, (0, 1), (1,), 1),
        ((2, 1), 0, 1, 1),
        (1, "same", 1, 1),
    ],
)
def test_settings_of_a_convolution_in_any_form(settings: tuple[object, ...]) -> None:
    torch.manual_seed(0)
    assert_as_autograd(shaken(Functional(*settings)), torch.rand(3, 3, 11, 9).double())


class Checkpointed(nn.Module):
    """Runs its layers again on the way back, to save memory."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, 2), norm(), nn.ReLU(), convolution(), norm())
        self.rest = closed(nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rest(checkpoint(self.first, x, use_reentrant=False))


def test_a_network_that_runs_parts_again_on_the_way_back() -> None:
    torch.manual_seed(0)
    assert_as_autograd(shaken(Checkpointed()), torch.rand(3, 3, 12, 12).double())


def test_a_hook_reads_what_the_plain_network_gives() -> None:
    torch.manual_seed(0)
    network = shaken(ORDERS["norms side by side"]())
    model = VisionModel("hooked", network, Preprocessing(), ("a", "b", "c"))
    pixels, target = torch.rand(2, 3, 9, 9).double(), torch.tensor([0, 1])
    fast, seen = FastBackward.of(model, pixels), []
    assert len(fast._norms)
    layer = next(module for module in network.modules() if isinstance(module, nn.Conv2d) and module.in_channels == 6)
    layer.register_forward_hook(lambda *run: seen.append(run[2].clone()))
    gradient(model, pixels, target, fast=fast)
    model(pixels)
    torch.testing.assert_close(seen[-2].detach(), seen[-1])


class Mixed(nn.Module):
    """Linear layers on tokens, convolutions of one pixel, and layers that change their input in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 12, 3, 2, padding=1), nn.Conv2d(12, 40, 1)
        self.norm, self.narrow = nn.BatchNorm2d(40), nn.Conv2d(40, 16, 1, bias=False)
        self.up, self.down, self.head = nn.Linear(16, 48), nn.Linear(48, 16, bias=False), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) -> (N, 3)."""
        x = torch.relu_(self.stem(x))
        x = torch.relu_(self.norm(torch.relu_(self.wide(x))))
        x = torch.relu_(self.narrow(x)).flatten(2).transpose(1, 2)
        return self.head((x + self.down(nn.functional.gelu(self.up(x)))).mean(1))


def mixed() -> VisionModel:
    torch.manual_seed(0)
    return VisionModel("mixed", Mixed(), Preprocessing(), ("a", "b", "c"))


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of what laid out matrices are multiplied by."""
    packed._available()  # which multiplies too, once per process
    found: list[tuple[int, ...]] = []
    times = packed.Matrix.times
    monkeypatch.setattr(packed.Matrix, "times", lambda self, x, bias: found.append(x.shape) or times(self, x, bias))
    return found


def available() -> None:
    if not packed._available():
        pytest.skip("PyTorch has no such products on this processor")


@pytest.mark.parametrize("way", ["on", "of"])
def test_products_with_fixed_weights_are_those_of_plain_pytorch(way: str, products: list[tuple[int, ...]]) -> None:
    available()
    model, pixels, target = mixed(), torch.rand(2, 3, 32, 32), torch.tensor([2, 0])
    fast = FastBackward.of(model, pixels) if way == "of" else FastBackward.on(pixels.device)
    products.clear()
    found, logits = gradient(model, pixels, target, fast=fast)
    forward, linears = [(2, 16, 16, 12), (2, 16, 16, 40)], [(2, 256, 16), (2, 256, 48)]
    heads = [[(2, 16)], [(2, 3)]] if way == "of" else [[], []]
    backward = [*heads[1], (2, 256, 16), (2, 256, 48), (2, 16, 16, 16), (2, 16, 16, 40)]
    assert products == [*forward, *linears, *heads[0], *backward]
    double = VisionModel("mixed", copy.deepcopy(model.network).double(), Preprocessing(), ("a", "b", "c"))
    leaf = pixels.double().requires_grad_()
    expected = double(leaf).gather(1, target[:, None])[:, 0]
    (slope,) = torch.autograd.grad(expected.sum(), leaf)
    torch.testing.assert_close(logits.double(), expected.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.double(), slope, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(fast.run(lambda: model(pixels)), model(pixels))


WRITTEN: dict[str, Callable[[torch.Tensor], object]] = {
    "in place": lambda weight: weight.mul_(2),
    "through data": lambda weight: weight.data.mul_(2),
    "one number through data": lambda weight: weight.data.view(-1)[weight.numel() // 3].add_(1),
    "other memory": lambda weight: setattr(weight, "data", weight.data * 2),
    "made in inference mode": lambda weight: _in_inference_mode(weight),
}


def _in_inference_mode(weight: torch.Tensor) -> None:
    with torch.inference_mode():
        weight.data.add_(1)


@pytest.mark.parametrize("way", WRITTEN)
def test_a_weight_that_changes_is_laid_out_again(way: str, products: list[tuple[int, ...]]) -> None:
    available()
    layer, x = nn.Linear(24, 32).requires_grad_(False), torch.randn(300, 24)
    matrices = packed.Matrices(least=2)
    for _ in range(2):
        found = matrices.linear(x, layer.weight, layer.bias)
        assert found is not None
        torch.testing.assert_close(found, layer(x))
        WRITTEN[way](layer.weight)
    assert len(products) == 2


def _rescaled(network: Normed) -> None:
    network.norm.eps = 5.0


def _in_training(network: Normed) -> None:
    network.norm.train()


def _another_bias(network: Normed) -> None:
    network.conv.bias = nn.Parameter(torch.ones(4).double(), requires_grad=False)


CHANGED: dict[str, Callable[[Normed], object]] = {
    **{
        f"{name}, {way}": lambda network, name=name, write=write: write(
            cast("torch.Tensor", network.get_submodule(name).weight)
        )
        for name in ("conv", "norm", "head")
        for way, write in WRITTEN.items()
    },
    "mean": lambda network: cast("torch.Tensor", network.norm.running_mean).data[1].add_(1),
    "variance": lambda network: cast("torch.Tensor", network.first.running_var).mul_(3),
    "bias of the convolution": lambda network: network.conv.bias.data.add_(1),  # pyright: ignore
    "another bias": _another_bias,
    "epsilon": _rescaled,
    "training": _in_training,
}


@pytest.mark.parametrize("change", CHANGED)
def test_nothing_prepared_stays_behind_a_network_that_changed(change: str) -> None:
    torch.manual_seed(0)
    network = Normed(affine=True, bias=True, way="plain").double()
    model = VisionModel("normed", network, Preprocessing(), ("a", "b", "c"))
    network.first.bias.add_(1)
    network.norm.bias.add_(1)  # most outputs are above 0, so that every weight counts
    pixels, target = torch.rand(3, 3, 11, 9).double(), torch.tensor([2, 0, 1])
    fast = FastBackward.of(model, pixels)
    _, before = gradient(model, pixels, target, fast=fast)
    assert len(fast._norms) == 2
    CHANGED[change](network)
    kept = copy.deepcopy(network)  # batch norms in training move their statistics
    found, logits = gradient(model, pixels, target, fast=fast)
    network.load_state_dict(kept.state_dict())
    leaf = pixels.clone().requires_grad_()
    wanted = model(leaf).gather(1, target[:, None])[:, 0]
    (slope,) = torch.autograd.grad(wanted.sum(), leaf)
    assert not torch.allclose(wanted, before, rtol=1e-3), "the change shows"
    torch.testing.assert_close(logits, wanted.detach())
    torch.testing.assert_close(found, slope)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")  # of torch.func.jvp itself
@pytest.mark.parametrize("way", ["on", "of"])
def test_torch_func_and_forward_mode_pass_through_the_network_as_it_is(way: str) -> None:
    model, pixels = mixed(), torch.rand(2, 3, 32, 32)
    fast = FastBackward.of(model, pixels) if way == "of" else FastBackward.on(pixels.device)
    direction = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
    double = VisionModel("mixed", copy.deepcopy(model.network).double(), Preprocessing(), ("a", "b", "c"))

    def run(x: torch.Tensor) -> torch.Tensor:
        return fast.run(lambda: model(x))

    leaf = pixels.double().requires_grad_()
    rows = [torch.autograd.grad(double(leaf)[:, index].sum(), leaf)[0] for index in range(3)]
    wanted = torch.stack([(row * direction.double()).sum((1, 2, 3)) for row in rows], 1).float()
    torch.testing.assert_close(torch.func.jvp(run, (pixels,), (direction,))[1], wanted, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        torch.func.jacrev(run)(pixels[:1])[0, :, 0].double(), torch.stack(rows)[:, 0], rtol=1e-3, atol=1e-5
    )
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(run(forward_ad.make_dual(pixels, direction))).tangent
    torch.testing.assert_close(tangent, wanted, rtol=1e-3, atol=1e-4)


def test_second_derivatives_pass_through_products() -> None:
    available()
    weight = torch.randn(24, 24)
    x = torch.randn(300, 24, requires_grad=True)
    matrices = packed.Matrices(least=1)

    def curvature(product: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        (slope,) = torch.autograd.grad(product(x).sin().sum(), x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), x)[0]

    found = curvature(lambda given: cast("torch.Tensor", matrices.linear(given, weight, None)))
    torch.testing.assert_close(found, curvature(lambda given: given @ weight.t()), rtol=1e-3, atol=1e-3)


LEFT: dict[str, Callable[[], tuple[torch.Tensor, torch.Tensor]]] = {
    "few rows": lambda: (torch.randn(3, 24), torch.randn(8, 24)),
    "double precision": lambda: (torch.randn(300, 24).double(), torch.randn(8, 24).double()),
    "a weight that asks for a gradient": lambda: (torch.randn(300, 24), torch.randn(8, 24, requires_grad=True)),
    "a vector": lambda: (torch.randn(24), torch.randn(8, 24)),
    "no rows": lambda: (torch.randn(0, 24), torch.randn(8, 24)),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_is_left_to_pytorch(case: str) -> None:
    assert packed.Matrices(least=10).linear(*LEFT[case](), None) is None


@pytest.mark.parametrize("bias", [torch.tensor(2.0), torch.ones(1), torch.ones(300, 8)], ids=["0", "1", "2"])
def test_a_bias_that_is_repeated_is_left_to_pytorch(bias: torch.Tensor) -> None:
    """oneDNN leaves a bias of no axis out, and refuses others."""
    assert packed.Matrices(least=1).linear(torch.randn(300, 24), torch.randn(8, 24), bias) is None


def test_inputs_of_a_wrong_or_of_no_width_are_left_to_pytorch() -> None:
    matrices = packed.Matrices(least=1)
    assert matrices.linear(torch.randn(300, 20), torch.randn(8, 24), None) is None
    assert matrices.linear(torch.randn(300, 0), torch.randn(8, 0), None) is None


def test_weights_that_are_gone_leave_their_room(monkeypatch: pytest.MonkeyPatch) -> None:
    available()
    monkeypatch.setattr(packed, "_ROOM", 300)
    matrices, x = packed.Matrices(least=1), torch.randn(300, 24)
    for _ in range(4):
        assert matrices.linear(x, torch.randn(8, 24), None) is not None


def test_weights_beyond_the_room_and_autocast_are_left_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    available()
    x, first, second = torch.randn(300, 24), torch.randn(8, 24), torch.randn(8, 24)
    with torch.autocast("cpu", torch.bfloat16):
        assert packed.Matrices(least=1).linear(x, first, None) is None
    monkeypatch.setattr(packed, "_ROOM", 300)
    matrices = packed.Matrices(least=1)
    assert matrices.linear(x, first, None) is not None and matrices.linear(x, second, None) is None

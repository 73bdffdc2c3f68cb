"""What holds for every registered attribution method."""

from __future__ import annotations

import copy
import dataclasses
import gc
import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepscope.attributions import Attribution, attribute, engine
from deepscope.errors import DeepscopeError, UnsupportedError
from deepscope.models import batching
from deepscope.models.preprocessing import Preprocessing
from deepscope.models.vision_model import VisionModel
from networks import tiny_transformer

SIZE = (48, 64)
FEWER = {"samples": 5, "masks": 30}
"""What random sampling costs is cut down here; every other setting is the default."""


def quick(method: type[Attribution]) -> Attribution:
    fields = {field.name for field in dataclasses.fields(method)}  # type: ignore[arg-type]
    return method(**{name: value for name, value in FEWER.items() if name in fields})


methods = pytest.mark.parametrize(
    "method", [quick(method) for method in Attribution.members().values()], ids=lambda method: method.name
)


class Tiny(nn.Module):
    """Convolutions, batch norm, an in-place and reused activation, a functional one, a gate, both poolings."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.gate = nn.Conv2d(8, 8, 1)
        self.third = nn.Conv2d(8, 12, 3, padding=1)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.first(x)))
        x = F.max_pool2d(self.act(self.second(x)), 2)
        x = x * F.hardsigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        return self.head(F.hardswish(self.third(x)).mean((2, 3)))


@pytest.fixture
def model(request: pytest.FixtureRequest) -> VisionModel:
    """A transformer for the methods that need one."""
    method = request.node.callspec.params["method"]
    if method.of_transformers:
        made = tiny_transformer(classes=5)
        return replace(made, network=made.network.double())
    torch.manual_seed(0)
    network = Tiny().double()
    return VisionModel("tiny", network, Preprocessing(), categories=("a", "b", "c", "d", "e"))


@pytest.fixture
def pixels() -> Tensor:
    coarse = torch.rand(3, 3, 6, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return F.interpolate(coarse, SIZE, mode="bilinear")


@pytest.fixture
def target() -> Tensor:
    return torch.tensor([0, 3, 1])


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@methods
def test_cites_its_source(method: Attribution) -> None:
    assert re.search(r"\b(19|20)\d\d\b", type(method).__doc__ or "")


@methods
def test_shape_type_and_range(method: Attribution, model: VisionModel, pixels: Tensor, target: Tensor) -> None:
    maps = method(model, pixels, target, rng=seeded())
    assert maps.shape in (torch.Size([3, *SIZE]), torch.Size([3, 3, *SIZE]))
    assert maps.dtype == pixels.dtype
    assert maps.isfinite().all()
    assert not maps.requires_grad
    assert (maps != 0).any()
    assert method.signed or (maps >= 0).all()


@methods
def test_same_seed_gives_the_same_bits(method: Attribution, model: VisionModel, pixels: Tensor, target: Tensor) -> None:
    first, second = (method(model, pixels, target, rng=seeded()) for _ in range(2))
    assert torch.equal(first, second)


@methods
def test_a_batch_gives_the_maps_of_its_images(
    method: Attribution, model: VisionModel, pixels: Tensor, target: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = method(model, pixels, target, rng=seeded())
    monkeypatch.setattr(batching, "memory_budget", lambda device: 1)  # one row at a time after the first batch
    rng = seeded()
    parts = [method(model, pixels[i : i + 1], target[i : i + 1], rng=rng) for i in range(3)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-9, atol=1e-12)


@methods
@pytest.mark.parametrize("size", [(33, 57), (112, 40)], ids=["odd", "tall"])
def test_other_sizes(method: Attribution, size: tuple[int, int], model: VisionModel, target: Tensor) -> None:
    pixels = torch.rand(1, 3, *size, generator=seeded(), dtype=torch.float64)
    maps = method(model, pixels, target[:1], rng=seeded())
    assert maps.shape[-2:] == size
    assert maps.isfinite().all()


@methods
def test_leaves_everything_as_it_was(method: Attribution, model: VisionModel, pixels: Tensor, target: Tensor) -> None:
    weights, given = copy.deepcopy(model.network.state_dict()), pixels.clone()
    random = torch.get_rng_state()
    method(model, pixels, target, rng=seeded())
    for key, weight in model.network.state_dict().items():
        assert torch.equal(weight, weights[key])
    for module in model.network.modules():
        assert not module.training
        assert not any((module._forward_hooks, module._forward_pre_hooks, module._backward_hooks))
    assert all(p.grad is None and not p.requires_grad for p in model.network.parameters())
    assert torch.equal(pixels, given) and pixels.grad is None and not pixels.requires_grad
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), random)


@methods
@pytest.mark.usefixtures("only_new_objects")
def test_no_tensor_stays_behind(method: Attribution, model: VisionModel, pixels: Tensor, target: Tensor) -> None:
    def live() -> int:
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    method(model, pixels, target, rng=seeded())
    before = live()
    for _ in range(3):
        method(model, pixels, target, rng=seeded())
    assert live() <= before


@methods
def test_works_where_the_caller_switched_gradients_off(
    method: Attribution, model: VisionModel, pixels: Tensor, target: Tensor
) -> None:
    with torch.no_grad():
        quiet = method(model, pixels, target, rng=seeded())
        assert not torch.is_grad_enabled()
    assert torch.equal(quiet, method(model, pixels, target, rng=seeded()))


@methods
def test_runs_alike_in_inference_mode(method: Attribution, model: VisionModel, pixels: Tensor, target: Tensor) -> None:
    expected = method(model, pixels, target, rng=seeded())
    with torch.inference_mode():
        found = method(model, pixels.clone(), target=target.clone(), rng=seeded())
    assert torch.equal(found, expected)


@methods
def test_a_model_without_classes_is_refused(method: Attribution, pixels: Tensor, target: Tensor) -> None:
    features = VisionModel("features", Tiny().double(), Preprocessing())
    with pytest.raises(DeepscopeError, match="no class layer"):
        method(features, pixels, target, rng=seeded())


@methods
def test_a_contrast_of_two_classes(method: Attribution, model: VisionModel, pixels: Tensor, target: Tensor) -> None:
    """Why one class and not the other: a signed map changes its sign when the two are exchanged."""
    other = torch.tensor([2, 2, 4])
    if not method.of_class:
        with pytest.raises(UnsupportedError, match="same for every class"):
            attribute(method, model, pixels, target, versus=other, rng=seeded())
        return
    one = attribute(method, model, pixels, target, versus=other, rng=seeded())
    back = attribute(method, model, pixels, other, versus=target, rng=seeded())
    assert one.isfinite().all() and (one != 0).any()
    if method.signed:
        torch.testing.assert_close(one, -back, rtol=1e-6, atol=1e-9)
    else:
        assert (one >= 0).all()
    rng = seeded()
    apart = [
        attribute(method, model, pixels[i : i + 1], target[i : i + 1], versus=other[i : i + 1], rng=rng)
        for i in range(3)
    ]
    torch.testing.assert_close(torch.cat(apart), one, rtol=1e-9, atol=1e-12)


def test_a_batch_that_runs_out_of_memory_is_halved() -> None:
    seen: list[int] = []

    def run(rows: slice) -> list[int]:
        if rows.stop - rows.start > 2:
            raise torch.OutOfMemoryError("too large")
        seen.extend(range(rows.start, rows.stop))
        return list(range(rows.start, rows.stop))

    done = [number for _, part in engine.batches(9, torch.device("cpu"), run) for number in part]
    assert done == seen == list(range(9))

"""Asking a network about images that differ from one image in a small window, at the price of the window.

What a convolution or a pooling puts out changes only where its kernel meets the change. Everywhere else it is what it
was for the image itself, which is computed once and kept.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from deepscope.attacks.judge import Counted
from deepscope.models import VisionModel

_POINTWISE = (nn.BatchNorm2d, nn.Dropout, nn.Identity, nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.Sigmoid)
_JOINING = (torch.cat, operator.add, operator.iadd, torch.add)
_WHOLE = 0.75
"""The part of a layer's output above which computing all of it is no dearer."""


def around(model: VisionModel, pixels: Tensor) -> list[VisionModel]:
    """For each image (N, 3, H, W) the same model, quicker for images that differ from that one in a small window.

    Logits agree with the model's own up to the rounding of sums. Where that cannot be had, it is the model itself: a
    network that cannot be traced, or a module of another library than these, which may do more than compute; and any
    network away from the CPU: a GPU computes the whole image sooner than it looks for the window.
    """
    if pixels.device.type != "cpu":
        return [model] * len(pixels)
    network = model.network.network if isinstance(model.network, Counted) else model.network
    inputs = model.normalise(pixels).split(1)
    graph = _graph(network)
    if graph is None or not _agree(network, _Nearby(network, graph, inputs[0]), inputs[0]):
        return [model] * len(pixels)
    quicker = (_Nearby(network, graph, base) for base in inputs)
    if isinstance(model.network, Counted):
        quicker = map(model.network.over, quicker)
    return [model.with_network(near, returns=model.outputs.kind) for near in quicker]


def _graph(network: nn.Module) -> fx.GraphModule | None:
    for module in network.modules():
        known = type(module).__module__.split(".")[0] in ("torch", "torchvision", "timm")
        if not known or module._forward_hooks or module._forward_pre_hooks:
            return None
    try:
        return fx.GraphModule(network, _Tracer().trace(network))
    except Exception:  # whatever control flow that depends on values raises
        return None


def _agree(network: nn.Module, near: nn.Module, base: Tensor) -> bool:
    """Whether both say the same of the image with its middle pixel changed."""
    middle = [side // 2 for side in base.shape[2:]]
    probe = base.clone()
    probe[:, :, middle[0], middle[1]] += 1
    expected = network(probe)
    if not isinstance(expected, Tensor):
        return False
    return bool((near(probe) - expected).abs().max() <= 1e-4 * expected.abs().max())


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.BatchNorm2d) or not any(m.children())


class _Nearby(nn.Module):
    def __init__(self, network: nn.Module, graph: fx.GraphModule, base: Tensor) -> None:
        super().__init__()
        self.network, self.graph, self.base = network, graph, base
        self.unchanged: dict[fx.Node, Tensor] = {}

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        changed = (inputs != self.base).any(1)
        start, size = zip(*(_extent(changed.any(dim)) for dim in (2, 1)))
        if 4 * max(size) > min(inputs.shape[2:]):
            return self.network(inputs)
        self.unchanged = self.unchanged or _maps(self.graph, self.base)
        source = self.base[0].permute(1, 2, 0)
        whole = _Window(inputs, torch.zeros(len(inputs), 2, dtype=torch.long, device=inputs.device), source)
        starts = torch.stack(start, 1)
        return _Changed(self.graph, self.unchanged).run(_Window(whole.crop(starts, size), starts, source))


def _extent(changed: Tensor) -> tuple[Tensor, int]:
    """(n, L) where something changed -> the first place (n,) and a length that holds every row's changes."""
    length = changed.shape[1]
    first = changed.int().argmax(1)
    last = torch.where(changed.any(1), length - 1 - changed.flip(1).int().argmax(1), first)
    size = int((last - first).max()) + 1
    return first.clamp_max(length - size), size


def _maps(graph: fx.GraphModule, base: Tensor) -> dict[fx.Node, Tensor]:
    """(H, W, C) what every node gives that gives a map."""
    whole = fx.Interpreter(graph, garbage_collect_values=False)
    whole.run(base)
    maps = {node: value for node, value in whole.env.items() if isinstance(value, Tensor) and value.ndim == 4}
    place = {node: (value.data_ptr(), value.shape, value.stride()) for node, value in maps.items()}
    kept = {place[node]: value[0].permute(1, 2, 0).contiguous() for node, value in maps.items()}
    return {node: kept[place[node]] for node in maps}  # what was changed in place is one map


@dataclass(frozen=True)
class _Window:
    """What changed of a layer's output: the rest is as it was.

    Attributes:
        inner: (n, C, h, w) the window.
        start: (n, 2) its upper left corner.
        unchanged: (H, W, C) what the layer puts out for the unchanged image.
    """

    inner: Tensor
    start: Tensor
    unchanged: Tensor

    def crop(self, start: Tensor, size: tuple[int, ...], outside: float = 0.0) -> Tensor:
        """(n, C, *size) from the corner (n, 2) on; it may reach beyond the map, where it holds `outside`."""
        if size == tuple(self.inner.shape[2:]) and torch.equal(start, self.start):
            return self.inner
        there, here, beyond = [], [], []
        for dim, (length, inner) in enumerate(zip(self.unchanged.shape, self.inner.shape[2:])):
            place = start[:, dim, None] + torch.arange(size[dim], device=start.device)
            there.append(place.clamp(0, length - 1))
            beyond.append(there[-1] != place)
            here.append(place - self.start[:, dim, None])
            here[-1] = torch.where((here[-1] >= 0) & (here[-1] < inner), here[-1], -1)
        row = torch.arange(len(start), device=start.device)[:, None, None]
        values = self.unchanged[_down(there[0]), _across(there[1])]
        new = self.inner.permute(0, 2, 3, 1)[row, _down(here[0]), _across(here[1])]
        values = torch.where(((_down(here[0]) >= 0) & (_across(here[1]) >= 0))[..., None], new, values)
        if any(part.any() for part in beyond):
            values = values.masked_fill((_down(beyond[0]) | _across(beyond[1]))[..., None], outside)
        return values.permute(0, 3, 1, 2)

    def whole(self) -> Tensor:
        """(n, C, H, W)."""
        return self.crop(torch.zeros_like(self.start), tuple(self.unchanged.shape[:2]))


def _pair(size: int | tuple[int, ...]) -> tuple[int, ...]:
    return (size, size) if isinstance(size, int) else size


def _down(places: Tensor) -> Tensor:
    return places[:, :, None]


def _across(places: Tensor) -> Tensor:
    return places[:, None, :]


@dataclass(frozen=True)
class _Slide:
    """A kernel that slides over the map; for height and width: its reach, stride and the padding before the first."""

    reach: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]
    outside: float
    run: Callable[[Tensor], Tensor]

    def __call__(self, window: _Window, unchanged: Tensor) -> _Window | None:
        """The window of what changes in the output; None where that is most of it."""
        if self.reach == self.stride == (1, 1):
            return replace(window, inner=self.run(window.inner), unchanged=unchanged)
        start, size, part = [], [], 1.0
        for dim, (reach, stride, before) in enumerate(zip(self.reach, self.stride, self.before)):
            length = unchanged.shape[dim]
            size.append((window.inner.shape[2 + dim] + reach - 2) // stride + 1)
            part *= size[-1] / length
            first = -((reach - 1 - before - window.start[:, dim]).div(stride, rounding_mode="floor"))
            start.append(first.clamp(0, max(0, length - size[-1])))
        if part > _WHOLE:
            return None
        steps, padding = (torch.tensor(values, device=window.start.device) for values in (self.stride, self.before))
        starts = torch.stack(start, 1)
        needed = tuple((n - 1) * stride + reach for n, stride, reach in zip(size, self.stride, self.reach))
        return _Window(self.run(window.crop(starts * steps - padding, needed, self.outside)), starts, unchanged)


def _slide(module: nn.Module, given: torch.Size, gives: torch.Size) -> _Slide | None:
    """How a convolution or pooling goes over a map; None for what is neither."""
    from timm.layers.conv2d_same import Conv2dSame

    if isinstance(module, nn.Conv2d) and type(module) in (nn.Conv2d, Conv2dSame) and module.padding_mode == "zeros":
        reach = tuple(d * (k - 1) + 1 for d, k in zip(module.dilation, module.kernel_size))
        before = module.padding
        if isinstance(module, Conv2dSame) or isinstance(before, str):  # padded by what the output's size tells
            gaps = ((n - 1) * s + r - m for n, s, r, m in zip(gives, module.stride, reach, given))
            before = tuple(max(0, gap) // 2 for gap in gaps)

        def convolve(crop: Tensor) -> Tensor:
            return functional.conv2d(crop, module.weight, module.bias, module.stride, 0, module.dilation, module.groups)

        return _Slide(reach, module.stride, before, 0.0, convolve)
    if type(module) is nn.MaxPool2d and not module.return_indices and module.dilation in (1, (1, 1)):
        reach, stride, before = (_pair(part) for part in (module.kernel_size, module.stride, module.padding))
        return _Slide(
            reach, stride, before, -torch.inf, lambda crop: functional.max_pool2d(crop, list(reach), list(stride))
        )
    return None


class _Changed(fx.Interpreter):
    """Runs windows as long as they are much smaller than the map, and whole maps from there on."""

    def __init__(self, graph: fx.GraphModule, unchanged: dict[fx.Node, Tensor]) -> None:
        super().__init__(graph)
        self.unchanged = unchanged

    def run_node(self, n: fx.Node) -> Any:
        """A window, or what the node gives for whole maps."""
        given = [node for node in n.all_input_nodes if isinstance(self.env[node], _Window)]
        if given:
            found = self._window(n, given) if n in self.unchanged else None
            if found is not None:
                return found
            for node in given:
                self.env[node] = self.env[node].whole()
        return super().run_node(n)

    def _window(self, n: fx.Node, given: list[fx.Node]) -> _Window | None:
        """What the node makes of windows; None where it needs, or changes, the whole map."""
        window, unchanged = self.env[given[0]], self.unchanged[n]
        if n.op == "call_module":
            module = self.fetch_attr(str(n.target))
            if isinstance(module, _POINTWISE):
                return replace(window, inner=module(window.inner), unchanged=unchanged)
            slide = _slide(module, window.unchanged.shape, unchanged.shape)
            return slide(window, unchanged) if slide else None
        same_size = all(self.env[node].unchanged.shape[:2] == unchanged.shape[:2] for node in given)
        if n.target in _JOINING and same_size and len(given) == len(n.all_input_nodes):
            cropped = _aligned([self.env[node] for node in given])
            for node, part in zip(given, cropped):
                self.env[node] = part.inner
            joined = super().run_node(n)
            self.env.update(zip(given, cropped))
            return replace(cropped[0], inner=joined, unchanged=unchanged)
        return None


def _aligned(windows: list[_Window]) -> list[_Window]:
    """The same windows, all grown to the smallest that holds every one of them."""
    start = torch.stack([window.start for window in windows]).amin(0)
    ends = [window.start + torch.tensor(window.inner.shape[2:], device=start.device) for window in windows]
    size = (torch.stack(ends).amax(0) - start).amax(0)
    start = start.minimum(torch.tensor(windows[0].unchanged.shape[:2], device=start.device) - size)
    shape = tuple(size.tolist())
    return [replace(window, inner=window.crop(start, shape), start=start) for window in windows]

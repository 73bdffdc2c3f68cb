"""Quicker passes for images that differ from a known image in a small window."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from deepscope.nearby.windows import Window, aligned, mean, slide

_LIBRARIES = ("torch", "torchvision", "timm")
_POINTWISE = (nn.BatchNorm2d, nn.Dropout, nn.Identity, nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.Sigmoid)
_JOINING = (torch.cat, operator.add, operator.iadd, torch.add)


def around(network: nn.Module, inputs: Tensor) -> nn.Module:
    """A network that is quicker for inputs that differ in a small window from one of these (K, 3, H, W).

    From which one, `Nearby.made_from` says. Outputs agree with the network's own up to the rounding of sums. Where they
    do not, or the network cannot be traced, or one of its modules does not come from PyTorch, torchvision or timm and
    may therefore do more than compute its output, it is the network itself; and away from the CPU: a GPU computes the
    whole image sooner than it looks for the window.
    """
    if inputs.device.type != "cpu":
        return network
    graph = _graph(network)
    if graph is None or not _agree(network, Nearby(network, graph, inputs[:1]), inputs[:1]):
        return network
    return Nearby(network, graph, inputs)


def _graph(network: nn.Module) -> fx.GraphModule | None:
    for module in network.modules():
        known = type(module).__module__.split(".")[0] in _LIBRARIES
        if not known or module._forward_hooks or module._forward_pre_hooks:
            return None
    try:
        return fx.GraphModule(network, _Tracer().trace(network))
    except Exception:  # tracing raises whatever control flow that depends on values raises
        return None


def _agree(network: nn.Module, near: Nearby, base: Tensor) -> bool:
    """Whether both networks give the same output for the input with its middle pixel changed."""
    middle = [side // 2 for side in base.shape[2:]]
    probe = base.clone()
    probe[:, :, middle[0], middle[1]] += 1
    expected = network(probe)
    if not isinstance(expected, Tensor):
        return False
    with near.made_from(torch.zeros(1, dtype=torch.long)):
        return bool((near(probe) - expected).abs().max() <= 1e-4 * expected.abs().max())


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.BatchNorm2d) or not any(m.children())


class Nearby(nn.Module):
    """A network that computes only what differs from its outputs for known images; see `around`."""

    def __init__(self, network: nn.Module, graph: fx.GraphModule, bases: Tensor) -> None:
        super().__init__()
        self.network, self.graph, self.bases = network, graph, bases
        self.unchanged: dict[fx.Node, Tensor] = {}
        self._rows: Tensor | None = None

    @contextmanager
    def made_from(self, rows: Tensor | None) -> Iterator[None]:
        """Inside, the inputs (n, ...) are made from the known images in these rows (n,); None where that is unknown."""
        self._rows = rows
        try:
            yield
        finally:
            self._rows = None

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """The network's outputs, computed as a whole where nothing says what the inputs are made from."""
        if self._rows is None:
            return self.network(inputs)
        bases, counts = self._rows.unique_consecutive(return_counts=True)
        parts = zip(bases.tolist(), inputs.split(counts.tolist()))  # no copy of a base for each input
        changed = torch.cat([(part != self.bases[base]).any(1) for base, part in parts])
        start, size = zip(*(_extent(changed.any(dim)) for dim in (2, 1)))
        if 4 * max(size) > min(inputs.shape[2:]):
            return self.network(inputs)
        self.unchanged = self.unchanged or _maps(self.graph, self.bases)
        source = self.bases.permute(0, 2, 3, 1)
        whole = Window(inputs, torch.zeros(len(inputs), 2, dtype=torch.long), source, self._rows)
        starts = torch.stack(start, 1)
        return _Changed(self.graph, self.unchanged).run(Window(whole.crop(starts, size), starts, source, self._rows))


def _extent(changed: Tensor) -> tuple[Tensor, int]:
    """(n, L) where something changed -> the first place (n,), and a length that covers the changes of every row."""
    length = changed.shape[1]
    first = changed.int().argmax(1)
    last = torch.where(changed.any(1), length - 1 - changed.flip(1).int().argmax(1), first)
    size = int((last - first).max()) + 1
    return first.clamp_max(length - size), size


def _maps(graph: fx.GraphModule, bases: Tensor) -> dict[fx.Node, Tensor]:
    """The feature maps (K, H, W, C) of every node that puts them out."""
    kept: dict[fx.Node, list[Tensor]] = {}
    owner: dict[fx.Node, fx.Node] = {}
    for base in bases.split(1):  # one by one: a run holds all its maps until it ends
        whole = fx.Interpreter(graph, garbage_collect_values=False)
        whole.run(base)
        maps = {node: value for node, value in whole.env.items() if isinstance(value, Tensor) and value.ndim == 4}
        first: dict[tuple[object, ...], fx.Node] = {}  # a map that is changed in place is one map
        for node, value in maps.items():
            owner[node] = first.setdefault((value.data_ptr(), value.shape, value.stride()), node)
        for node in first.values():
            kept.setdefault(node, []).append(maps[node].permute(0, 2, 3, 1).contiguous())
    joined = {node: torch.cat(kept.pop(node)) for node in list(kept)}
    return {node: joined[one] for node, one in owner.items()}


class _Changed(fx.Interpreter):
    """Computes windows while they are much smaller than the map, and whole maps from there on."""

    def __init__(self, graph: fx.GraphModule, unchanged: dict[fx.Node, Tensor]) -> None:
        super().__init__(graph)
        self.unchanged = unchanged

    def run_node(self, n: fx.Node) -> Any:
        """A window, or the node's output for whole maps."""
        given = [node for node in n.all_input_nodes if isinstance(self.env[node], Window)]
        if given:
            found = self._found(n, given) if n in self.unchanged else None
            if found is not None:
                return found
            for node in given:
                self.env[node] = self.env[node].whole()
        return super().run_node(n)

    def _found(self, n: fx.Node, given: list[fx.Node]) -> Window | Tensor | None:
        """The node's output for windows; None where it needs, or changes, the whole map."""
        window, unchanged = self.env[given[0]], self.unchanged[n]
        if n.op == "call_module":
            module = self.fetch_attr(str(n.target))
            if isinstance(module, _POINTWISE):
                return replace(window, inner=module(window.inner), unchanged=unchanged)
            if isinstance(module, nn.AdaptiveAvgPool2d) and unchanged.shape[1:3] == (1, 1):
                return mean(window, unchanged)
            kernel = slide(module, window.sides, unchanged.shape[1:3])
            return kernel(window, unchanged) if kernel else None
        same_size = all(self.env[node].sides == unchanged.shape[1:3] for node in given)
        if n.target in _JOINING and same_size and len(given) == len(n.all_input_nodes):
            cropped = aligned([self.env[node] for node in given])
            for node, part in zip(given, cropped):
                self.env[node] = part.inner
            joined = super().run_node(n)
            self.env.update(zip(given, cropped))
            return replace(cropped[0], inner=joined, unchanged=unchanged)
        return None

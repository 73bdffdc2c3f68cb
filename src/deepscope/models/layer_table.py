"""What a network is made of: each layer's output shape, parameters and multiply-adds, without weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


@dataclass(frozen=True)
class Layer:
    """One module of a network.

    Attributes:
        name: its path in the network.
        kind: the module's class.
        family: "convolution", "fully-connected" or "other".
        output: shape of its output for one image, without the batch; empty where it returns no tensor.
        parameters: numbers it owns itself, its children's left out.
        multiply_adds: of convolutions and matrix products for one image, its children's left out.
    """

    name: str
    kind: str
    family: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int


def layer_table(network: nn.Module, size: tuple[int, int], *, channels: int = 3) -> list[Layer]:
    """The layers of a network on the meta device, in the order they first run; their parameters sum to its total.

    Containers with neither parameters nor arithmetic of their own are left out. Layers whose parameters
    are used by their parent directly, or in training only, stand last, without an output.

    Args:
        network: from `architectures.skeleton`, so that running it costs nothing.
        size: height and width of the input.
        channels: of the input.
    """
    from torch.utils.flop_counter import FlopCounterMode  # half a second to load, for this alone

    names = {module: name for name, module in network.named_modules()}
    outputs: dict[nn.Module, tuple[int, ...]] = {}
    order: dict[nn.Module, None] = {}

    def enter(module: nn.Module, _: Any) -> None:
        order.setdefault(module)

    def leave(module: nn.Module, _: Any, output: Any) -> None:
        outputs.setdefault(module, tuple(output.shape[1:]) if isinstance(output, Tensor) else ())

    handles = [m.register_forward_pre_hook(enter) for m in names] + [m.register_forward_hook(leave) for m in names]
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            network.eval()(torch.empty(1, channels, *size, device="meta"))
    finally:
        for handle in handles:
            handle.remove()
    flops = counter.get_flop_counts()
    root = type(network).__name__

    def total(name: str) -> int:
        return sum(flops.get(f"{root}.{name}" if name else root, {}).values()) // 2

    layers = []
    for module in (*order, *(module for module in names if module not in order)):
        name = names[module]
        children = [f"{name}.{child}" if name else child for child, _ in module.named_children()]
        own = total(name) - sum(total(child) for child in children)
        parameters = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        if parameters or own > 0 or (module in outputs and not children):
            kind = type(module).__name__
            output = outputs.get(module, ())
            layers.append(Layer(name or "(itself)", kind, _family(module), output, parameters, max(own, 0)))
    return layers


def _family(module: nn.Module) -> str:
    if isinstance(module, _ConvNd):
        return "convolution"
    return "fully-connected" if isinstance(module, nn.Linear) else "other"

"""Reading what is inside a network: one pass, several layers, stopping after the last one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from deepscope.errors import ModelError


class _Enough(Exception):
    """Raised inside a forward pass once every wanted layer has run; nested captures let it pass.

    Its capture recognises it by `found`. No frame on its way may keep a reference to it: its traceback refers to those
    frames, and their tensors would be freed only by the garbage collector.
    """

    def __init__(self, found: dict[str, Tensor]) -> None:
        super().__init__()
        self.found = found


def capture(network: nn.Module, inputs: Tensor, modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Run `network` on `inputs` until every module has run, and return the output of each.

    A module that runs several times (a shared activation) gives its first output. Outputs are copies:
    a following in-place operation does not change them. They stay differentiable.

    Raises:
        ModelError: a module never ran, or gave something other than one tensor.
    """
    names: dict[nn.Module, list[str]] = {}
    for name, module in modules.items():
        names.setdefault(module, []).append(name)
    found: dict[str, Tensor] = {}

    def hook(module: nn.Module, _: Any, output: Any) -> None:
        for name in names[module]:
            if not isinstance(output, Tensor):
                raise ModelError(f"layer {name!r} gives {type(output).__name__}, not one tensor: choose a layer in it")
            if name not in found:
                found[name] = output.clone()
        if len(found) == len(modules) and not torch.compiler.is_compiling():  # an export follows no exceptions
            raise _Enough(found)

    handles = [module.register_forward_hook(hook) for module in names]
    try:
        network(inputs)
    except _Enough as signal:
        if signal.found is not found:  # a network that captures inside itself is being captured
            raise
    finally:
        for handle in handles:
            handle.remove()
    for name in modules:
        if name not in found:
            raise ModelError(f"layer {name!r} takes no part in the network's forward pass: choose another")
    return {name: found[name] for name in modules}

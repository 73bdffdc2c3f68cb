"""Whether a network is still the one that an engine was built from, within a process."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from deepscope.models.identity import MODULE_FIELDS
from deepscope.models.stamps import stamp

_GLOBAL_HOOKS = ("_global_forward_hooks", "_global_forward_pre_hooks")


@dataclass(frozen=True)
class State:
    """What changes when a weight, layer, setting or method of a network does. Equal states, the same network.

    Attributes:
        seen: weights, layers, settings, and what their classes define.
        held: the memory of the weights: while it is held, no others lie at its address.
    """

    seen: tuple[Any, ...]
    held: tuple[torch.UntypedStorage, ...] = field(compare=False)


def state_of(network: nn.Module) -> State | str:
    """The network's state; in words why there is none, where somebody watches the layers or they draw numbers.

    What is written through `weight.data` raises no version: the numbers of every weight are compared as well (`stamp`).
    """
    modules = list(network.modules())
    watched = any(getattr(torch_module, name) for name in _GLOBAL_HOOKS)
    if watched or any(module._forward_hooks or module._forward_pre_hooks for module in modules):
        return "a hook runs with its layers"
    if any(module.training for module in modules):
        return "a layer is in training mode"
    tensors = [*network.parameters(), *network.buffers()]
    if any(tensor.is_inference() for tensor in tensors):
        return "its weights were made in inference mode, and their changes cannot be seen"
    if any(tensor.layout != torch.strided for tensor in tensors):
        return "its weights are sparse, and their changes cannot be seen"
    layers = [(name, _Same(module), _frozen(_settings(module))) for name, module in network.named_modules()]
    kinds = dict.fromkeys(kind for module in modules for kind in type(module).__mro__ if kind not in nn.Module.__mro__)
    defined = [(_Same(kind), _frozen(_definitions(kind))) for kind in kinds]
    seen = (tuple(map(_weight, tensors)), tuple(layers), tuple(defined))
    return State(seen, tuple(tensor.untyped_storage() for tensor in tensors))


class _Same:
    """Equal to what stands for the very same object, as long as that lives; keeps it alive only where it must."""

    def __init__(self, thing: Any) -> None:
        try:
            self._ref: Any = weakref.ref(thing)
        except TypeError:
            self._ref = lambda: thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._ref() is not None and self._ref() is other._ref()

    __hash__ = None  # pyright: ignore[reportAssignmentType]


def _settings(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if name not in MODULE_FIELDS}


def _definitions(kind: type[Any]) -> dict[str, Any]:
    """Methods and values of a class; other names with two underscores are written by Python itself."""
    return {name: value for name, value in vars(kind).items() if callable(value) or not name.startswith("__")}


def _frozen(value: Any) -> tuple[Any, ...]:
    """A copy of plain values and of what holds them, level by level; anything else by what it is.

    What was met before is named by its number, so that a list that holds itself, or the same list many times, ends.
    """
    found: list[Any] = []
    waiting = deque([value])
    known: dict[int, tuple[int, Any]] = {}  # number and collection, which stays alive so that its id stays its own
    while waiting:
        value = waiting.popleft()
        if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
            found.append((type(value), value))
        elif isinstance(value, Tensor):
            found.append(_weight(value))
        elif not isinstance(value, (Mapping, list, tuple)):
            found.append(_Same(value))
        elif id(value) in known:  # pyright: ignore[reportUnknownArgumentType]
            found.append(known[id(value)][0])  # pyright: ignore[reportUnknownArgumentType]
        else:
            held = cast("Mapping[Any, Any] | list[Any] | tuple[Any, ...]", value)
            known[id(held)] = len(known), held
            names = tuple(map(str, held)) if isinstance(held, Mapping) else None
            found.append((names, len(held)))
            waiting.extend(held.values() if isinstance(held, Mapping) else held)
    return tuple(found)


def _weight(tensor: Tensor) -> Any:
    if tensor.is_inference() or tensor.layout != torch.strided:
        return _Same(tensor)
    return stamp(tensor)

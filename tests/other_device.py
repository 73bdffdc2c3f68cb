"""A second device without hardware: tensors on "meta" that hold values, and refuse what a GPU would refuse.

Inside `other_device()`, a tensor made on or moved to `DEVICE` computes on the CPU, but an operation that mixes it with
tensors of the CPU fails as it does on CUDA, and so does a random draw there from a generator of the CPU.
"""

from __future__ import annotations

import importlib
import types
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("meta")
_aten: Any = torch.ops.aten
_COPIES = {_aten._to_copy.default, _aten.copy_.default, _aten._foreach_copy_.default}
_INDEXED = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default}
"""Operations whose indices may be on the CPU whatever device the first tensor is on."""


class Elsewhere(Tensor):
    """A tensor of the second device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        made: Any = Tensor._make_wrapper_subclass(cls, held.size(), device=DEVICE, **layout)  # type: ignore[attr-defined]
        made.held = held
        return made

    def __repr__(self, **_: Any) -> str:
        return f"Elsewhere({self.held})"

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def new_tensor(self, data: Any, *, dtype: Any = None, **_: Any) -> Tensor:  # type: ignore[override]
        return torch.tensor(data, dtype=dtype or self.dtype, device=DEVICE)

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def __deepcopy__(self, memo: Any) -> Any:
        copied: Any = Elsewhere(self.held.detach().clone())
        copied = torch.nn.Parameter(copied, self.requires_grad) if isinstance(self, torch.nn.Parameter) else copied
        memo[id(self)] = copied
        return copied

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Sees the operations that make tensors."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    if func is torch.ops.prim.device.default:
        return DEVICE
    tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, Elsewhere)]
    asked = kwargs.get("device")
    target = bool(there) if asked is None else torch.device(asked).type == DEVICE.type
    if there and func not in _COPIES:
        here = [tensor for tensor in tensors if not isinstance(tensor, Elsewhere) and tensor.ndim]
        indices = func in _INDEXED and isinstance(args[0], Elsewhere) and not any(t.is_floating_point() for t in here)
        if here and not indices:
            raise RuntimeError(f"expected all tensors to be on the same device: {func} mixes two")
    if target and isinstance(kwargs.get("generator"), torch.Generator):
        raise RuntimeError(f"expected a generator of the device: {func} has one of the CPU")
    if func is _aten.copy_.default:
        target = isinstance(args[0], Elsewhere)
    if not target and not there:
        return func(*args, **kwargs)
    if asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    held = {id(tensor.held): tensor for tensor in there}
    inner = pytree.tree_map_only(Elsewhere, lambda tensor: tensor.held, (args, kwargs))
    output = func(*inner[0], **inner[1])
    if not target:
        return output

    def moved(tensor: Tensor) -> Tensor:
        if isinstance(tensor, Elsewhere):
            return tensor
        return held[id(tensor)] if id(tensor) in held else Elsewhere(tensor)

    return pytree.tree_map_only(Tensor, moved, output)


@contextmanager
def other_device() -> Iterator[torch.device]:
    """The device, for as long as the block lasts."""
    swap = torch.__future__.get_swap_module_params_on_conversion()
    autocast = torch.autocast

    class Autocast(autocast):  # type: ignore[misc, valid-type]
        def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
            super().__init__("cpu" if device_type == DEVICE.type else device_type, *args, **kwargs)

    plain = torch.tensor

    def tensor(data: Any, *, device: Any = None, **settings: Any) -> Tensor:
        made = plain(data, **settings)
        return made.to(device) if device is not None else made  # PyTorch keeps no values on "meta"

    with pytest.MonkeyPatch.context() as patch, _Mode():
        patch.setattr(torch, "tensor", tensor)
        patch.setattr(torch, "inference_mode", lambda mode=True: torch.no_grad() if mode else nullcontext())
        torch.__future__.set_swap_module_params_on_conversion(True)
        patch.setattr(torch, "autocast", Autocast)
        patch.setattr(torch, DEVICE.type, types.SimpleNamespace(manual_seed=lambda seed: None), raising=False)
        for optimiser in ("adam", "sgd"):
            module = importlib.import_module(f"torch.optim.{optimiser}")
            patch.setattr(module, "_device_dtype_check_for_fused", lambda *_, **__: None)
        try:
            yield DEVICE
        finally:
            torch.__future__.set_swap_module_params_on_conversion(swap)

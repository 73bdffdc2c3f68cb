"""Which convolutions of a network feed a batch norm, as one forward pass shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

METADATA = {
    *(Tensor.size, Tensor.dim, Tensor.numel, Tensor.stride, Tensor.is_contiguous, Tensor.is_floating_point),
    *(getattr(Tensor, name).__get__ for name in ("shape", "ndim", "dtype", "device", "layout", "is_cuda", "is_mkldnn")),
    Tensor.__len__,
}
"""What may be asked of a tensor without looking at its values."""

Convolution = tuple[Tensor, "Tensor | None"]
"""A convolution's weight and bias."""


class Norm(NamedTuple):
    """What a batch norm with fixed statistics computes with; `scale` and `shift` are its weight and bias."""

    mean: Tensor
    variance: Tensor
    scale: Tensor | None
    shift: Tensor | None
    eps: float

    def same(self, other: Norm) -> bool:
        """Whether it is this one: the very same tensors."""
        return self.eps == other.eps and all(one is two for one, two in zip(self[:4], other[:4], strict=True))

    @classmethod
    def of(cls, args: Sequence[Any], settings: Mapping[str, Any]) -> Norm:
        """Of the arguments that `F.batch_norm` hands to a TorchFunctionMode."""
        return cls(args[1], args[2], settings["weight"], settings["bias"], settings["eps"])


class Watch(TorchFunctionMode):
    """Sees in one pass which convolution feeds a batch norm with fixed statistics, and nothing else.

    Every tensor that it meets is held until it goes, so that no two of them share an id.
    """

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[int, Tensor] = {}
        self._uses: dict[int, int] = {}
        self._outputs: dict[int, Convolution] = {}
        self._norms: list[tuple[int, Norm]] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        settings = kwargs or {}
        output = func(*args, **settings)
        for tensor in tensors_of((*args, *settings.values())):
            self._held[id(tensor)] = tensor
            if func not in METADATA:
                self._uses[id(tensor)] = self._uses.get(id(tensor), 0) + 1
        self._held.update((id(tensor), tensor) for tensor in tensors_of([output]))
        if func is torch.conv2d and len(args) == 7 and not settings:
            self._outputs[id(output)] = args[1], args[2]
        if func is F.batch_norm and not settings["training"] and args[1] is not None:
            self._norms.append((id(args[0]), Norm.of(args, settings)))
        return output

    def convolutions(self) -> Iterator[Convolution]:
        """Weight and bias of every convolution."""
        yield from self._outputs.values()

    def pairs(self) -> Iterator[tuple[Tensor, Tensor | None, Norm]]:
        """A convolution's weight and bias, and the batch norm that follows it."""
        for came_from, norm in self._norms:
            if came_from in self._outputs and self._uses[came_from] == 1:
                weight, bias = self._outputs[came_from]
                if self._uses[id(weight)] == self._uses[id(norm.mean)] == 1:
                    yield weight, bias, norm


def tensors_of(values: Sequence[Any]) -> Iterator[Tensor]:
    """The tensors among the arguments of a function, also inside of collections."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from tensors_of(value)
        elif isinstance(value, dict):
            yield from tensors_of(list(value.values()))

"""Methods that take gradients, callable wherever their caller has switched gradients off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

Output = TypeVar("Output")


def differentiable(method: Callable[..., Output]) -> Callable[..., Output]:
    """The method, run outside the caller's `torch.inference_mode`, in which no graph is recorded.

    Tensors that were made in inference mode are copied, also those in a dataclass such as a goal. A network whose
    weights were made there stays out of reach of gradients.
    """

    @wraps(method)
    def run(self: Any, model: Any, *arguments: Any, **named: Any) -> Output:
        if not torch.is_inference_mode_enabled():
            return method(self, model, *arguments, **named)
        with torch.inference_mode(False):
            arguments = tuple(map(_ordinary, arguments))
            return method(self, model, *arguments, **{name: _ordinary(value) for name, value in named.items()})

    return run


def _ordinary(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone() if value.is_inference() else value
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _ordinary(getattr(value, field.name)) for field in fields(value)})
    return value

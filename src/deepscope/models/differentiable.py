"""Methods that take gradients, callable wherever their caller has switched gradients off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

Inputs = ParamSpec("Inputs")
Output = TypeVar("Output")


def differentiable(method: Callable[Inputs, Output]) -> Callable[Inputs, Output]:
    """The method, run outside the caller's `torch.inference_mode`, in which no graph is recorded.

    Tensors that were made in inference mode are copied, also those in a dataclass such as a criterion. A network whose
    weights were made there stays out of reach of gradients.
    """

    @wraps(method)
    def run(*arguments: Inputs.args, **named: Inputs.kwargs) -> Output:
        if not torch.is_inference_mode_enabled():
            return method(*arguments, **named)
        with torch.inference_mode(False):
            call: Callable[..., Output] = method
            return call(*map(_ordinary, arguments), **{name: _ordinary(value) for name, value in named.items()})

    return run


def _ordinary(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone() if value.is_inference() else value
    if isinstance(value, tuple):  # what a shared attack learns from
        return tuple(map(_ordinary, value))
    if is_dataclass(value) and not isinstance(value, type):
        held = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
        copied = {name: part.clone() for name, part in held.items() if isinstance(part, Tensor) and part.is_inference()}
        return replace(value, **copied) if copied else value
    return value

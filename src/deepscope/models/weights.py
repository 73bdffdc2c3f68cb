"""Weights from outside: finite numbers of a type that networks compute with, or an error that names the tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepscope.errors import ModelError

HALF = (torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
"""Types that save space on a disk; networks compute in float32 instead."""


def checked(weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """The same weights, half precision as float32.

    Raises:
        ModelError: a value is not a tensor, is complex, or holds NaN or infinity.
    """
    return {key: _checked(key, value) for key, value in weights.items()}


def _checked(key: str, value: Any) -> Tensor:
    if not isinstance(key, str) or not isinstance(value, Tensor) or value.is_complex() or value.layout != torch.strided:
        raise ModelError(f"{key!r} is not a dense tensor of numbers")
    if value.dtype in HALF:
        value = value.float()
    if value.is_floating_point() and not value.isfinite().all():
        raise ModelError(f"the weights in {key!r} are NaN or infinite: the training diverged, or the file is damaged")
    return value

"""The precision of a training: bfloat16 where it is faster on this machine, for this network and batch, and agrees."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from deepscope.kept import Cache, code_of
from deepscope.machine import machine
from deepscope.session import Precision, Session

WORTH = 200
"""Steps below which a training takes float32 without a probe: too few to repay it."""
_STEPS = 3
"""Steps of a trial; the first one is not timed."""
_FASTER = 0.9
"""Share of float32's time that bfloat16 may take at most."""
_AGREE, _LEAST = 0.05, 0.1
"""Relative difference of a figure (a loss, say) that is allowed, and the size from which on it is relative."""

Trial = Callable[[Any, bool], Mapping[str, Tensor]]
"""Does one step of a copy of what is trained, in bfloat16 or not, and returns its figures."""


@dataclass(frozen=True)
class Tried:
    """A few steps in one precision: seconds of the fastest, and the figures of each."""

    seconds: float
    figures: list[dict[str, float]]


def measured_precision(step: Any, batch: Any, trial: Trial, session: Session) -> Precision:
    """The precision that a training should take. Copies are trained; what is given stays as it is.

    Both precisions do a few steps on the same batch, from the same weights and with the same random numbers.
    bfloat16 is taken where it is at least a tenth faster and all figures agree with those of float32. The choice is
    kept in the cache under the machine, the versions, the networks and the shape of the batch.

    Args:
        step: what is trained, with all of its state in `parts`.
        batch: of the training.
        trial: does one step.
        session: device and cache.
    """
    cache, name = Cache(session, session.cache / "precision"), f"{_key(step, batch, session.device)}.json"
    if content := cache.read(name):
        return "bfloat16" if json.loads(content)["bfloat16"] else "float32"
    try:
        full, half = (_tried(step, trial, session.device, bfloat16=bfloat16) for bfloat16 in (False, True))
    except Exception:  # a part that cannot be copied, an operator without bfloat16, too little memory for a copy
        return "float32"
    found = half.seconds <= _FASTER * full.seconds and agrees(half.figures, full.figures)
    cache.write(name, json.dumps({"bfloat16": found, "seconds": [full.seconds, half.seconds]}).encode())
    return "bfloat16" if found else "float32"


def agrees(found: list[dict[str, float]], wanted: list[dict[str, float]]) -> bool:
    """Whether all figures are finite, and those of the other precision but for rounding."""
    return all(
        math.isfinite(one[name]) and abs(one[name] - value) <= _AGREE * max(abs(value), _LEAST)
        for one, other in zip(found, wanted, strict=True)
        for name, value in other.items()
    )


def _tried(step: Any, trial: Trial, device: torch.device, *, bfloat16: bool) -> Tried:
    own, seconds, figures = copy.deepcopy(step), [], []
    for part in own.parts.values():
        for layer in part.modules() if isinstance(part, nn.Module) else ():
            if type(layer).__name__.startswith("Drop"):  # it draws other numbers in each precision
                layer.eval()
    for _ in range(_STEPS):
        began = time.perf_counter()
        figures.append({name: float(value.detach()) for name, value in trial(own, bfloat16).items()})
        if device.type != "cpu":
            torch.get_device_module(device).synchronize()
        seconds.append(time.perf_counter() - began)
    return Tried(min(seconds[1:]), figures)


def _key(step: Any, batch: Any, device: torch.device) -> str:
    networks = {
        name: (str(part), [tuple(weight.shape) for weight in part.parameters()])
        for name, part in step.parts.items()
        if isinstance(part, nn.Module)
    }
    shapes = [(tuple(leaf.shape), str(leaf.dtype)) for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor)]
    name = torch.get_device_module(device).get_device_name(device) if device.type == "cuda" else device.type
    where = {**machine(), "threads": torch.get_num_threads(), "device": name}
    about = [where, type(step).__qualname__, networks, shapes, code_of(__name__)]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()

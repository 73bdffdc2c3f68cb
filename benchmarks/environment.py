"""What a benchmark ran on and how its rounds spread, for its JSON: without both, a ratio cannot be compared."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from typing import Any

import torch

from deepscope.machine import machine
from deepscope.session import Session

_TELLING = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "sve")
"""Instruction sets that decide how quick a network is; the processor lists a hundred more."""


def environment(session: Session | None = None, **about: Any) -> dict[str, Any]:
    """Processor, instruction sets, threads, versions, engine and precision.

    Args:
        session: of all that was measured; it knows which engines ran. None stands for PyTorch in float32.
        about: what else the benchmark chose; it replaces what the session says.
    """
    session, found = session or Session(), machine()
    return {
        "processor": found["processor"],
        "instructions": [name for name in _TELLING if name in found["flags"]],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "versions": found["versions"],
        "engine": "+".join(sorted(session.engines)) or "torch",
        "precision": "auto" if session.may_halve else session.precision,
        **about,
    }


def ratio(name: str, theirs: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """How many times faster deepscope is, round by round: the median, and the least and largest as /low and /high."""
    each = [other / own for other, own in zip(theirs, ours, strict=True)]
    return {name: statistics.median(each), f"{name}/low": min(each), f"{name}/high": max(each)}

"""What a benchmark ran on, for its JSON: without it a ratio cannot be compared with another one."""

from __future__ import annotations

import os
from typing import Any

import torch

from deepscope.machine import machine

_TELLING = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "sve")
"""Instruction sets that decide how quick a network is; the processor lists a hundred more."""


def environment(**about: Any) -> dict[str, Any]:
    """Processor, instruction sets, threads and versions; `about` adds what the benchmark chose (engine, precision)."""
    found = machine()
    return {
        "processor": found["processor"],
        "instructions": [name for name in _TELLING if name in found["flags"]],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "versions": found["versions"],
        **about,
    }

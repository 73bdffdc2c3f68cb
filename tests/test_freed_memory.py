"""Freed memory is used again instead of being returned to the system and filled with zeros anew."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

ALLOCATE = """
import ctypes
import resource
from pathlib import Path
from deepscope.session import Session
import torch
for parameter in (-1, -3):  # what glibc begins with; it would change with the sizes that are freed
    ctypes.CDLL(None).mallopt(parameter, 128 << 10)
if {opened}:
    Session.open(device="cpu", home=Path("nowhere"), cache=Path("nowhere"))
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def batch():  # 24 blocks of 4 MB at once, as the activations of a batch, then all free
    blocks = [torch.ones(1 << 20) for _ in range(24)]
for _ in range(3):
    batch()
before = faults()
for _ in range(10):
    batch()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no other C library has the setting")
def test_a_batch_uses_the_memory_of_the_last_one() -> None:
    pages = [
        int(subprocess.check_output([sys.executable, "-c", ALLOCATE.format(opened=opened)], text=True))
        for opened in (False, True)
    ]
    assert pages[0] > 50_000, f"without the setting, each batch of 96 MB gets new pages: {pages[0]}"
    assert pages[1] < pages[0] / 20

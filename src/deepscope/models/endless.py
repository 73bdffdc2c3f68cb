"""TorchScript programs with loops that may run without end: tried in another process, which can be ended."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from deepscope.errors import FileError

SECONDS = 60.0
"""For loading a program and running it once or twice, on images of zeros."""
_WHILE = re.compile(r"(?<!\w)while(?!\w)")
_FOR = re.compile(r"(?<!\w)for(?!\w)")
_SHORT = re.compile(r"(?<!\w)for \w+ in range\((\d{1,4}|(torch\.\w+\()*torch\.len\(\w+\)[\d, )]*)\):")
"""Loops of at most 9999 steps, or as many as a list is long: PyTorch's own layers have some."""
_TRY = """
import sys
path, *numbers = sys.argv[2:]
sys.path[:] = sys.argv[1].split({separator!r})
import warnings
warnings.simplefilter("ignore")
import torch
channels, height, width, *sizes = map(int, numbers)
program = torch.jit.load(path, map_location="cpu").eval()
dtype = next((parameter.dtype for parameter in program.parameters()), torch.float32)
ran = 0
for size in sizes:
    try:
        with torch.no_grad():
            program(torch.zeros(size, channels, height, width, dtype=dtype))
    except Exception:
        continue
    ran += 1
    if ran == 2:
        break
"""
"""Nothing that hangs while it is loaded or run can be ended within a process."""


def require_end(path: Path, shape: tuple[int, int, int], sizes: Sequence[int]) -> None:
    """Raises FileError where a TorchScript program with open loops does not load and run within `SECONDS`.

    Programs without such loops are not tried, and a loop may still depend on the image.

    Args:
        path: of the program, whose operators are harmless.
        shape: (C, H, W) of the images.
        sizes: numbers of images that it may take, of which two are tried at most.
    """
    if not _has_open_loops(path):
        return
    code = _TRY.format(separator=os.pathsep)
    found = os.pathsep.join(sys.path)
    numbers = [str(number) for number in (*shape, *sizes)]
    try:
        subprocess.run(
            [sys.executable, "-I", "-c", code, found, str(path.resolve()), *numbers],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,  # whatever goes wrong is said where the program is opened
        )
    except subprocess.TimeoutExpired:
        raise FileError(
            f"{path} has a loop that did not end within {SECONDS:.0f} seconds: trace the network (torch.jit.trace) or "
            "save its state_dict() instead",
            path=path,
        ) from None


def _has_open_loops(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.partition("/")[2].lower().startswith("code/")]
        for code in (archive.read(name).decode("latin-1") for name in names if name.lower().endswith(".py")):
            if _WHILE.search(code) or len(_FOR.findall(code)) > len(_SHORT.findall(code)):
                return True
    return False

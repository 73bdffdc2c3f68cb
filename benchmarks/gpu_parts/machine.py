"""What the machine is, and what it can do at most."""

from __future__ import annotations

import functools
import platform
import shutil
import subprocess
from collections.abc import Iterator

import timm
import torch
import torchvision

from .check import Check, Outcome, Record


def machine(check: Check) -> Iterator[Record]:
    """Names and versions, matrix rates and bandwidth."""
    yield check.attempt("software", lambda: _software(check))
    for name in ("bfloat16", "tf32", "float32"):
        yield check.attempt(
            f"matrix/{name}", lambda name=name: ("pass", {"TFLOP/s": matrix_rate(check, name) / 1e12}, "")
        )
    note = "device to device, bytes read plus bytes written"
    yield check.attempt("copy", lambda: ("pass", {"GB/s": bandwidth(check) / 1e9}, note))
    if check.cuda:
        for pinned in (False, True):
            name = f"host-to-device/{'pinned' if pinned else 'pageable'}"
            yield check.attempt(name, lambda pinned=pinned: ("pass", {"GB/s": _upload(check, pinned) / 1e9}, ""))


def _software(check: Check) -> Outcome:
    figures = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "timm": timm.__version__,
        "cuda": str(torch.version.cuda),
        "threads": torch.get_num_threads(),
        "device": str(check.device),
    }
    if check.cuda:
        about = torch.cuda.get_device_properties(check.device)
        figures |= {"gpu": about.name, "GiB": round(about.total_memory / 2**30, 1)}
        figures |= {"multiprocessors": about.multi_processor_count, "cudnn": str(torch.backends.cudnn.version())}
        if shutil.which("nvidia-smi"):
            command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
            figures["driver"] = done.stdout.strip()
    return "pass", figures, ""


@functools.cache
def _rate(device: str, name: str, size: int, small: bool) -> float:
    check = Check(torch.device(device), small, float("inf"))
    dtype = torch.bfloat16 if name == "bfloat16" else torch.float32
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
    try:
        first, second = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        calls = 1 if small else 10

        def run() -> None:
            for _ in range(calls):
                torch.mm(first, second)

        return calls * 2 * size**3 / check.seconds(run)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def matrix_rate(check: Check, name: str) -> float:
    """Floating-point operations per second of a large matrix product: "bfloat16", "tf32" or "float32"."""
    return _rate(str(check.device), name, 128 if check.small else 8192, check.small)


@functools.cache
def _copies(device: str, count: int, small: bool) -> float:
    check = Check(torch.device(device), small, float("inf"))
    source = torch.randint(256, (count,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * count / check.seconds(lambda: target.copy_(source))


def bandwidth(check: Check) -> float:
    """Bytes per second of a large copy on the device, read plus written."""
    return _copies(str(check.device), 2**20 if check.small else 2**31, check.small)


def _upload(check: Check, pinned: bool) -> float:
    source = torch.randint(256, (2**28,), dtype=torch.uint8)
    if pinned:
        source = source.pin_memory()
    return source.nbytes / check.seconds(lambda: source.to(check.device, non_blocking=pinned))

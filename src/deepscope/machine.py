"""What speed and results depend on: the processor, its instruction sets, and versions of libraries."""

from __future__ import annotations

import platform
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


@cache
def machine() -> dict[str, Any]:
    """The processor, its instruction sets, and the versions that speed depends on."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        found = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines}
        model, flags = found.get("model name", platform.processor()), found.get("flags", "").split()
        return {"processor": model, "flags": sorted(flags), "versions": _versions()}
    return {"processor": platform.processor() or platform.machine(), "flags": [], "versions": _versions()}


def version_of(package: str, *, otherwise: str = "unknown") -> str:
    """The version of a package: as installed, else as its module says where it is imported.

    A package that is run from its source folder, or was installed under another name, has no record of its own.
    """
    with suppress(PackageNotFoundError):
        if found := version(package):
            return found
    module = sys.modules.get(package)
    return str(vars(module).get("__version__", otherwise)) if module else otherwise


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("torch", "torchvision", "timm", "onnxruntime", "openvino"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found

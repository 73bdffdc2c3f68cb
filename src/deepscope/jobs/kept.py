"""Figures that take long, kept in the cache: work that was interrupted goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

import deepscope
from deepscope.files import atomic
from deepscope.session import Session

Arrays = dict[str, NDArray[Any]]


def kept(session: Session, about: Mapping[str, Any], compute: Callable[[], Arrays]) -> Arrays:
    """What `compute` gives, read from the cache where it was computed before.

    Args:
        about: everything that the figures depend on besides the session's seed and device and deepscope's own code,
            ready for JSON.
    """
    depends = {**about, "code": _code(), "seed": session.seed, "device": session.device.type}
    key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
    path = session.cache / "figures" / f"{key}.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):  # not there, or not whole
        found = compute()
    with atomic(path) as temporary:
        np.savez(temporary, allow_pickle=False, **found)
    return found


@cache
def _code() -> str:
    """SHA-256 of deepscope's own source: figures of a measure that was mended since are not the measure's."""
    content = hashlib.sha256()
    for path in sorted(Path(deepscope.__file__).parent.rglob("*.py")):
        content.update(path.read_bytes())
    return content.hexdigest()


def digest(*tensors: Tensor) -> str:
    """SHA-256 of the tensors' values."""
    content = hashlib.sha256()
    for tensor in tensors:
        content.update(tensor.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()

"""What takes long to compute, kept in the cache: work that was interrupted goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from deepscope.code import code_digest
from deepscope.files import atomic
from deepscope.session import Session

Arrays = dict[str, NDArray[Any]]

_code = cache(code_digest)  # it reads the package, and every image asks


def kept(session: Session, about: Mapping[str, Any], compute: Callable[[], Arrays]) -> Arrays:
    """What `compute` gives, read from the cache where it was computed before.

    Args:
        about: everything that the figures depend on besides the session's seed and device and the code of `compute`,
            ready for JSON.
    """
    depends = {**about, "code": _code(compute.__module__), "seed": session.seed, "device": session.device.type}
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


def digest(*tensors: Tensor) -> str:
    """SHA-256 of the tensors' values."""
    content = hashlib.sha256()
    for tensor in tensors:
        content.update(tensor.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()

"""Opening what `torch.save` wrote beside weights, such as settings and metrics, without building its objects."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import torch

_MOST = 64
"""Kinds of objects that a file may hold."""
_GLOBAL = re.compile(r"Unsupported global: GLOBAL ([\w.]+)")


class Unbuilt:
    """Stands for an object of a class or function that is neither imported nor called; its content is dropped."""

    def __new__(cls, *_: Any, **__: Any) -> Unbuilt:
        """One without content."""
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def _dictionary(*_: Any) -> dict[Any, Any]:
    """A plain one in place of a `defaultdict`, whose items only a plain one may be given."""
    return {}


def load(path: Path, **settings: Any) -> Any:
    """What the file holds, with `Unbuilt` in place of objects that PyTorch's safe reader refuses.

    Args:
        path: of the file.
        settings: of `torch.load`.

    Raises:
        Exception: of any kind, where it cannot be read; what PyTorch blocks outright, such as `os`, stays refused.
    """
    # the arguments of the training, which are plain values, and dictionaries
    known: list[Any] = [argparse.Namespace, (_dictionary, "collections.defaultdict")]
    while True:
        try:
            with torch.serialization.safe_globals(known):
                return torch.load(path, weights_only=True, **settings)
        except Exception as error:
            found = _GLOBAL.search(str(error))
            name = "" if found is None else found[1] if "." in found[1] else f"builtins.{found[1]}"
            if not name or len(known) > _MOST or any(name == one[1] for one in known[1:]):
                raise
            known.append((type("Unbuilt", (Unbuilt,), {}), name))  # a class per name: PyTorch keeps them by class

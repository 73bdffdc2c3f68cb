"""deepscope: use any image classifier, look inside it, break it, move it, and generate data for it.

    import deepscope
    model = deepscope.load_model("efficientnet_lite0")
    pixels = model.read(["cat.jpg"])            # (1, 3, H, W) in [0, 1]
    logits = model(pixels)

Packages: `models`, `attributions`, `attacks`, `visualization`, `transfer`, `adaptation`, `gans`, `data`, `commands`,
`studies`, `render`. They are imported when first used.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepscope.models import load_model
    from deepscope.results import Result

    __version__: str

__all__ = ["Result", "__version__", "load_model"]

_HOMES = {"Result": "deepscope.results", "load_model": "deepscope.models"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("deepscope")
    if importlib.util.find_spec(f"deepscope.{name}") is not None:
        return importlib.import_module(f"deepscope.{name}")
    raise AttributeError(f"module 'deepscope' has no attribute {name!r}")

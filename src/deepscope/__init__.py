"""deepscope: use any image classifier, look inside it, break it, move it, and generate data for it.

    import deepscope
    model = deepscope.load_model("efficientnet_lite0")
    pixels = model.read(["cat.jpg"])            # (1, 3, H, W) in [0, 1]
    logits = model(pixels)

Packages: `models`, `attributions`, `attacks`, `visualization`, `transfer`, `adaptation`, `gans`, `data`, `jobs`,
`studies`, `render`. They are imported when first used.
"""

from __future__ import annotations

import importlib
import importlib.util
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from deepscope.results import Result

if TYPE_CHECKING:
    from deepscope.models import load_model

__all__ = ["Result", "__version__", "load_model"]
__version__ = version("deepscope")


def __getattr__(name: str) -> Any:
    if name == "load_model":
        return importlib.import_module("deepscope.models").load_model
    if importlib.util.find_spec(f"deepscope.{name}") is not None:
        return importlib.import_module(f"deepscope.{name}")
    raise AttributeError(f"module 'deepscope' has no attribute {name!r}")


def _repr_html(result: Result) -> str:
    from deepscope.render import fragment

    return fragment(result)


# A notebook shows a result as the report does; the data classes themselves know nothing of HTML.
setattr(Result, "_repr_html_", _repr_html)  # noqa: B010

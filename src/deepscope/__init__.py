"""deepscope: use any image classifier, look inside it, attack it, adapt it to another domain, generate data for it.

    import deepscope as ds

    model = ds.load_model("efficientnet_lite0")               # a name, a file or a folder
    model = ds.wrap(module, categories=["cat", "dog"])        # any nn.Module
    ds.classify(model, "photos/").to_pandas()
    ds.explain(model, "cat.jpg", method="grad-cam", target="tabby").show()
    ds.attack(model, "photos/", ds.attacks.PGD(radius=4 / 255), target="toaster").save("fooled/")
    ds.audit(model, "photos/").save("audit.html")

Images are paths, folders, PIL images, arrays, tensors or datasets of (image, label). What a function returns shows
itself in a notebook, has `.save(folder)` and `.to_pandas()`, and holds plain tensors. Everything is imported when it is
first used.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepscope import (
        adaptation,
        attacks,
        attributions,
        checks,
        classification,
        concepts,
        data,
        gans,
        models,
        studies,
        transfer,
        visualization,
    )
    from deepscope.adaptation import adapt
    from deepscope.attacks import attack
    from deepscope.attributions import explain
    from deepscope.classification import activations, classify
    from deepscope.errors import (
        DataError,
        DeepscopeError,
        FileError,
        MissingExtraError,
        ModelError,
        SettingError,
        UnknownNameError,
        UnsupportedError,
    )
    from deepscope.gans import train_gan
    from deepscope.models import Preprocessing, VisionModel, load_model, save_model, wrap
    from deepscope.report.audit import audit
    from deepscope.results import Result
    from deepscope.session import Session
    from deepscope.transfer import ImageClassifier, abstain, calibrate
    from deepscope.visualization import visualize

    __version__: str

_HOMES = {
    "deepscope.adaptation": ("adapt",),
    "deepscope.attacks": ("attack",),
    "deepscope.attributions": ("explain",),
    "deepscope.classification": ("activations", "classify"),
    "deepscope.errors": (
        "DataError",
        "DeepscopeError",
        "FileError",
        "MissingExtraError",
        "ModelError",
        "SettingError",
        "UnknownNameError",
        "UnsupportedError",
    ),
    "deepscope.gans": ("train_gan",),
    "deepscope.models": ("Preprocessing", "VisionModel", "load_model", "save_model", "wrap"),
    "deepscope.report.audit": ("audit",),
    "deepscope.results": ("Result",),
    "deepscope.session": ("Session",),
    "deepscope.transfer": ("ImageClassifier", "abstain", "calibrate"),
    "deepscope.visualization": ("visualize",),
}
"""Module -> the names of the public face that it holds; a test compares them with the imports above."""

_PACKAGES = (
    "adaptation",
    "attacks",
    "attributions",
    "checks",
    "classification",
    "concepts",
    "data",
    "gans",
    "models",
    "studies",
    "transfer",
    "visualization",
)

__all__ = [
    "DataError",
    "DeepscopeError",
    "FileError",
    "ImageClassifier",
    "MissingExtraError",
    "ModelError",
    "Preprocessing",
    "Result",
    "Session",
    "SettingError",
    "UnknownNameError",
    "UnsupportedError",
    "VisionModel",
    "__version__",
    "abstain",
    "activations",
    "adapt",
    "adaptation",
    "attack",
    "attacks",
    "attributions",
    "audit",
    "calibrate",
    "checks",
    "classification",
    "classify",
    "concepts",
    "data",
    "explain",
    "gans",
    "load_model",
    "models",
    "save_model",
    "studies",
    "train_gan",
    "transfer",
    "visualization",
    "visualize",
    "wrap",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    if name == "__version__":
        return importlib.import_module("deepscope.machine").version_of("deepscope")
    if importlib.util.find_spec(f"deepscope.{name}") is not None:
        return importlib.import_module(f"deepscope.{name}")
    raise AttributeError(f"module 'deepscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

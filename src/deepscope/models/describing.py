"""What a model is, before anything is computed with it: architecture, classes, preprocessing, and what it can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepscope.models.preprocessing import Preprocessing
from deepscope.models.source import DEFAULT, load_model
from deepscope.models.vision_model import VisionModel
from deepscope.render import Presented
from deepscope.session import Session

_FIRST = 5
"""Classes that are shown."""


@dataclass(frozen=True, eq=False)
class Described(Presented):
    """What is known of a model.

    Attributes:
        model: the model itself.
        parameters: how many numbers its network has learnt; 0 where they are out of sight.
        input_size: height and width of the only images it takes; None where it takes any.
        head: what its scores mean: "softmax", "multilabel", "binary", or "none" where it has features only.
    """

    model: VisionModel
    parameters: int
    input_size: tuple[int, int] | None
    head: str

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.model.categories

    @property
    def preprocessing(self) -> Preprocessing:
        """How images become the network's input."""
        return self.model.preprocessing

    def rows(self) -> Mapping[str, str]:
        """Each fact in words."""
        model, can = self.model, self.model.capabilities
        origin, own = model.origin, "the model's own file or package"
        names = ", ".join(self.classes[:_FIRST]) + (", ..." if len(self.classes) > _FIRST else "")
        size = "any size" if self.input_size is None else "{} x {} only".format(*self.input_size)
        answers = {"gradients": can.gradients, "layers": can.activations, "probabilities": can.probabilities}
        lacking = [name for name, there in answers.items() if not there]
        because = f" ({can.reason})" if can.reason and lacking else ""
        return {
            "architecture": model.architecture or "not known by name",
            "weights": origin.source or "given in Python",
            "parameters": f"{self.parameters:,}",
            "classes": f"{len(self.classes):,}: {names}" if self.classes else "none, features only",
            "class names from": (origin.classes or own) if self.classes else "",
            "head": self.head,
            "thresholds": _thresholds(model),
            "abstains": f"below a confidence of {model.head.abstain_below:.4g}" if model.head.abstain_below else "",
            "preprocessing": str(self.preprocessing),
            "preprocessing from": origin.preprocessing or own,
            "input": f"{can.channels} channel{'s' if can.channels > 1 else ''}, {size}",
            "can be asked for": ", ".join(name for name in answers if name not in lacking),
            "cannot be asked for": ", ".join(lacking) + because,
        }

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per fact."""
        rows = self.rows()
        return {"fact": list(rows), "value": list(rows.values())}


def describe(model: str | VisionModel = DEFAULT, *, session: Session | None = None) -> Described:
    """Say what a model is: architecture, classes, preprocessing, where each comes from, and what it can be asked for.

    Args:
        model: a model, or what `load_model` takes.
        session: decides where weights are looked for, and carries the options of the model.

    Raises:
        DeepscopeError: the model cannot be opened.

    Example:
        >>> found = describe("efficientnet_lite0")
        >>> found.parameters, len(found.classes), found.input_size
        (4652008, 1000, None)
    """
    opened = load_model(model, session) if isinstance(model, str) else model
    count = sum(parameter.numel() for parameter in opened.network.parameters())
    return Described(opened, count, opened.input_size, _head(opened))


def _head(model: VisionModel) -> str:
    if not model.categories:
        return "none"
    return model.head.kind


def _thresholds(model: VisionModel) -> str:
    """Those of the first labels; empty where one class is predicted whatever its probability."""
    if model.head.kind not in ("multilabel", "binary"):
        return ""
    labels = range(len(model.categories)) if model.head.kind == "multilabel" else [1]
    said = [f"{model.categories[label]} {model.head.threshold(label):.4g}" for label in labels]
    return ", ".join(said[:_FIRST]) + (", ..." if len(said) > _FIRST else "")

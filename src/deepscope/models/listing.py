"""Which models can be named, and which classes one of them has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.resources import files
from typing import Any

from deepscope.errors import unknown
from deepscope.models.architectures import preprocessing, resolve
from deepscope.models.source import DEFAULT, Entry, catalogue, load_model
from deepscope.models.vision_model import VisionModel
from deepscope.render import Presented
from deepscope.session import Session


@dataclass(frozen=True, eq=False)
class ModelList(Presented):
    """The models whose names match a pattern.

    Attributes:
        entries: those that are listed.
        left_out: architectures of timm that match and are not listed.
        here: how many of all that match have their weights installed.
        parameters: of each architecture, where counted.
    """

    entries: tuple[Entry, ...]
    left_out: int
    here: int
    parameters: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.entries)

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per listed model."""
        return {
            "model": [entry.name for entry in self.entries],
            "parameters": [self.parameters.get(entry.architecture) for entry in self.entries],
            "input": [_size(entry) for entry in self.entries],
            "here": [entry.here for entry in self.entries],
            "weights": [entry.weights for entry in self.entries],
        }


@dataclass(frozen=True, eq=False)
class ClassList(Presented):
    """The classes of a model, in the order of its outputs."""

    model: VisionModel

    def __len__(self) -> int:
        return len(self.model.categories)

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per class, with its WordNet number where that is known."""
        names = self.model.categories
        return {"class": list(range(len(names))), "name": names, "WordNet": self.model.wnids or ("",) * len(names)}


def list_models(pattern: str = "*", *, all: bool = False, here: bool = False, session: Session) -> ModelList:
    """List models: parameters, input size, and where their weights are.

    Args:
        pattern: only matching names, with * and ? ("timm:resnet*").
        all: include the architectures of timm; a pattern that begins with "timm:" implies it.
        here: only models whose weights are installed.
        session: where weights are looked for.

    Raises:
        ModelError: no name matches.
    """
    entries = catalogue(session)
    matching = [entry for entry in entries if fnmatch(entry.name, pattern) and (entry.here or not here)]
    if not matching:
        raise unknown("model", pattern, (entry.name for entry in entries), listing="`deepscope models`")
    whole = all or pattern.startswith("timm:")
    listed = tuple(entry for entry in matching if whole or entry.here or not entry.name.startswith("timm:"))
    counts = json.loads(files("deepscope.models").joinpath("parameters.json").read_text(encoding="utf-8"))
    return ModelList(listed, len(matching) - len(listed), sum(entry.here for entry in matching), counts)


def list_classes(model: str | VisionModel = DEFAULT, *, session: Session | None = None) -> ClassList:
    """List the classes of a model.

    Raises:
        ModelError: the model cannot be opened, or has features only.
    """
    opened = load_model(model, session) if isinstance(model, str) else model
    opened.require_classes()
    return ClassList(opened)


def _size(entry: Entry) -> str:
    if not entry.architecture:
        return ""
    height, width = (entry.preprocessing or preprocessing(resolve(entry.architecture))).size
    return f"{height} x {width}"

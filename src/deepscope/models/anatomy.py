"""What a network is made of, by name, file or object; needs no weights where a name says the architecture."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from deepscope.errors import UnsupportedError
from deepscope.models.architectures import preprocessing, resolve, skeleton
from deepscope.models.capabilities import LAYERS, require
from deepscope.models.layer_table import Layer, layer_table
from deepscope.models.preprocessing import Preprocessing
from deepscope.models.source import DEFAULT, catalogue, exists, load_model
from deepscope.models.vision_model import VisionModel
from deepscope.names import plain
from deepscope.render import Presented
from deepscope.session import Session


@dataclass(frozen=True, eq=False)
class Anatomy(Presented):
    """The layers of a network.

    Attributes:
        name: as it was given.
        architecture: `LIBRARY:NAME`, or what it is in words.
        preprocessing: gives the size and the channels of the input.
        layers: in the order in which they first run.
    """

    name: str
    architecture: str
    preprocessing: Preprocessing
    layers: tuple[Layer, ...]

    @cached_property
    def parameters(self) -> Mapping[str, int]:
        """Parameters of each family of layers: "convolution", "fully-connected", "other"; and their "total"."""
        found: Counter[str] = Counter({"convolution": 0, "fully-connected": 0, "other": 0})
        for layer in self.layers:
            found[layer.family] += layer.parameters
        return {"total": found.total(), **found}

    @property
    def multiply_adds(self) -> int:
        """Of convolutions and matrix products, for one image."""
        return sum(layer.multiply_adds for layer in self.layers)

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per layer."""
        names = ("name", "kind", "family", "output", "parameters", "multiply_adds")
        return {name: [getattr(layer, name) for layer in self.layers] for name in names}


def anatomy(model: str | VisionModel = DEFAULT, *, session: Session | None = None) -> Anatomy:
    """Run the skeleton of a network once, and count its layers.

    Args:
        model: a model, or what `load_model` takes, or a bare architecture ("vgg16").
        session: decides where weights are looked for.

    Raises:
        ModelError: nothing has that name.
        UnsupportedError: the network cannot run without its weights.

    Example:
        >>> anatomy("vgg16").parameters["total"]
        138357544
    """
    name = model if isinstance(model, str) else model.name
    spec, network, taken = _skeleton(model, Session.of(session))
    try:
        layers = layer_table(network, taken.size, channels=len(taken.mean))
    except (RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UnsupportedError(f"{spec} cannot run without weights ({reason})", what=name) from None
    return Anatomy(name, spec, taken, tuple(layers))


def _skeleton(model: str | VisionModel, session: Session) -> tuple[str, nn.Module, Preprocessing]:
    """What it is, on the meta device, and what it takes. A file or folder is opened, a name needs no weights."""
    if isinstance(model, str):
        if Path(model).suffix != ".safetensors" and not exists(Path(model) / "model.json"):
            for entry in catalogue(session):
                if plain(model) == plain(entry.name) and entry.architecture:
                    return _named(entry.architecture, entry.preprocessing)
            if not exists(Path(model)) and "/" not in model:
                return _named(resolve(model), None)
        opened = load_model(model, session)
        network = opened.network
    else:
        opened, network = model, copy.deepcopy(model.network)  # the caller's keeps its weights
    require(opened, "a table of layers", LAYERS)
    if opened.architecture:
        network = skeleton(opened.architecture, classes=len(opened.categories) or None)
        return opened.architecture, network, opened.preprocessing
    return "a saved classifier", network.to("meta"), opened.preprocessing


def _named(architecture: str, taken: Preprocessing | None) -> tuple[str, nn.Module, Preprocessing]:
    spec = resolve(architecture)
    return spec, skeleton(spec), taken or preprocessing(spec)

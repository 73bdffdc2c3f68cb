"""Models in ONNX files, run by ONNX Runtime: black boxes, which give scores, and gradients only after conversion."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, cast

import torch

from deepscope.errors import DeepscopeError, FileError, MissingExtraError, ModelError
from deepscope.models import documents, image_processor, imagenet
from deepscope.models.capabilities import Capabilities
from deepscope.models.company import MIXES
from deepscope.models.heads import Head, head_of
from deepscope.models.onnx_file import OnnxFile, read
from deepscope.models.onnx_gradients import converted
from deepscope.models.onnx_network import SIDE, OnnxNetwork
from deepscope.models.options import MOST_CLASSES, ModelOptions
from deepscope.models.origin import Origin
from deepscope.models.outputs import Kind
from deepscope.models.preprocessing import Preprocessing
from deepscope.models.source import ModelSource, exists
from deepscope.models.vision_model import VisionModel
from deepscope.session import Session

_FILE = "model.onnx"
"""The file in a folder, as optimum and `transfer export` call it."""
_BOUNDED: dict[str, Kind] = {"Softmax": "probabilities", "Sigmoid": "probabilities"}


@dataclass(frozen=True)
class Onnx(ModelSource):
    """A file that ends in `.onnx`, or a folder with `model.onnx`, by path."""

    rank: ClassVar[int] = -4
    patterns: ClassVar[tuple[str, ...]] = ("*.onnx", "*/model.onnx")

    def open(self, name: str, session: Session) -> VisionModel | None:
        """The model as a black box, or with gradients where the options ask for them."""
        path = Path(name)
        if path.suffix.lower() != ".onnx":
            path = path / _FILE
            if not exists(path) or any(exists(path.parent / other) for other in _WHOLE):
                return None
        if not exists(path):
            raise FileError(f"model {name!r}: no such file", path=path)
        if any(find_spec(package) is None for package in ("onnx", "onnxruntime")):
            raise MissingExtraError("onnx", f"model {name!r}")
        file = read(path)
        network = OnnxNetwork(file)
        if network.mixes:
            session.note_once(f"{name} mixes", f"{name} {MIXES}")
        return _described(name, file, network, session)


_WHOLE = ("model.json", "model.safetensors", "pytorch_model.bin")
"""Files of a folder that holds the same model with gradients and layers."""


def _described(name: str, file: OnnxFile, network: OnnxNetwork, session: Session) -> VisionModel:
    own = _own_export(file)
    described = own or image_processor.beside(file.path)
    preprocessing = described or _assumed(name, file, session)
    if file.size and preprocessing.size != file.size:
        preprocessing = replace(preprocessing, resize=file.size, crop=None)
    scores, width, kind = _scores(file, network, preprocessing)
    named, categories = _categories(name, file, width, session)
    gradients = ModelOptions.of(name, session).gradients
    model = VisionModel(
        name,
        converted(network, scores, preprocessing.size) if gradients else network,
        preprocessing,
        categories,
        origin=Origin(
            f"{file.path.name}, an ONNX file",
            file.sha256,
            preprocessing="" if described else "assumed: the file does not say",
            classes="" if named else "assumed: the file does not name them",
        ),
        capabilities=Capabilities(
            gradients=gradients,
            activations=False,
            input_size=file.size,
            reason="an ONNX file does not expose its layers" if gradients else "ONNX Runtime computes scores alone",
        ),
        head=_head(file, categories) if own else Head(),
    )
    model.outputs.kind = "probabilities" if own else kind
    return model


def _own_export(file: OnnxFile) -> Preprocessing | None:
    """Of a file that `transfer export` wrote: its network takes pixels and normalises them itself."""
    if not {"preprocessing", "categories", "fingerprint"} <= set(file.metadata):
        return None
    try:
        described = Preprocessing.from_json(file.metadata["preprocessing"])
    except DeepscopeError as error:
        raise FileError(f"{file.path}: {error}", path=file.path) from None
    return replace(described, mean=(0.0,) * described.planes, std=(1.0,) * described.planes)


def _head(file: OnnxFile, categories: tuple[str, ...]) -> Head:
    """Of a file that `transfer export` wrote."""
    try:
        return head_of(file.metadata.get("head") or "softmax", file.metadata.get("thresholds"), categories)
    except DeepscopeError as error:
        raise FileError(f"{file.path}: {error}", path=file.path) from None


def _assumed(name: str, file: OnnxFile, session: Session) -> Preprocessing:
    height, width = file.size or (SIDE, SIDE)
    resize, crop = (height * 256 // 224, height) if height == width else ((height, width), None)
    found = Preprocessing(resize, crop)
    text = "ImageNet's mean and deviation"
    if file.dtype == "uint8" or file.channels != 3:
        scale = 1 / 255 if file.dtype == "uint8" else 1.0
        found = replace(found, mean=(0.0,) * file.channels, std=(scale,) * file.channels)
        text = "levels from 0 to 255" if file.dtype == "uint8" else "grey pixels in [0, 1]"
    if ModelOptions.of(name, session).preprocessing:
        return found
    session.note_once(
        f"preprocessing {name}",
        f"{name} does not say how its input is made: resize {resize}, {'no crop' if crop is None else f'crop {crop}'} "
        f"and {text} are assumed; give another as preprocessing, or in preprocessor_config.json beside it",
    )
    return found


def _scores(file: OnnxFile, network: OnnxNetwork, preprocessing: Preprocessing) -> tuple[str, int, Kind | None]:
    """Which output holds the scores, how many there are per image, and what they are where the graph says so."""
    outputs = network(torch.full((1, file.channels, *preprocessing.size), 0.5))
    rows = {key: value.flatten(1) for key, value in outputs.items() if value.ndim >= 2 and value.shape[2:].numel() == 1}
    main = "logits" if "logits" in rows else next(iter(rows), None) if len(rows) == 1 else None
    if main is None:
        listed = ", ".join(f"{key!r} {tuple(value.shape)}" for key, value in list(outputs.items())[:4]) or "no numbers"
        raise ModelError(
            f"{file.path} returns {listed}: a classifier returns one output of one score per class",
            model=str(file.path),
        )
    width = rows[main].shape[1]
    if width > MOST_CLASSES:
        raise ModelError(f"{file.path} returns {width:,} scores per image: too many classes", model=str(file.path))
    kind = _BOUNDED.get(file.last) if main == file.outputs[0] else None
    if kind and width > 1 and file.last == "Sigmoid":
        kind = None  # which says that they are probabilities of several labels
    return main, max(2, width), kind


def _categories(name: str, file: OnnxFile, width: int, session: Session) -> tuple[bool, tuple[str, ...]]:
    """Whether the file or the person names the classes, and their names."""
    for named in (_named(file) or image_processor.labels_beside(file.path), ModelOptions.of(name, session).names()):
        if len(named) == width:
            return True, named
    if width == len(imagenet.categories()):
        session.note_once(f"classes {name}", f"the {width} classes of {name} are taken to be ImageNet's, in its order")
        return False, imagenet.categories()
    return False, tuple(f"class {index}" for index in range(width))


def _named(file: OnnxFile) -> tuple[str, ...]:
    """Names in the metadata: JSON of deepscope's `categories`, or the dictionary in Ultralytics' `names`."""
    for key, parse in (("categories", documents.parse), ("names", ast.literal_eval)):
        text = file.metadata.get(key, "")
        try:
            found: Any = parse(text) if 0 < len(text) <= documents.MOST_BYTES else ()
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, Mapping):
            listed = cast("Mapping[Any, Any]", found)
            found = [listed[index] for index in range(len(listed)) if index in listed]
        if isinstance(found, (list, tuple)) and found and all(isinstance(one, str) for one in found):
            return tuple(cast("list[str]", found))
    return ()

"""`save_model`: a model as one file that says what it is, for every command and for `load_model`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from deepscope.errors import FileError, ModelError, SettingError, UnsupportedError
from deepscope.files import atomic
from deepscope.models import architectures, imagenet, saved
from deepscope.models.capabilities import LAYERS, require
from deepscope.models.classifier import Backbone, BackboneOrigin, Classifier
from deepscope.models.heads import in_words
from deepscope.models.vision_model import VisionModel
from deepscope.models.weights_file import FILE, read

_SAME = 1e-5
"""Relative difference of logits above which what was read back counts as another network."""


def save_model(model: VisionModel, path: str | Path, *, architecture: str = "") -> Path:
    """Save a model's weights, classes and preprocessing, so that `load_model` and every command open it anywhere.

    It is one `.safetensors` file that describes itself; for a transferred classifier, a folder as `transfer fit`
    writes it. What is saved is rebuilt before it takes its name, and must give the same logits.

    Args:
        model: a model whose network torchvision or timm can rebuild, or a classifier on features of such networks.
        path: a file that ends in `.safetensors`, or a folder, which gets the file `model.safetensors`. For a
            transferred classifier, a folder.
        architecture: what rebuilds the network, "torchvision:resnet18"; by default what the model says.

    Returns:
        the file, or the folder of a transferred classifier. `load_model` and every command take either.

    Raises:
        UnsupportedError: the model is a black box, or nothing rebuilds the network.
        ModelError: the architecture is another one than the network's.
        FileError: the file cannot be written.

    Example:
        >>> import tempfile, deepscope as ds
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = ds.save_model(ds.load_model("efficientnet_lite0"), folder)
        ...     ds.load_model(file).categories[0]
        'tench'
    """
    require(model, "saving a model", LAYERS)
    if model.head.label is not None:
        raise UnsupportedError(
            f"{model.name} here is one label of a network: save the whole network", what="save_model"
        )
    if isinstance(model.network, Classifier):
        return _save_classifier(model, model.network, Path(path))
    if not (named := architecture or model.architecture):
        raise UnsupportedError(
            f"nothing says how to rebuild the network of {model.name}: where torchvision or timm defines it, name it "
            "from Python: save_model(model, path, architecture='torchvision:resnet18')",
            what="save_model",
        )
    known = model.categories == imagenet.categories()
    about = {
        "architecture": architectures.resolve(named),
        "preprocessing": model.preprocessing.to_json(),
        "categories": imagenet.NAME if known else json.dumps(model.categories, ensure_ascii=False),
        "head": "binary" if model.outputs.single else model.head.kind,
        "thresholds": in_words(model.head.thresholds or None),
        "abstain_below": str(model.head.abstain_below or ""),
        "source": model.origin.source,
        "license": model.origin.licence,
    }
    file = Path(path) if Path(path).suffix == ".safetensors" else Path(path) / FILE
    weights = {key: value.detach().cpu().contiguous() for key, value in model.network.state_dict().items()}
    content = safetensors.torch.save(weights, metadata=about)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic(file) as temporary:
            temporary.write_bytes(content)
            _require_same(model, read(temporary), about["architecture"])
    except OSError as error:
        raise FileError(f"{file} cannot be written: {error.strerror or error}", path=file) from None
    return file


def _save_classifier(model: VisionModel, classifier: Classifier, folder: Path) -> Path:
    if model.head.kind != "softmax":
        raise SettingError("head", f"must be softmax to save a transferred classifier, and is {model.head.kind}")
    if folder.suffix == ".safetensors":
        raise SettingError("path", "must be a folder: a transferred classifier is more than one file", got=str(folder))
    backbones = [backbone for backbone in classifier.backbones if isinstance(backbone, Backbone)]
    origins = [one.origin or BackboneOrigin(model.name, "", None) for one in backbones]
    try:
        network = saved.rebuilt(classifier, origins, model.preprocessing, model.categories)
    except ValueError as error:
        raise ModelError(f"{model.name} cannot be rebuilt from its description: {error}", model=model.name) from None
    named = " + ".join(origin.architecture for origin in origins)
    _require_same(model, model.with_network(network, returns=None), f"classifier on {named}")
    about: dict[str, Any] = {"source": model.origin.source, "abstain_below": model.head.abstain_below}
    saved.save(folder, classifier, origins, model.preprocessing, model.categories, **about)
    return folder


def _require_same(model: VisionModel, other: VisionModel, architecture: str) -> None:
    pixels = torch.rand(1, model.planes, *model.preprocessing.size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted, found = (each(pixels.to(model.device)).cpu() for each in (model, other.to(model.device)))
    if wanted.shape != found.shape or float((wanted - found).norm()) > _SAME * float(wanted.norm()):
        raise ModelError(
            f"{model.name} is not a plain {architecture}: rebuilt from it, the same weights give other logits",
            model=model.name,
        )

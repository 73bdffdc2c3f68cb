"""`save_model`: a model as one file that says what it is, for every command and for `load_model`."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors.torch
import torch

from deepscope.errors import FileError, ModelError, UnsupportedError
from deepscope.files import atomic
from deepscope.models import architectures, imagenet
from deepscope.models.capabilities import LAYERS, require
from deepscope.models.classifier import Classifier
from deepscope.models.vision_model import VisionModel
from deepscope.models.weights_file import FILE, read

_SAME = 1e-5
"""Relative difference of logits above which what was read back counts as another network."""


def save_model(model: VisionModel, path: str | Path, *, architecture: str = "") -> Path:
    """Save a model's weights, classes and preprocessing as one `.safetensors` file that describes itself.

    The file is read back before it takes its name, and must give the same logits.

    Args:
        model: a model whose network torchvision or timm can rebuild.
        path: a file that ends in `.safetensors`, or a folder, which gets the file `model.safetensors`.
        architecture: what rebuilds the network, "torchvision:resnet18"; by default what the model says.

    Returns:
        the file. `--model` and `load_model` take it, or its folder.

    Raises:
        UnsupportedError: the model is a black box, nothing rebuilds the network, or it is a transferred classifier,
            whose folder can be copied.
        ModelError: the architecture is another one than the network's.
        FileError: the file cannot be written.

    Example:
        >>> import tempfile, deepscope as ds
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = ds.save_model(ds.load_model("efficientnet_lite0"), folder)
        ...     ds.load_model(file).categories[0]
        'tench'
    """
    require(model, "save_model", LAYERS)
    if isinstance(model.network, Classifier):
        raise UnsupportedError(f"{model.name} is a saved classifier already: copy its folder", what="save_model")
    if not (named := architecture or model.architecture):
        raise UnsupportedError(
            f"nothing says how to rebuild the network of {model.name}: name its architecture, such "
            "as architecture='torchvision:resnet18'",
            what="save_model",
        )
    known = model.categories == imagenet.categories()
    about = {
        "architecture": architectures.resolve(named),
        "preprocessing": model.preprocessing.to_json(),
        "categories": imagenet.NAME if known else json.dumps(model.categories, ensure_ascii=False),
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


def _require_same(model: VisionModel, other: VisionModel, architecture: str) -> None:
    pixels = torch.rand(1, 3, *model.preprocessing.size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted, found = model(pixels.to(model.device)).cpu(), other(pixels)
    if wanted.shape != found.shape or float((wanted - found).norm()) > _SAME * float(wanted.norm()):
        raise ModelError(
            f"{model.name} is not a plain {architecture}: rebuilt from it, the same weights give other logits",
            model=model.name,
        )

"""Image classifiers of transformers: a folder, or `hf:ORG/NAME` from the Hugging Face cache."""

from __future__ import annotations

import contextlib
import hashlib
import logging as python_logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import nn

from deepscope.errors import FileError, MissingExtraError, ModelError
from deepscope.files import sha256
from deepscope.models import hub, image_processor
from deepscope.models.heads import Head
from deepscope.models.origin import Origin
from deepscope.models.preprocessing import Preprocessing, from_levels, normalised
from deepscope.models.source import ModelSource, exists
from deepscope.models.vision_model import VisionModel
from deepscope.models.weights import checked
from deepscope.session import Session

PREFIX = "hf:"
_CLOSE = 1.0
"""Mean difference of noise in levels of 255 up to which two resizes count as the same."""
_SEVERAL = "multi_label_classification"
_CODE = ("auto_map", "custom_pipelines", "quantization_config")
"""Keys of a configuration that bring code or need other packages; those of attention can name kernels to fetch."""
_SPARE = 2**24
"""Numbers that a network may hold beyond its weights file: buffers that are computed."""


@dataclass(frozen=True)
class Transformers(ModelSource):
    """A folder with `config.json` and `model.safetensors`, by path, or `hf:ORG/NAME`."""

    rank: ClassVar[int] = -3
    patterns: ClassVar[tuple[str, ...]] = ("*/config.json",)

    def open(self, name: str, session: Session) -> VisionModel | None:
        """The classifier, by transformers' own code and from its own files alone."""
        folder = hub.snapshot(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else Path(name)
        if not exists(folder / image_processor.CONFIG) or exists(folder / "model.json"):
            return None
        about = hub.configuration(folder)
        if "model_type" not in about:
            return None
        if find_spec("transformers") is None:
            raise MissingExtraError("hf", f"model {name!r}")
        weights = hub.Weights.of(folder)
        with _quietly(), hub.building(folder):
            network = _network(folder, about, weights)
            preprocessing = _preprocessing(name, folder, session)
        digest = hashlib.sha256("".join(map(sha256, (folder / image_processor.CONFIG, *weights.files))).encode())
        return VisionModel(
            name,
            network,
            preprocessing,
            image_processor.labels({"id2label": getattr(network.config, "id2label", {})}),
            origin=Origin(f"transformers, {about['model_type']}", digest.hexdigest()),
            head=Head("multilabel") if about.get("problem_type") == _SEVERAL else Head(),
        )


def _network(folder: Path, about: Mapping[str, Any], weights: hub.Weights) -> Any:
    """The network with every weight from the files.

    Raises:
        FileError: transformers has no image classifier of that kind, or the files are not its weights.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

    kind = str(about["model_type"])
    # `get` of this mapping knows nothing of what it imports when it is asked
    config_class: Any = CONFIG_MAPPING[kind] if kind in CONFIG_MAPPING else None  # noqa: SIM401
    if config_class is None or config_class not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        raise FileError(
            f"{folder} holds a model of the kind {kind[:60]!r}, of which transformers has no image classifier: choose "
            "another, or wrap the model in Python with deepscope.wrap",
            path=folder,
        )
    weights.require_counts(about)
    try:
        if about.get("id2label") and not image_processor.labels(about):
            raise ValueError("they are not numbered from 0")
    except ValueError as error:
        raise FileError(
            f"{folder / image_processor.CONFIG} has no usable names of classes in id2label ({error}): correct them",
            path=folder,
        ) from None
    config = config_class.from_dict(_without_code(about))
    model_class: Any = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[config_class]
    with torch.device("meta"):
        skeleton: nn.Module = model_class(config)
    tensors = (*skeleton.parameters(), *skeleton.buffers())
    if (wanted := sum(tensor.numel() for tensor in tensors)) > weights.numbers + _SPARE:
        raise FileError(
            f"{folder / image_processor.CONFIG} describes {wanted:,} numbers, and the weights are {weights.numbers:,}: "
            "copy the folder again",
            path=folder,
        )
    network, found = model_class.from_pretrained(
        folder,
        config=config,
        dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=weights.safe,
        weights_only=True,
        ignore_mismatched_sizes=True,  # they are refused below, by name
        output_loading_info=True,
    )
    wrong = sorted((*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])))
    if wrong:
        raise FileError(
            f"{folder}: its weights are not those of its configuration: {wrong[0]} is missing or has another shape "
            f"({len(wrong)} such tensor{'s' if len(wrong) > 1 else ''})",
            path=folder,
        )
    checked(network.state_dict())
    return network


def _without_code(about: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in about.items() if key not in _CODE and "attn_implementation" not in key}


def _preprocessing(name: str, folder: Path, session: Session) -> Preprocessing:
    """What the folder's image processor does, compared with the processor itself on noise."""
    from transformers import AutoImageProcessor

    if not (folder / image_processor.PROCESSOR).is_file():
        session.note_once(
            f"preprocessing {name}",
            f"{name} has no {image_processor.PROCESSOR}: resize 256, crop 224 and ImageNet's mean and deviation are "
            "assumed",
        )
        return Preprocessing()
    described = image_processor.beside(folder / image_processor.CONFIG)
    assert described is not None
    processor: Any = AutoImageProcessor.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, backend="pil"
    )
    rng = np.random.default_rng(0)
    for shape in ((260, 300, 3), (300, 260, 3)):
        levels = rng.integers(0, 256, shape, dtype=np.uint8)
        wanted = torch.as_tensor(np.asarray(processor(Image.fromarray(levels), return_tensors="np")["pixel_values"]))[0]
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (described.mean, described.std))
        found = normalised(from_levels(described.levels(levels))[None], mean, std)[0]
        if found.shape != wanted.shape:
            raise ModelError(
                f"the image processor of {name} gives {tuple(wanted.shape)} where its settings say "
                f"{tuple(found.shape)}: open the model in Python and pass its preprocessing to deepscope.wrap",
                model=name,
            )
        difference = float(((found - wanted).abs() * std).mean() * 255)
        if not difference <= _CLOSE:
            session.note_once(
                f"preprocessing {name}",
                f"the image processor of {name} gives other pixels than deepscope makes from its settings: they differ "
                f"by {difference:.3g} of 255 levels on average, for noise",
            )
    return described


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without transformers' progress bars and advice."""

    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(python_logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()

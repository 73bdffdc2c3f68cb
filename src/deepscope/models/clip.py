"""CLIP models of open_clip as classifiers: the classes are texts, whose features become a linear head."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscope.errors import FileError, MissingExtraError, ModelError, unknown
from deepscope.models import hub
from deepscope.models.options import ModelOptions
from deepscope.models.origin import Origin
from deepscope.models.preprocessing import Preprocessing
from deepscope.models.source import ModelSource, exists
from deepscope.models.state_dicts import require_stored
from deepscope.models.vision_model import VisionModel
from deepscope.models.weights import checked
from deepscope.session import Session

PREFIX = "clip:"
PROMPT = "a photo of a {}"
"""What a class's name is put into where the person gives no prompt (Radford et al. 2021, section 3.1.4)."""
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class Clip(ModelSource):
    """`clip:ARCHITECTURE/WEIGHTS` of open_clip: weights are a file's path or the tag of published ones.

    Its classes are given as `categories`: "cat, dog", or "a photo of a {}: cat, dog" with a prompt of your own.
    """

    rank: ClassVar[int] = -5

    def open(self, name: str, session: Session) -> VisionModel | None:
        """The classifier of the given classes; without any, the image tower, which has features only."""
        if not name.startswith(PREFIX):
            return None
        architecture, _, weights = name.removeprefix(PREFIX).partition("/")
        if find_spec("open_clip") is None:
            raise MissingExtraError("clip", f"model {name!r}")
        import open_clip

        if architecture not in open_clip.list_models():
            raise unknown("CLIP architecture", architecture, open_clip.list_models())
        if not weights:
            raise ModelError(f"{name} names no weights: write clip:{architecture}/FILE, or a published tag", model=name)
        options = ModelOptions.of(name, session)
        path = _file(architecture, weights)
        with hub.building(path), _quietly():
            clip: Any = open_clip.create_model(architecture, load_weights=False, pretrained_text=False)
            _fill(clip, path)
            preprocessing = _preprocessing(clip)
            categories = options.names()
            network: nn.Module = clip.visual
            if categories:
                texts = [(options.prompt or PROMPT).replace("{}", category) for category in categories]
                network = ClipClassifier(clip, open_clip.get_tokenizer(architecture)(texts))
        origin = Origin(f"open_clip {architecture}, {weights}")  # no digest of the file: classes count as well
        return VisionModel(name, network, preprocessing, categories, origin=origin)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without open_clip's warning that weights are loaded later."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class ClipClassifier(nn.Module):
    """The cosine of an image's features with each class's, times CLIP's temperature: an ordinary classifier.

    Args:
        clip: an open_clip model.
        texts: (C, L) tokens of the classes' texts.
    """

    def __init__(self, clip: Any, texts: Tensor) -> None:
        super().__init__()
        self.visual = clip.visual
        with torch.no_grad():
            features = clip.eval().encode_text(texts, normalize=True)
            bias = getattr(clip, "logit_bias", None)
            self.head = nn.Linear(features.shape[1], len(texts), bias=bias is not None)
            self.head.weight.copy_(features * clip.logit_scale.exp())
            if bias is not None:
                self.head.bias.copy_(bias.expand(len(texts)))

    def forward(self, images: Tensor) -> Tensor:
        """(N, C) logits."""
        return self.head(functional.normalize(self.visual(images), dim=-1))


def _file(architecture: str, weights: str) -> Path:
    """The file of that path, or of the published tag."""
    import open_clip

    path = Path(weights)
    if exists(path) or path.suffix in _SUFFIXES:
        if not exists(path) or not path.is_file() or path.suffix not in _SUFFIXES:
            raise FileError(f"{path} is not a weights file ({', '.join(_SUFFIXES)})", path=path)
        require_stored(path)
        return path
    tags: Sequence[str] = open_clip.list_pretrained_tags_by_model(architecture)
    if weights not in tags:
        raise unknown(f"file or published weights of {architecture}", weights, tags)
    about: Any = open_clip.get_pretrained_cfg(architecture, weights)
    return hub.published(f"{architecture}/{weights}", about)


def _fill(clip: Any, path: Path) -> None:
    """Load every weight. Raises where one is missing or left over."""
    from open_clip import load_checkpoint

    load_checkpoint(clip, str(path), strict=True, weights_only=True)
    checked(clip.state_dict())


def _preprocessing(clip: Any) -> Preprocessing:
    import open_clip

    about: Any = open_clip.get_model_preprocess_cfg(clip)
    size = about["size"]
    height, width = (size, size) if isinstance(size, int) else size
    squashed = about["resize_mode"] == "squash"
    if about["resize_mode"] == "longest" or (not squashed and height != width):
        raise ValueError(f"images are resized by {about['resize_mode']!r} to {size}, which is not supported")
    return Preprocessing(
        (height, width) if squashed else height,
        None if squashed else height,
        about["interpolation"],
        tuple(about["mean"]),
        tuple(about["std"]),
    )

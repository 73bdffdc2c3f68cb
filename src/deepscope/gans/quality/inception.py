"""The features of the Frechet Inception distance, from weights that a person has put into the home folder."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from deepscope.errors import FileError, MissingExtraError
from deepscope.gans.quality.backbones import Features, in_colour
from deepscope.session import Session

INCEPTION = "pt_inception-2015-12-05-6726825d.pth"
"""The weights' file as pytorch-fid names it; torch-fidelity publishes the same bytes as `weights-inception-...`."""
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"

_AT_ONCE = 50
_BYTES = 95_628_359


def inception_features(session: Session) -> Features:
    """The 2048 features of the Inception FID (Heusel et al. 2017), by torch-fidelity.

    The weights are looked for in HOME/weights; nothing is downloaded.

    Raises:
        FileError: the weights are missing, or are not the published file.
        MissingExtraError: torch-fidelity is not installed.
    """
    path = session.home / "weights" / INCEPTION
    if not path.is_file():
        text = f"The Inception FID needs its weights: put {INCEPTION} into {path.parent}"
        raise FileError(text, path=path)
    weights = _published(path)
    network = inception_network(weights).to(session.device)

    @torch.inference_mode()
    def features(images: Tensor) -> Tensor:
        return torch.cat([network(in_colour(part).to(session.device))[0].cpu() for part in images.split(_AT_ONCE)])

    return features


def inception_network(weights: Mapping[str, Tensor]) -> nn.Module:
    """torch-fidelity's network: (N, 3, H, W) uint8 -> a tuple of (N, 2048) float32. It resizes images as TensorFlow 1.

    Raises:
        MissingExtraError: torch-fidelity is not installed.
    """
    if find_spec("torch_fidelity") is None:
        raise MissingExtraError("fid", "the Inception FID by torch-fidelity")
    from torch_fidelity.feature_extractor_inceptionv3 import (  # pyright: ignore[reportMissingImports]
        FeatureExtractorInceptionV3,
    )

    # It unpickles whatever file it is given, so it gets a copy of tensors that were read with weights_only=True.
    copy = io.BytesIO()
    torch.save(dict(weights), copy)
    copy.seek(0)
    return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=copy).eval()


def _published(path: Path) -> dict[str, Tensor]:
    """The tensors in the published file. The bytes that are checked are the bytes that are read."""
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size == _BYTES else b""
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}", path=path) from None
    if hashlib.sha256(content).hexdigest() != INCEPTION_SHA256:
        found = f"{size} bytes, not {_BYTES}" if size != _BYTES else "another SHA-256"
        raise FileError(
            f"{path} is not the published file ({found}): its SHA-256 must be {INCEPTION_SHA256}", path=path
        )
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)

"""Parts shared by the results of several commands."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from deepscope.classification import Classification
from deepscope.images import Skipped
from deepscope.models import VisionModel
from deepscope.names import counted, distinct
from deepscope.results import Block, Column, Note, Picture, Provenance, Table

THUMBNAIL = 256
"""Longer side of a thumbnail, in pixels."""


def picture(pixels: Tensor, *, caption: str = "") -> Picture:
    """(3, H, W) pixels in [0, 1] -> a picture, rounded to 8 bits."""
    rounded = (pixels.detach().float().clamp(0, 1) * 255).round().byte()
    return Picture(rounded.permute(1, 2, 0).cpu().contiguous().numpy(), caption=caption)


def thumbnail(image: Image.Image, *, caption: str = "") -> Picture:
    """An RGB image, made small for a figure; the image itself stays as it is."""
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return Picture(np.asarray(small), caption=caption)


def missing(*, caption: str = "") -> Picture:
    """A placeholder for an image whose file cannot be read any more."""
    square = np.full((THUMBNAIL // 4, THUMBNAIL // 4, 3), 128, np.uint8)
    return Picture(square, caption=f"{caption} (the file cannot be read any more)".strip())


def skipped_blocks(skipped: Sequence[Skipped]) -> tuple[Block, ...]:
    """A warning and a list of the inputs that could not be used; empty where all could."""
    if not skipped:
        return ()
    rows = tuple((item.path, item.reason) for item in skipped)
    number = counted(len(skipped), "input")
    return (
        Note(f"{number} could not be used and {'were' if len(skipped) != 1 else 'was'} skipped.", "Skipped", "warning"),
        Table(columns=(Column("path"), Column("reason")), rows=rows, title="Skipped"),
    )


def by_class(found: Classification) -> Tensor:
    """(N, C) probabilities in the order of the model's classes, of a classification into all of them."""
    return torch.zeros_like(found.probabilities).scatter(1, found.classes, found.probabilities)


def origin(models: Iterable[VisionModel], paths: Sequence[Path], digests: Sequence[bytes]) -> Provenance:
    """What was used and what was read: the data's digest covers the name and SHA-256 of every image."""
    digest = hashlib.sha256()
    for path, content in zip(paths, digests, strict=True):
        digest.update(path.name.encode(errors="surrogateescape") + content)
    return Provenance(
        models=_fingerprints(models),
        data=f"{counted(len(paths), 'image')}, sha256 {digest.hexdigest()}" if paths else "",
        sha256=digest.hexdigest() if paths else "",
    )


def _fingerprints(models: Iterable[VisionModel]) -> dict[str, str]:
    """By name; the same network is named once."""
    found = dict.fromkeys((model.name, model.fingerprint) for model in models)
    return dict(zip(distinct(name for name, _ in found), (fingerprint for _, fingerprint in found), strict=True))


def saved_note(model: VisionModel) -> Note:
    """What can be done with a model that was saved as a folder."""
    return Note(f"{model.name} is a model: give its folder to any command or to `deepscope.load_model`.", "Saved")

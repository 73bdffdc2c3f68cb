"""Entries of a gallery, made of images that a classifier read."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from deepscope.attacks.evaluator import Ranked
from deepscope.gallery import Adversarial, Encoded, Entry, Measured
from deepscope.inputs import Photos
from deepscope.models import VisionModel
from deepscope.names import visible
from deepscope.presenters.attacked import difference
from deepscope.render.plots import overlay
from deepscope.results import Heatmap

EXPLORED = 2000
"""The most evaluated images in a gallery."""
_TOGETHER = 2 * 2**20
"""Bytes of all pictures of a gallery, roughly: a page with 500 images stays below 12 MB."""
_LARGEST, _LEAST = 12 * 1024, 1536
"""Bytes of one picture."""
_SIDES = ((300, 224), (700, 176), (1200, 128))
"""Images of a gallery, at most, and the longer side of their pictures in pixels."""
_SMALLEST_SIDE = 96
_QUALITIES = (80, 65, 50, 35)
_COARSE = 64
"""Smaller pictures are enlarged with sharp pixels, so every pixel is kept as it is."""
_TOP = 5
_NOISY = 20
"""How many pictures a changed image and its difference count for: noise takes many bytes."""

CONFIDENCE = Measured("confidence", "confidence", "The probability of the predicted class.", "share", 1)
LOSS = Measured("loss", "loss", "Cross-entropy of the true class, in nats: 0 where it is certain.")


@dataclass(frozen=True)
class Encoder:
    """Writes pictures as WebP files, of a size that lets a page hold all of them.

    Attributes:
        count: images that the gallery will hold, roughly.
        scale: of their longer side, beside that of a whole gallery: less for small pictures beside it.
    """

    count: int
    scale: float = 1.0

    def __call__(self, pixels: Tensor) -> Encoded:
        """(3, H, W) pixels in [0, 1], or uint8 levels."""
        levels = pixels if pixels.dtype == torch.uint8 else (pixels.detach().float().clamp(0, 1) * 255).round().byte()
        image = Image.fromarray(levels.permute(1, 2, 0).cpu().contiguous().numpy())
        side = next((side for most, side in _SIDES if self.count <= most), _SMALLEST_SIDE)
        if max(image.size) > side * self.scale:
            image.thumbnail((side * self.scale, side * self.scale), Image.Resampling.LANCZOS, reducing_gap=2)
        return self._within(image)

    def _within(self, image: Image.Image) -> Encoded:
        """The finest of the qualities that leaves room for the others; the coarsest where none does."""
        if max(image.size) <= _COARSE:
            return _webp(image, lossless=True)
        room = min(_LARGEST, max(_LEAST, _TOGETHER // max(1, self.count))) * self.scale**2
        content = _webp(image, quality=_QUALITIES[0])
        for quality in _QUALITIES[1:]:
            if len(content) <= room:
                break
            content = _webp(image, quality=quality)
        return content


def _webp(image: Image.Image, **settings: object) -> Encoded:
    file = io.BytesIO()
    image.save(file, "WEBP", method=2, **settings)
    return np.frombuffer(file.getvalue(), np.uint8)


def key_of(path: Path, digest: bytes) -> str:
    """Names an image among the galleries of all checks: copies of one file in two folders are two images."""
    return hashlib.sha256(os.fsencode(path) + b"\0" + digest).hexdigest()[:20]


def names_of(path: Path) -> tuple[str, str]:
    """An image's name and path as text that cannot harm a page."""
    return visible(path.name), visible(str(path))


def entries_of(photos: Photos, encode: Encoder) -> list[Entry]:
    """Entries of images with pixels that a classifier read."""
    model, several = photos.model, photos.model.head.kind == "multilabel"
    labels = torch.tensor([min(answer, default=0) for answer in photos.answers])
    losses = (-model.head.log_probability(photos.logits.double(), labels)).tolist() if len(photos) else []
    probabilities, predicted = photos.probabilities, photos.predictions
    top = probabilities.topk(min(_TOP, probabilities.shape[1]), 1)
    found: list[Entry] = []
    for row, (path, answer, right) in enumerate(zip(photos.paths, photos.answers, photos.correct, strict=True)):
        name, file = names_of(path)
        values = {} if several else {"confidence": float(probabilities[row, predicted[row]].max())}
        if answer and not several:
            values["loss"] = losses[row]
        told = _told(model, sorted(answer) if several else sorted(answer)[:1], known=photos.known[row])
        found.append(
            Entry(
                key=key_of(path, photos.digests[row]),
                name=name,
                file=file,
                picture=encode(model.displayed(photos.pixels[row])),
                truth=told,
                predicted=_told(model, predicted[row].nonzero().flatten().tolist(), known=True),
                right=right,
                top=named(model, tuple(zip(top.indices[row].tolist(), top.values[row].tolist()))),
                values=values,
            )
        )
    return found


def _told(model: VisionModel, labels: Sequence[int], *, known: bool) -> str:
    """The names of classes; of a model with several labels per image also that there is none."""
    nothing = "none" if known and model.head.kind == "multilabel" else ""
    return ", ".join(model.categories[label] for label in labels) or nothing


def measured_of(entries: Sequence[Entry]) -> tuple[Measured, ...]:
    """What is measured of the entries of `entries_of`: nothing where it is not known."""
    return tuple(one for one in (CONFIDENCE, LOSS) if any(one.name in entry.values for entry in entries))


def named(model: VisionModel, ranked: Ranked) -> tuple[tuple[str, float], ...]:
    """The most probable classes by name."""
    return tuple((model.categories[label], float(probability)) for label, probability in ranked)


def map_over(heat: Heatmap, count: int) -> Encoded:
    """A map to be laid over its picture: its colours, transparent where it is weak."""
    image = Image.fromarray(overlay(heat))
    side = 160 if count <= 24 else 112
    if max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.BOX)
    return _webp(image, quality=50, alpha_quality=50)


def adversarial(
    model: VisionModel, original: Tensor, saved: Tensor, ranked: Ranked, said: str, count: int
) -> Adversarial:
    """A changed image beside its original, both (3, H, W) uint8; one of `count`."""
    encode = Encoder(_NOISY * count)
    change, factor = difference(model.displayed(original), model.displayed(saved))
    (predicted, probability), *_ = named(model, ranked)
    pixels = torch.from_numpy(np.ascontiguousarray(change.pixels)).permute(2, 0, 1)
    return Adversarial(encode(model.displayed(saved)), encode(pixels), factor, predicted, probability, said)

"""Measuring a method's maps of many photographs, for `explain evaluate` and the study of saliency."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from deepscope import images
from deepscope.attributions import Attribution, per_pixel
from deepscope.attributions.attribution import image_seeds
from deepscope.attributions.faithfulness import Explanation, Measure, energy_inside
from deepscope.commands.explained import Photos
from deepscope.errors import DeepscopeError
from deepscope.kept import Arrays, digest, kept
from deepscope.models import VisionModel
from deepscope.registry import plain_value
from deepscope.session import Session

CHANCE = "random"
"""Stands in the place of a method: maps of random numbers, which any method has to beat."""
POINTING = "energy-pointing"
"""The pointing game's name among the measures; it is none of them, because it needs boxes."""


def measure(
    method: Attribution | None,
    model: VisionModel,
    photos: Photos,
    measures: Sequence[Measure],
    session: Session,
    *,
    batch_size: int,
    inside: Tensor | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Every measure of every photograph's map of its predicted class. Each batch is kept in the cache.

    Args:
        method: None measures random maps.
        inside: (N, H, W), how much of each pixel lies on the object, adds the pointing game.

    Returns:
        measure's name -> (N,) values.
    """
    name = CHANCE if method is None else method.name
    parts: list[dict[str, NDArray[np.float64]]] = []
    with session.progress(f"measuring {name}", total=len(photos.paths)) as advance:
        for first in range(0, len(photos.paths), batch_size):
            rows = range(first, min(first + batch_size, len(photos.paths)))
            part, boxes = photos[rows], None if inside is None else inside[rows.start : rows.stop]
            about = {
                "model": model.fingerprint,
                "method": plain_value(method),
                "measures": plain_value(measures),
                "images": digest(part.pixels, part.predicted, *([] if boxes is None else [boxes])),
                "first": first,
            }

            def compute(part: Photos = part, boxes: Tensor | None = boxes, first: int = first) -> Arrays:
                return _measured(method, model, part, measures, session, boxes, first)

            parts.append(kept(session, about, compute))
            advance(len(rows))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _measured(
    method: Attribution | None,
    model: VisionModel,
    photos: Photos,
    measures: Sequence[Measure],
    session: Session,
    inside: Tensor | None,
    first: int,
) -> Arrays:
    """One batch, the images from number `first` on."""
    pixels, target = photos.pixels.to(model.device), photos.predicted.to(model.device)

    def stream(*names: str) -> torch.Generator:
        """Each image has its own place in a stream, so that figures do not depend on the batch size."""
        rng = session.rng(*names)
        image_seeds(first, 0, rng)
        return rng

    def explain(changed: Tensor) -> Tensor:
        if method is not None:
            return per_pixel(method(model, changed, target, rng=stream("explain", method.name)))
        seeds = image_seeds(len(changed), 1, stream("explain", CHANCE)).flatten().tolist()
        return torch.stack(
            [torch.rand(changed.shape[2:], generator=torch.Generator().manual_seed(s)) for s in seeds]
        ).to(changed)

    maps = explain(pixels)
    found = {
        one.name: one(Explanation(model, pixels, target, maps, explain, stream("measure", one.name)))
        for one in measures
    }
    if inside is not None:
        found[POINTING] = energy_inside(maps, inside.to(maps))
    return {name: values.double().cpu().numpy() for name, values in found.items()}


def read_boxes(path: Path, model: VisionModel, photos: Photos) -> Tensor:
    """Where the objects are, as the model sees the images.

    Args:
        path: CSV with the header file,left,top,right,bottom and one line a box, in pixels of the image file.

    Returns:
        (N, H, W) in [0, 1]: how much of each pixel lies in one of the image's boxes; NaN for images without a box.

    Raises:
        DeepscopeError: the file cannot be read, is no such table, or has no box of any of these images.
    """
    boxes: dict[str, list[tuple[float, ...]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                corners = tuple(float(row[side]) for side in ("left", "top", "right", "bottom"))
                if not np.isfinite(corners).all():
                    raise ValueError(f"{row['file']}: a corner is not finite")
                boxes.setdefault(row["file"], []).append(corners)
    except (OSError, KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise DeepscopeError(
            f"{path} gives no boxes ({error!r}): it needs the header file,left,top,right,bottom and numbers"
        ) from None
    if not any(photo.name in boxes for photo in photos.paths):
        raise DeepscopeError(
            f"{path} has no box of any of the images: its column file holds their names, without folders"
        )
    inside = torch.full((len(photos.paths), *photos.pixels.shape[-2:]), float("nan"))
    for index, photo in enumerate(photos.paths):
        if photo.name in boxes:
            drawn = Image.new("RGB", images.decode(photo).size)
            for left, top, right, bottom in boxes[photo.name]:
                ImageDraw.Draw(drawn).rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), fill="white")
            inside[index] = model.preprocessing(drawn).mean(0)
    return inside

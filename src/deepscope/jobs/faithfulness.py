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
from deepscope.attributions.faithfulness import Measure, Randomisation
from deepscope.errors import InputError
from deepscope.jobs.explained import Photos
from deepscope.models import VisionModel
from deepscope.session import Session
from deepscope.statistics import Estimate, mean

CHANCE = "random"
"""Stands in the place of a method: maps of random numbers, which any method has to beat."""
UPPER = 0.25
"""Share of the layers, from the output down, whose loss a map has to show."""


def measure(
    method: Attribution | None,
    model: VisionModel,
    photos: Photos,
    measures: Sequence[Measure],
    session: Session,
    *,
    batch_size: int,
) -> tuple[dict[str, NDArray[np.float64]], Tensor]:
    """Every measure of every photograph's map of its predicted class.

    Args:
        method: None measures random maps.

    Returns:
        measure's name -> (N,) values, and the (N, H, W) maps on the CPU.
    """
    name = CHANCE if method is None else method.name
    found: dict[str, list[Tensor]] = {one.name: [] for one in measures}
    rngs = {one.name: session.rng("measure", one.name) for one in measures}
    maps: list[Tensor] = []
    with session.progress(f"measuring {name}", total=len(photos.paths)) as advance:
        for first in range(0, len(photos.paths), batch_size):
            rows = slice(first, first + batch_size)
            pixels, target = photos.pixels[rows].to(model.device), photos.predicted[rows].to(model.device)

            def explain(changed: Tensor, target: Tensor = target, first: int = first) -> Tensor:
                rng = session.rng("explain", name, first)  # the same numbers for the changed image as for the image
                if method is None:
                    return torch.rand(len(changed), *changed.shape[-2:], generator=rng).to(changed)
                return per_pixel(method(model, changed, target, rng=rng))

            own = explain(pixels)
            maps.append(own.cpu())
            for one in measures:
                values = one(model, pixels, target, own, explain=explain, rng=rngs[one.name])
                found[one.name].append(values.cpu())
            advance(len(pixels))
    return {name: torch.cat(parts).double().numpy() for name, parts in found.items()}, torch.cat(maps)


def survival(
    method: Attribution, model: VisionModel, photos: Photos, session: Session, check: Randomisation
) -> NDArray[np.float64]:
    """(depths, N) rank correlations of the maps with those of ever more shuffled networks.

    A shuffled network explains the class that it now predicts: the old one may be out of its reach.
    """
    pixels = photos.pixels.to(model.device)

    def explain(network: VisionModel) -> Tensor:
        with torch.no_grad():
            target = photos.predicted.to(model.device) if network is model else network(pixels).argmax(1)
        return per_pixel(method(network, pixels, target, rng=session.rng("explain", method.name)))

    return check(explain, model, pixels, rng=session.rng("randomisation"))


def verdict(survived: NDArray[np.float64]) -> tuple[str, Estimate]:
    """Whether a map notices that the upper layers know nothing, from its rank correlations with the trained one's.

    Returns:
        "passes" where less than half survives, "fails" where more does, "undecided" where the interval of the mean
        holds one half; and the mean.
    """
    estimate = mean(survived)
    if estimate.high < 0.5:
        return "passes", estimate
    return ("fails" if estimate.low > 0.5 else "undecided"), estimate


def read_boxes(path: Path, model: VisionModel, photos: Photos) -> Tensor:
    """Where the objects are, as the model sees the images.

    Args:
        path: CSV with the header file,left,top,right,bottom and one line a box, in pixels of the image file.

    Returns:
        (N, H, W) in [0, 1]: how much of each pixel lies in one of the image's boxes; NaN for images without a box.

    Raises:
        InputError: the file cannot be read, or is no such table.
    """
    boxes: dict[str, list[tuple[float, ...]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                corners = tuple(float(row[side]) for side in ("left", "top", "right", "bottom"))
                boxes.setdefault(row["file"], []).append(corners)
    except (OSError, KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} gives no boxes ({error!r}): it needs the header file,left,top,right,bottom and numbers"
        ) from None
    inside = torch.full((len(photos.paths), *photos.pixels.shape[-2:]), float("nan"))
    for index, photo in enumerate(photos.paths):
        if photo.name in boxes:
            drawn = Image.new("RGB", images.decode(photo).size)
            for left, top, right, bottom in boxes[photo.name]:
                ImageDraw.Draw(drawn).rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), fill="white")
            inside[index] = model.preprocessing(drawn).mean(0)
    return inside

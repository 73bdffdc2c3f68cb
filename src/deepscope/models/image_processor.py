"""What files of transformers say beside a model: how images become its input, and what its classes are called."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from deepscope.errors import FileError
from deepscope.models import documents
from deepscope.models.options import MOST_CLASSES
from deepscope.models.preprocessing import MOST_PIXELS, Interpolation, Preprocessing

PROCESSOR, CONFIG = "preprocessor_config.json", "config.json"
_FILTERS: Mapping[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of the filters."""
_ALWAYS_CROPPED_BELOW = 384
"""Sides from which ConvNeXt's processor squashes instead of cropping."""


def beside(model: Path) -> Preprocessing | None:
    """What the image processor beside a model file describes; None where there is none.

    Raises:
        FileError: it describes something that is not supported.
    """
    path = model.parent / PROCESSOR
    if not path.is_file():
        return None
    try:
        return translated(documents.mapping(documents.read(path), "it"))
    except (ValueError, OSError) as error:
        raise FileError(f"{path} describes no preprocessing that is supported: {error}", path=path) from None


def labels_beside(model: Path) -> tuple[str, ...]:
    """The classes that the configuration beside a model file names; nothing where there is none."""
    path = model.parent / CONFIG
    try:
        return labels(documents.read(path)) if path.is_file() else ()
    except (ValueError, OSError):
        return ()


def labels(config: Any) -> tuple[str, ...]:
    """The names in `id2label`, in order; nothing where they are not numbered from 0. Raises ValueError."""
    named = documents.mapping(config, "it").get("id2label") or {}
    found = {str(key): value for key, value in documents.mapping(named, "id2label").items()}
    if len(found) > MOST_CLASSES or any(str(index) not in found for index in range(len(found))):
        return ()
    return tuple(documents.text(str(found[str(index)]), "a class") for index in range(len(found)))


def translated(fields: Mapping[str, Any]) -> Preprocessing:
    """The fields of an image processor as preprocessing. Raises ValueError for what has no counterpart."""
    resample = fields.get("resample", 2)
    if not isinstance(resample, int) or isinstance(resample, bool) or resample not in _FILTERS:
        raise ValueError(f"the filter {str(resample)[:60]!r} is not supported")
    resize, crop = _geometry(fields)
    scale = 255 * _number(fields, "rescale_factor", 1 / 255) if _flag(fields, "do_rescale") else 255.0
    mean, std = (0.0,) * 3, (1.0,) * 3
    if _flag(fields, "do_normalize"):
        mean, std = (
            documents.numbers(_colours(fields.get(f"image_{name}", default)), f"image_{name}", low=-1e3, high=1e3)
            for name, default in (("mean", (0.5,) * 3), ("std", (0.5,) * 3))
        )
    return Preprocessing.from_fields(
        {
            "resize": resize,
            "crop": crop,
            "interpolation": _FILTERS[resample],
            "mean": [value / scale for value in mean],
            "std": [value / scale for value in std],
        }
    )


def _geometry(fields: Mapping[str, Any]) -> tuple[Any, Any]:
    """What `Preprocessing` calls resize and crop."""
    size = fields.get("size", 224)
    crop = fields.get("crop_size") if _flag(fields, "do_center_crop", default=False) else None
    if not _flag(fields, "do_resize"):
        raise ValueError("images keep their own sizes (do_resize is false)")
    kind = str(fields.get("image_processor_type") or fields.get("feature_extractor_type") or "").lower()
    shortest = size.get("shortest_edge") if isinstance(size, Mapping) else size if "convnext" in kind else None
    if shortest is not None and "convnext" in kind:
        shortest = documents.integer(shortest, "size", low=1, high=MOST_PIXELS)
        if shortest >= _ALWAYS_CROPPED_BELOW:
            return (shortest, shortest), None
        return math.floor(shortest / _number(fields, "crop_pct", 224 / 256)), shortest
    if isinstance(size, Mapping) and set(size) - {"height", "width", "shortest_edge"}:
        raise ValueError(f"a size of {', '.join(map(str, size))}")
    if shortest is None and not isinstance(size, Mapping) and crop is not None and "clip" in kind:
        shortest = size
    return shortest if shortest is not None else _pair(size), None if crop is None else _pair(crop)


def _pair(size: Any) -> Any:
    return (size["height"], size.get("width")) if isinstance(size, Mapping) and "height" in size else _square(size)


def _square(size: Any) -> Any:
    side = size.get("shortest_edge") if isinstance(size, Mapping) else size
    return side if isinstance(side, (list, tuple)) else (side, side)


def _flag(fields: Mapping[str, Any], name: str, *, default: bool = True) -> bool:
    value = fields.get(name)
    return default if value is None else documents.boolean(value, name)


def _number(fields: Mapping[str, Any], name: str, default: float) -> float:
    value = fields.get(name)
    return documents.number(default if value is None else value, name, low=1e-6, high=1e3)


def _colours(value: Any) -> Any:
    return (value,) * 3 if isinstance(value, (int, float)) else cast("Any", value)

"""How explained images and their maps are drawn."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from deepscope.attributions import Attribution, per_pixel
from deepscope.inputs import Photos
from deepscope.models import VisionModel
from deepscope.presenters.shown import picture
from deepscope.results import Column, GridCell, Heatmap, Table


def heat(method: Attribution, attribution: Tensor, *, over: Tensor | None = None, caption: str = "") -> Heatmap:
    """One image's (H, W) or (3, H, W) attribution as a heatmap, its scale from the 99th percentile.

    Args:
        over: (3, H, W) pixels to lay the map over.
    """
    values = per_pixel(attribution[None])[0].double().numpy()
    if not values.any():
        caption = f"{caption}: 0 everywhere" if caption else "0 everywhere"
    top = float(np.quantile(np.abs(values), 0.99)) or float(np.abs(values).max()) or 1.0
    return Heatmap(
        values,
        caption=caption,
        over=None if over is None else picture(over).pixels,
        signed=method.signed,
        low=-top if method.signed else 0.0,
        high=top,
    )


def image_cell(photos: Photos, index: int) -> GridCell:
    """The image with its file's name, its true class, where known, and its predicted class with its probability."""
    label, true = int(photos.predicted[index]), photos.true_class(index)
    categories = photos.model.categories
    if photos.model.head.kind == "multilabel":
        true = None
    verb = "predicted" if photos.predictions[index, label] else "below its threshold:"
    said = f"{verb} {categories[label]} ({float(photos.probabilities[index, label]):.2f})"
    if true is not None:
        said = f"{categories[true]} · {said}"
    return picture(photos.model.displayed(photos.pixels[index]), caption=f"{photos.paths[index].name} · {said}")


def refused_table(model: VisionModel, refused: Mapping[str, str]) -> tuple[Table, ...]:
    """The methods that do not apply to a model, and why; nothing where all do."""
    columns = (Column("method"), Column("reason"))
    table = Table(columns, tuple(refused.items()), title=f"Methods that do not apply to {model.name}")
    return (table,) if refused else ()

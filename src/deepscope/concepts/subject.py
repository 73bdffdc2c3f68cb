"""Which class is looked at, and which images show it."""

from __future__ import annotations

from deepscope.errors import DataError
from deepscope.inputs import Photos


def chosen(photos: Photos, target: str | int | None) -> tuple[int, list[int]]:
    """A class, and the rows of the images that the model classifies as it.

    Args:
        photos: classified images.
        target: a class, by name or number; None for the one that is predicted most often.

    Raises:
        UnknownNameError: no class has that name.
        DataError: the model classifies none of the images as the class.
    """
    predictions = photos.predictions
    label = int(predictions.sum(0).argmax()) if target is None else photos.model.category(target)
    rows = predictions[:, label].nonzero()[:, 0].tolist()
    if not rows and target is None:
        raise DataError(f"{photos.model.name} predicts no label in any of the images: give others, or name a label")
    if not rows:
        name = photos.model.categories[label]
        raise DataError(
            f"{photos.model.name} classifies none of the {len(photos)} images as {name}: give images that it does, or "
            "name another class"
        )
    return label, rows

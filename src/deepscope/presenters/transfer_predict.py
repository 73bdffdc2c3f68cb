"""How the result of `deepscope transfer predict` is shown."""

from __future__ import annotations

from deepscope.classification import Classification
from deepscope.presenters.predictions import predictions
from deepscope.results import Result


def present(found: Classification) -> Result:
    """A row per image, and how many images each category has."""
    names = found.model.categories
    given = found.classes[~found.abstained, 0]
    counts = zip(names, given.bincount(minlength=len(names)).tolist(), strict=True)
    return predictions(found, {f"count/{name}": count for name, count in counts}, label="category")

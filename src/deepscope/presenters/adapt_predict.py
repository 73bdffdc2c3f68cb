"""How the result of `deepscope adapt predict` is shown."""

from __future__ import annotations

from deepscope.classification import Classification
from deepscope.presenters.predictions import predictions
from deepscope.results import Note, Result


def present(found: Classification, *, confidence: float) -> Result:
    """A row per image, and how many predictions are below the confidence."""
    first = found.probabilities[:, 0]
    unsure = int((first < confidence).sum())
    text = f"{unsure} of {len(found)} predictions are below a probability of {confidence}."
    return predictions(
        found,
        {"confidence": float(first.mean()), "unsure": unsure / len(found)},
        remarks=["" if probability >= confidence else "unsure" for probability in first.tolist()],
        notes=[Note(text, "Unsure")],
    )

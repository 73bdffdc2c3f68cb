"""How the result of `deepscope adapt predict` is shown."""

from __future__ import annotations

from deepscope.classification import Classification
from deepscope.presenters.shown import by_class, origin, skipped_blocks
from deepscope.results import Column, Note, Result, Table


def present(found: Classification, *, confidence: float) -> Result:
    """A row per image, and how many predictions are below the confidence."""
    first = found.probabilities[:, 0]
    rows = tuple(
        (str(path), label, probability, "" if probability >= confidence else "unsure")
        for path, label, probability in zip(found.paths, found.labels, first.tolist(), strict=True)
    )
    unsure = int((first < confidence).sum())
    return Result(
        title=f"{found.model.name} on {len(rows)} image{'s' if len(rows) != 1 else ''}",
        metrics={
            "images": len(rows),
            "skipped": len(found.skipped),
            "confidence": float(first.mean()),
            "unsure": unsure / len(rows),
        },
        blocks=(
            Table((Column("image"), Column("class"), Column("probability", ".3f"), Column("")), rows),
            Note(f"{unsure} of {len(rows)} predictions are below a probability of {confidence}.", "Unsure"),
            *skipped_blocks(found.skipped),
        ),
        arrays={"probabilities": by_class(found).numpy(), "classes": found.classes[:, 0].numpy()},
        provenance=origin([found.model], found.paths, found.digests),
    )

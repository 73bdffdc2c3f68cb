"""How the result of `deepscope transfer predict` is shown."""

from __future__ import annotations

from deepscope.classification import Classification
from deepscope.presenters.shown import by_class, origin, skipped_blocks
from deepscope.results import Column, Result, Table


def present(found: Classification) -> Result:
    """A row per image, and how many images each category has."""
    model, probabilities = found.model, by_class(found)
    first = found.classes[:, 0]
    rows = tuple(
        (str(path), label, confidence)
        for path, label, confidence in zip(found.paths, found.labels, found.probabilities[:, 0].tolist(), strict=True)
    )
    counts = zip(model.categories, first.bincount(minlength=len(model.categories)).tolist(), strict=True)
    return Result(
        title=f"{model.name} on {len(found)} image{'s' if len(found) != 1 else ''}",
        metrics={
            "images": len(found),
            "skipped": len(found.skipped),
            **{f"count/{name}": count for name, count in counts},
        },
        blocks=(
            Table((Column("image"), Column("category"), Column("probability", ".3f")), rows),
            *skipped_blocks(found.skipped),
        ),
        arrays={"probabilities": probabilities.numpy()},
        provenance=origin([model], found.paths, found.digests),
    )

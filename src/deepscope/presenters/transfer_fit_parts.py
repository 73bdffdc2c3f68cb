"""How a classifier that was fitted to features in parts is shown."""

from __future__ import annotations

from deepscope.presenters.shown import saved_note
from deepscope.render import presents
from deepscope.results import Column, Note, Provenance, Result, Table
from deepscope.transfer.fit_parts import FittedParts


@presents(FittedParts)
def present(fitted: FittedParts) -> Result:
    """Accuracy, and how it differs between the classes."""
    data, own = fitted.data, fitted.classifier.fitted_
    accuracy, saved = fitted.accuracy, [fitted.saved] if fitted.saved else []
    left = [f"{n} {what}" for n, what in ((data.unlabelled, "without a class"), (data.unreadable, "unreadable")) if n]
    rows = tuple(
        (name, count, right / count if count else None)
        for name, count, right in zip(data.classes, fitted.tested.tolist(), fitted.right.tolist(), strict=True)
    )
    text = f"{100 * accuracy.value:.1f} % of {len(fitted)} test images are classified correctly; 95 % Wilson interval "
    return Result(
        title=f"{len(data)} images in {len(data.classes)} classes, on {fitted.classifier.recipe_}",
        metrics={
            "images": len(data),
            "test-images": len(fitted),
            **accuracy.metrics("accuracy"),
            "validation": own.validation,
            "temperature": own.temperature,
        },
        blocks=(
            Note(f"{text}{100 * accuracy.low:.1f} % to {100 * accuracy.high:.1f} %.", "Accuracy"),
            *map(saved_note, saved),
            *([Note(f"Left out: {' and '.join(left)}.", "Left out", "warning")] if left else []),
            Table((Column("class"), Column("test images", "d"), Column("accuracy", ".3f")), rows, "Classes"),
        ),
        provenance=Provenance(
            models={one.name: one.fingerprint for one in (*fitted.classifier.models_.values(), *saved)},
            data=f"features of {len(data)} images in {len(data.files)} parts",
        ),
    )

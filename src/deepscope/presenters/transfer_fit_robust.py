"""How a digit classifier trained against attacks is shown."""

from __future__ import annotations

from deepscope.presenters.shown import saved_note
from deepscope.render import presents
from deepscope.results import Curves, Note, Result, Series
from deepscope.transfer.robust import RobustClassifier


@presents(RobustClassifier)
def present(found: RobustClassifier) -> Result:
    """Accuracy with and without an attack, and how the training went."""
    radius = found.settings.radius
    stopped = (
        Note("The accuracy under attack collapsed: training ended early, and the best epoch is kept.", level="warning"),
    )
    return Result(
        title=f"A digit classifier trained against changes of up to {radius:g}",
        metrics={
            "images": len(found),
            **found.accuracy.metrics("accuracy"),
            **found.robust.metrics("accuracy/attacked"),
            "stopped": int(found.stopped),
        },
        blocks=(
            Note(
                f"{found.accuracy} of {len(found)} test digits are classified correctly, and {found.robust} of "
                f"{len(found.withstood)} after PGD of 40 steps within {radius:g}. Stronger attacks lower the second "
                "figure: `attack evaluate` runs several.",
                "Accuracy",
                "verdict",
            ),
            *(stopped if found.stopped else ()),
            *([saved_note(found.model)] if found.model.origin.sha256 else []),
            *_curves(found),
        ),
    )


def _curves(found: RobustClassifier) -> tuple[Curves, ...]:
    names = {"accuracy/held-out": "without an attack", "accuracy/held-out/attacked": "under PGD"}
    series = tuple(Series(label, *found.history.column(name)) for name, label in names.items())
    if not len(series[0].x):
        return ()
    return (Curves(series, "training step", "accuracy", "Held-out digits during training"),)

"""How a likely mistake in the order of a model's classes is shown."""

from __future__ import annotations

from collections.abc import Sequence

from deepscope.classification.label_order import LabelOrder
from deepscope.results import Note

_SHOWN = 3


def order_note(found: LabelOrder, names: Sequence[str]) -> Note:
    """The accuracy of either order, and the pairs of classes that most images speak of."""
    pairs = "; ".join(
        f"{one.count} of {one.images} images of {names[one.true]!r} are predicted as {names[one.predicted]!r}"
        for one in found.exchanges[:_SHOWN]
    )
    more = f" ({len(found.exchanges)} classes change places)" if len(found.exchanges) > _SHOWN else ""
    text = (
        f"Accuracy is {found.accuracy} with the classes in the given order, and {found.reordered} in the order that "
        f"fits best, on images that it was not found on: {pairs}{more}. Check the order of the names."
    )
    return Note(text, "Likely label-order mistake", "warning")

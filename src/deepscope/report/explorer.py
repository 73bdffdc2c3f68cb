"""What all checks of a page know of each image, brought together for the explorer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deepscope.gallery import Gallery
from deepscope.report.keeping import Outcome


def explored(outcomes: Sequence[Outcome]) -> Gallery | None:
    """The images that can be seen, each with everything that some check measured of it; None where there are none.

    Accuracy comes first on the page and knows most images, so its order is theirs.
    """
    found = [block for outcome in outcomes for block in outcome.result.blocks if isinstance(block, Gallery)]
    joined = Gallery.joined(found, title="The images")
    entries = tuple(entry for entry in joined.entries if len(entry.picture))
    known = {name for entry in entries for name in entry.values}
    measured = tuple(one for one in joined.measured if one.name in known)
    return replace(joined, entries=entries, measured=measured) if entries else None

"""What all checks of a page know of each image, brought together for the explorer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deepscope.gallery import Gallery
from deepscope.names import visible
from deepscope.report.keeping import Outcome


@dataclass(frozen=True)
class Selection:
    """Images of the explorer that a section is about.

    Attributes:
        title: what they have in common: "failing slice 1".
        places: of the images among the explorer's.
    """

    title: str
    places: tuple[int, ...]


def explored(outcomes: Sequence[Outcome]) -> Gallery | None:
    """The images that can be seen, each with everything that some check measured of it; None where there are none.

    Accuracy comes first on the page and knows most images, so its order is theirs.
    """
    joined = Gallery.joined([found for outcome in outcomes for found in _galleries(outcome)], title="The images")
    entries = tuple(entry for entry in joined.entries if len(entry.picture))
    known = {name for entry in entries for name in entry.values}
    measured = tuple(one for one in joined.measured if one.name in known)
    return replace(joined, entries=entries, measured=measured) if entries else None


def selections(outcome: Outcome, gallery: Gallery | None) -> tuple[list[Selection], list[Selection]]:
    """What a section found among the images that can be seen: all images per flag, and each pair of copies."""
    places = {entry.key: place for place, entry in enumerate(gallery.entries)} if gallery else {}
    flagged: dict[str, list[int]] = {}
    pairs: dict[tuple[int, int], str] = {}
    for entry in (entry for found in _galleries(outcome) for entry in found.entries if entry.key in places):
        place = places[entry.key]
        for name in entry.flags:
            flagged.setdefault(name, []).append(place)
        for copy in entry.copies:
            if (other := places.get(copy.key, place)) > place:
                pairs[place, other] = f"{entry.name} and {gallery.entries[other].name}: {copy.said}" if gallery else ""
    named = [Selection(visible(name), tuple(sorted(own))) for name, own in sorted(flagged.items())]
    return named, [Selection(visible(text), pair) for pair, text in pairs.items()]


def _galleries(outcome: Outcome) -> list[Gallery]:
    return [block for block in outcome.result.blocks if isinstance(block, Gallery)]

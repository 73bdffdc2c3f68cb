"""Words around kept figures: captions of those that were drawn without one, and numbers cut to their intervals."""

from __future__ import annotations

import re

from deepscope.presenters import sanity
from deepscope.statistics import Estimate
from deepscope.studies import (
    adaptation_shown,
    adversarial,
    class_images_compared,
    generation_shown,
    saliency,
    transformer_answers,
)

_INTERVAL = re.compile(r"(?<![\w.])([-+]?\d+\.\d+) \[([-+]?\d+\.\d+), ([-+]?\d+\.\d+)\](?!\d)")
_CAPTIONS = (
    generation_shown.CAPTIONS
    | adaptation_shown.CAPTIONS
    | {
        "Figure 2.9: hay to snail": "A photograph of hay after 200 steps towards the class snail.",
    }
)
"""What figures show, by their titles: those of this version, and of earlier ones."""
_FAMILIES = {
    "Features of ": adaptation_shown.PLACES,
    "Figures 2.5 to 2.12": class_images_compared.WAYS,
    "Maps of the ": transformer_answers.MAPS,
    "Saliency maps of ": saliency.GRID,
    "The same images, changed in ": adversarial.CHANGED,
    "What survives of the maps": sanity.SURVIVAL,
}
"""The same by how titles begin."""


def caption(title: str, own: str) -> str:
    """What a figure shows, in words: what this version says of it, or its own caption.

    Args:
        title: of the figure.
        own: its caption, which may be empty.
    """
    family = next((words for begins, words in _FAMILIES.items() if title.startswith(begins)), own)
    return _CAPTIONS.get(title, family)


def supported(text: str) -> str:
    """Figures with the digits that their intervals support: "24 [-27, 75]" for "23.940 [-27.441, 75.322]".

    No figure gets more digits than it has.
    """
    return _INTERVAL.sub(_cut, text)


def _cut(found: re.Match[str]) -> str:
    value, low, high = found.groups()
    written = min(len(part.partition(".")[2]) for part in found.groups())
    places = min(written, Estimate(float(value), float(low), float(high)).decimals())
    first, *ends = (f"{round(float(part), places) + 0.0:{'+' * (part[0] == '+')}.{places}f}" for part in found.groups())
    return f"{first} [{', '.join(ends)}]"

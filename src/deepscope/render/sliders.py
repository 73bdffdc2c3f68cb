"""Sliders that choose a picture: among prepared ones in a self-contained page, or made by a server as they move."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from deepscope.names import one_line, visible
from deepscope.render import explorer
from deepscope.render.html import data_uri, styles
from deepscope.render.templates import Templates

_PARTS = Templates(Path(__file__).parent / "sliding")
_PAGE = Templates(Path(__file__).parent / "templates")
_QUALITY = 90
_LONGEST = 512
"""Pixels of a picture's longer side, to which small ones are enlarged by the page."""


@dataclass(frozen=True, eq=False)
class Slider:
    """A slider and what it shows. It starts at its middle place.

    Attributes:
        name: of the slider.
        said: about it, in a few words.
        places: a text for each place: "+1.0 SD".
        pictures: (H, W, 3) uint8 for each place; None where a server makes them.
    """

    name: str
    said: str
    places: Sequence[str]
    pictures: Sequence[NDArray[np.uint8]] | None = None

    def __post_init__(self) -> None:
        if not self.places or (self.pictures is not None and len(self.places) != len(self.pictures)):
            raise ValueError("a slider has one picture per place, and at least one")


@dataclass(frozen=True)
class Live:
    """A server that makes the pictures while the sliders move.

    Attributes:
        script: sets `globalThis.deepscopeLive`: `follow(shown, failed)` gives a function that asks for a picture,
            `exported(asked)` saves the page, `back` is a link or null.
        labels: names to choose from; none where there is no choice.
    """

    script: str
    labels: Sequence[str]


def page(title: str, text: str, sliders: Sequence[Slider], live: Live | None = None) -> str:
    """A whole document.

    Without a server it asks for nothing: one slider is away from its middle at a time, so that every picture is there
    beforehand. With one, all sliders move together.
    """
    written = script(live)
    return _PAGE.render(
        "explorer.html.jinja",
        title=one_line(title),
        explorer=_element(text, sliders, live),
        style=Markup(style()),
        script=Markup(written),
        script_hash=base64.b64encode(hashlib.sha256(written.encode()).digest()).decode(),
        connects=live is not None,
    )


def script(live: Live | None = None) -> str:
    """What such a page runs, in one inline script."""
    components = explorer.script("elements.js", "theme.js")
    return components + (live.script if live else "") + _PARTS.text("sliders.js")


def style() -> str:
    """The style sheet of such a page."""
    return styles() + _PARTS.text("sliders.css")


def _element(text: str, sliders: Sequence[Slider], live: Live | None) -> Markup:
    """An element for the script to fill, with its data beside it."""
    data = {
        "text": visible(text),
        "labels": list(live.labels) if live else [],
        "sliders": [
            {
                "name": visible(one.name),
                "said": visible(one.said),
                "places": [visible(place) for place in one.places],
                "pictures": [data_uri("image/webp", _encoded(picture)) for picture in one.pictures or ()],
            }
            for one in sliders
        ],
    }
    return Markup(
        '<div class="sliders"><p>The sliders need scripts: open the page in a browser that runs them.</p>'
        f'<script type="application/json">{explorer.embedded(data)}</script></div>'
    )


def _encoded(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    image.thumbnail((_LONGEST, _LONGEST))
    image.save(file, "WEBP", quality=_QUALITY, method=4)
    return file.getvalue()

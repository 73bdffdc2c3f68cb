"""Sliders that choose among prepared pictures, as a self-contained page."""

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
        pictures: (H, W, 3) uint8 for each place.
    """

    name: str
    said: str
    places: Sequence[str]
    pictures: Sequence[NDArray[np.uint8]]

    def __post_init__(self) -> None:
        if len(self.places) != len(self.pictures) or not self.places:
            raise ValueError("a slider has one picture per place, and at least one")


def page(title: str, text: str, sliders: Sequence[Slider]) -> str:
    """A whole document. One slider is away from its middle at a time, so every picture is there beforehand."""
    script = explorer.script("elements.js", "theme.js") + _PARTS.text("sliders.js")
    return _PAGE.render(
        "explorer.html.jinja",
        title=one_line(title),
        explorer=_element(text, sliders),
        style=Markup(styles() + _PARTS.text("sliders.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _element(text: str, sliders: Sequence[Slider]) -> Markup:
    """An element for the script to fill, with its data beside it."""
    data = {
        "text": visible(text),
        "sliders": [
            {
                "name": visible(one.name),
                "said": visible(one.said),
                "places": [visible(place) for place in one.places],
                "pictures": [data_uri("image/webp", _encoded(picture)) for picture in one.pictures],
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

"""A `Gallery` as the explorer: its data as JSON in the page, and the scripts that draw it.

The files in `components/` are plain scripts without a framework and without requests. They build elements and set
their text, never markup, because names of files and classes come from outside.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from markupsafe import Markup

from deepscope.gallery import Adversarial, Encoded, Entry, Gallery
from deepscope.names import one_line, visible
from deepscope.render import palette
from deepscope.render.html import data_uri
from deepscope.render.templates import Templates

_COMPONENTS = Templates(Path(__file__).parent / "components")
_DIGITS = 9
"""Significant digits of a number: more than anyone sees, and half of what Python writes."""


def document(gallery: Gallery) -> dict[str, Any]:
    """The plain data that the components take: names of classes once, entries by place, pictures as data URIs."""
    named = {
        name
        for entry in gallery.entries
        for name in (
            entry.truth,
            entry.predicted,
            *(name for name, _ in entry.top),
            entry.adversarial.predicted if entry.adversarial else "",
        )
    }
    classes = {name: place for place, name in enumerate(sorted(named - {""}))}
    places = {entry.key: place for place, entry in enumerate(gallery.entries)}
    projection = gallery.projection
    return {
        "title": one_line(gallery.title),
        "colours": {"classes": list(palette.CLASSES), **palette.POINTS},
        "measured": [
            {
                "name": one.name,
                "title": visible(one.title),
                "meaning": visible(one.meaning),
                "form": one.form,
                "decimals": min(max(one.decimals, 0), 20),
                "beyond": visible(one.beyond),
            }
            for one in gallery.measured
        ],
        "classes": [visible(name) for name in classes],
        "entries": [_entry(entry, classes, places) for entry in gallery.entries],
        "projection": projection
        and {
            "method": visible(projection.method),
            "trustworthiness": _number(projection.trustworthiness),
            "neighbours": projection.neighbours,
        },
    }


def _entry(entry: Entry, classes: dict[str, int], places: dict[str, int]) -> dict[str, Any]:
    return {
        "name": visible(entry.name),
        "file": visible(entry.file or entry.name),
        "split": visible(entry.split),
        "truth": classes.get(entry.truth, -1),
        "predicted": classes.get(entry.predicted, -1),
        "right": entry.right,
        "picture": _picture(entry.picture),
        "top": [[classes[name], _number(share)] for name, share in entry.top if name and math.isfinite(share)],
        "values": {name: _value(value) for name, value in entry.values.items() if not math.isnan(value)},
        "flags": {visible(name): visible(why) for name, why in entry.flags.items()},
        "maps": {visible(name): _picture(found) for name, found in entry.maps.items() if len(found)},
        "adversarial": entry.adversarial and _adversarial(entry.adversarial, classes),
        "near": [[places[one.key], _number(one.distance)] for one in entry.near if one.key in places],
        "copies": [[places[one.key], visible(one.said)] for one in entry.copies if one.key in places],
        "place": [_number(value) for value in entry.place] if all(map(math.isfinite, entry.place)) else [],
    }


def _adversarial(found: Adversarial, classes: dict[str, int]) -> dict[str, Any]:
    return {
        "picture": _picture(found.picture),
        "difference": _picture(found.difference),
        "factor": found.factor,
        "predicted": classes.get(found.predicted, -1),
        "probability": _number(found.probability),
        "said": visible(found.said),
    }


def _number(value: float) -> float | None:
    """A number as JSON has it; None where it is not finite."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def _value(value: float) -> float | str | None:
    """The same; infinity as the text that JavaScript's `Number` reads."""
    return _number(value) if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"


def _picture(encoded: Encoded) -> str:
    return data_uri("image/webp", encoded.tobytes()) if len(encoded) else ""


def element(gallery: Gallery) -> Markup:
    """The explorer as HTML: an element for `script` to fill, with its data beside it.

    Without scripts, the page says what it needs.
    """
    written = embedded(document(gallery))
    told = "The explorer needs scripts: open the page in a browser that runs them."
    return Markup(f'<div class="explorer"><p>{told}</p><script type="application/json">{written}</script></div>')


def embedded(data: object) -> str:
    """Data as JSON inside a page: no tag can begin or end in it."""
    written = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        written = written.replace(sign, f"\\u{ord(sign):04x}")
    return written


def script(*names: str) -> str:
    """The components of these names as one script, or all of them; an explorer starts only when `BOOT` follows."""
    return _COMPONENTS.text(*names) if names else _COMPONENTS.text(suffix=".js")


BOOT = """for (const host of document.querySelectorAll(".explorer")) {
  const data = JSON.parse(host.querySelector("script").textContent);
  globalThis.deepscopeExplorer.links(globalThis.deepscopeExplorer.start(host, data).select);
}
"""
"""Starts the explorer of a page, and the links to its images."""


def styles() -> str:
    """The style sheet of the components; every rule is below `.deepscope`."""
    return _COMPONENTS.text("explorer.css")

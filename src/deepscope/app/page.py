"""The documents of the pages: one file each with its style and its script, whose hashes its policy names."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from deepscope.render import explorer
from deepscope.render.html import styles
from deepscope.render.templates import Templates

_TEMPLATES, _SCRIPTS = (Templates(Path(__file__).parent / name) for name in ("templates", "scripts"))
_SHARED = ("elements.js", "bars.js", "theme.js")
"""Components of the report's page that this one uses too."""
SERVER = _SCRIPTS.text("2-server.js")
"""Requests to the server, with the token of the page's address."""


class Page:
    """The page and its content security policy.

    Args:
        about: models, classes, methods and choices, which the script reads.
        directions: whether there is a page of sliders to link to.
    """

    def __init__(self, about: Mapping[str, Any], *, directions: bool = False) -> None:
        style, script = _style(), _script()
        self.policy = policy(script, style)
        self.html = _TEMPLATES.render(
            "app.html.jinja",
            style=Markup(style),
            script=Markup(script),
            about=_harmless(about),
            names=[model["name"] for model in about["models"]],
            directions=directions,
        )


def policy(script: str, style: str) -> str:
    """The content security policy of a page: this script, this style sheet, and requests to this server alone."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _style() -> str:
    """The style sheets of the report and of its explorer, then what only this page has."""
    return "\n" + styles() + explorer.styles() + _TEMPLATES.text("app.css")


def _script() -> str:
    return "\n" + explorer.script(*_SHARED) + _SCRIPTS.text(suffix=".js")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _harmless(data: Mapping[str, Any]) -> Markup:
    """JSON in which no tag can begin or end."""
    written = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        written = written.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(written)

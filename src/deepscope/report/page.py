"""The page: one HTML file with everything inside, readable on a phone, on paper, by keyboard, in the dark."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from markupsafe import Markup

from deepscope.errors import FileError
from deepscope.files import atomic
from deepscope.render import fragment
from deepscope.render.html import environment, styles
from deepscope.report.keeping import Outcome
from deepscope.report.overview import overview

_FOLDER = Path(__file__).parent / "templates"
_HEAD = 1 << 16
_SIGNS = (b'<meta name="generator" content="deepscope">', b'<body class="deepscope ')
"""What the first bytes of a page hold that this program, or its version 0.1, wrote."""


def refuse_foreign(path: Path) -> None:
    """Raises FileError where a file at the page's place was written by another program."""
    if not os.path.lexists(path):
        return
    head = b""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(_HEAD)
    if not any(sign in head for sign in _SIGNS):
        raise FileError(f"{path} was not written by deepscope: move it away, or name another folder", path=path)


def write(path: Path, document: str) -> None:
    """Write the page to a temporary name, then rename it."""
    with atomic(path) as temporary:
        temporary.write_text(document, encoding="utf-8", errors="backslashreplace")


def page(outcomes: Sequence[Outcome], *, title: str, introduction: str) -> str:
    """The document.

    Args:
        outcomes: in the order of their chapters.
        title: of the page.
        introduction: a paragraph that says what was run, on what, and in which budget.
    """
    glance = overview(outcomes)
    script = (_FOLDER / "report.js").read_text(encoding="utf-8")
    chapters = [
        (chapter, [(outcome, Markup(fragment(outcome.result, style=False, films=True))) for outcome in group])
        for chapter, group in groupby(outcomes, key=lambda outcome: outcome.section.chapter)
    ]
    template = environment(_FOLDER).get_template("report.html.jinja")
    return template.render(
        title=title,
        introduction=introduction,
        overview=Markup(fragment(glance, style=False)) if glance.blocks else "",
        chapters=chapters,
        style=Markup(styles() + (_FOLDER / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        # The policy lets this one script run and nothing else: no request leaves the page.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )

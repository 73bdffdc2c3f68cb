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
from deepscope.render import explorer
from deepscope.render.html import shown, styles
from deepscope.render.templates import Templates
from deepscope.report.card import ModelCard
from deepscope.report.explorer import explored, selections
from deepscope.report.full_runs import full_run
from deepscope.report.keeping import Outcome
from deepscope.report.overview import OPEN, answer_rows, overview, unanswered
from deepscope.report.running import State
from deepscope.report.view import Part, cards, once, part, pending, sentence
from deepscope.results import Result

_TEMPLATES = Templates(Path(__file__).parent / "templates")
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


class Page:
    """A page that is written again and again while its sections are made: each is drawn once.

    Args:
        title: of the page.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts: dict[str, Part] = {}

    def html(self, state: State, card: ModelCard | None = None) -> str:
        """The document, complete whatever is still to come.

        Args:
            state: what is finished.
            card: of the classifier that was examined.
        """
        parts = once([self._part(outcome) for outcome in state.outcomes])
        glance, answered = shown(overview(state.outcomes)), answer_rows(state.outcomes)
        chosen = cards(parts)
        gallery = explored(state.outcomes)
        page = _TEMPLATES.text("report.js")
        script = f"{explorer.script()}{page}{explorer.BOOT}" if gallery else f"{explorer.script('theme.js')}{page}"
        return _TEMPLATES.render(
            "report.html.jinja",
            title=self.title,
            state=state,
            sentence=sentence(parts),
            model=card,
            per_class=_per_class(card),
            sections=[outcome.section.name for outcome in state.outcomes],
            when=_when(state.outcomes),
            cards=chosen,
            pending=pending(state),
            strip=[one for one in parts if one.tile and not any(card.part is one for card in chosen)],
            questions=[Markup(block.html) for block in glance],
            counted=sum(row[4] not in OPEN for row in answered),
            missing=[(*row, full_run(row[0]) is not None) for row in unanswered(state.outcomes)],
            explorer="" if gallery is None else explorer.element(gallery),
            selections={outcome.section.name: selections(outcome, gallery) for outcome in state.outcomes},
            chapters=[
                (chapter, list(group)) for chapter, group in groupby(parts, lambda one: one.outcome.section.chapter)
            ],
            style=Markup(styles() + _TEMPLATES.text("report.css") + explorer.styles() * bool(gallery)),
            script=Markup(script),
            # The policy lets this one script run and nothing else: no request leaves the page.
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )

    def _part(self, outcome: Outcome) -> Part:
        name = outcome.section.name
        if name not in self._parts or self._parts[name].outcome is not outcome:
            self._parts[name] = part(outcome)
        return self._parts[name]


def _per_class(card: ModelCard | None) -> Markup | None:
    """The card's table of classes."""
    if card is None or card.per_class is None:
        return None
    (table,) = shown(Result("", blocks=(card.per_class,)))
    return Markup(table.html)


def page(outcomes: Sequence[Outcome], *, title: str, introduction: str, card: ModelCard | None = None) -> str:
    """The document of a finished report.

    Args:
        outcomes: in the order of their chapters.
        title: of the page.
        introduction: a paragraph that says what was run, on what, and in which budget.
        card: of the classifier that was examined.
    """
    return Page(title).html(State(tuple(outcomes), introduction), card)


def _when(outcomes: Sequence[Outcome]) -> str:
    """The first and the last minute in which a section began, in UTC."""
    times = sorted(outcome.result.provenance.started for outcome in outcomes if outcome.result.provenance.started)
    if not times:
        return ""
    first, last = (time[:16].replace("T", " ") for time in (times[0], times[-1]))
    if first[:10] == last[:10]:
        last = last[11:]
    return f"{first} UTC" if first.endswith(last) else f"{first} to {last} UTC"

"""What the page shows, as plain data: cards, sections with their picture and finding, and what is open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import NamedTuple

from deepscope.checks import Check
from deepscope.checks.held_out import OF_THE_IMAGES
from deepscope.command import Headline, Section
from deepscope.gallery import Gallery
from deepscope.names import counted, one_line, visible
from deepscope.render.html import Shown, chart, data_uri, shown, tile, words
from deepscope.render.terminal import origin
from deepscope.render.text import amount, ends, share
from deepscope.report.full_runs import FullRun, full_run
from deepscope.report.keeping import Outcome
from deepscope.report.overview import OPEN, answer_rows
from deepscope.report.running import State
from deepscope.results import Note, Result, Table

_BESIDE, _SMALL = 1.35, 540
"""Pictures that are no wider than this, by their height or in CSS pixels, stand beside the text on a wide window."""


@dataclass(frozen=True)
class Number:
    """A figure as text: its value, its interval, and what it is."""

    value: str
    interval: str
    label: str

    @classmethod
    def of(cls, headline: Headline) -> Number | None:
        """The headline's figure, with the digits that its interval supports."""
        estimate = headline.estimate
        if estimate is None:
            return None
        if headline.form == "count":
            value = f"{estimate.value:,.0f}"
            interval = f"{estimate.low:,.0f} to {estimate.high:,.0f}"
        else:
            value = share(estimate) if headline.form == "share" else amount(estimate)
            interval = ends(estimate, 100 if headline.form == "share" else 1)
        exact = estimate.low == estimate.high
        return cls(value, "" if exact else interval if estimate.known else "no interval", headline.label)


@dataclass(frozen=True)
class Elsewhere:
    """A full run, which was not measured on this machine."""

    run: FullRun
    number: Number | None
    picture: str
    day: str

    @classmethod
    def of(cls, section: Section) -> Elsewhere | None:
        """The full run of the section that came with the installation."""
        run = full_run(section.name)
        if run is None or isinstance(section, Check):
            return None
        day = date.fromisoformat(run.date)
        picture = data_uri("image/webp", run.picture) if run.picture else ""
        return cls(run, Number.of(run.headline), picture, f"{day.day} {day:%B %Y}")


@dataclass(frozen=True)
class Part:
    """A section of the page.

    Attributes:
        outcome: what was run.
        headline: what it shows first; without a finding where there is nothing to say.
        number: the headline's figure.
        lead: its picture as HTML, in full size; None where it has none.
        tile: and as a small picture for a card.
        alternative: what the picture shows.
        chart: whether it is lines and bars alone.
        warnings: what to know before reading on.
        rest: all other blocks.
        holds: what these are, in words.
        elsewhere: the full run.
    """

    outcome: Outcome
    headline: Headline
    number: Number | None
    lead: Shown | None
    tile: str
    alternative: str
    chart: bool
    warnings: tuple[Note, ...]
    rest: tuple[Shown, ...]
    holds: str
    origin: str
    elsewhere: Elsewhere | None

    @property
    def name(self) -> str:
        """Of the section, and of its place on the page."""
        return self.outcome.section.name

    @property
    def title(self) -> str:
        """Of the result."""
        return one_line(self.outcome.result.title)

    @property
    def beside(self) -> bool:
        """Whether the picture leaves room for text at its side."""
        lead = self.lead
        return lead is not None and (lead.width < _BESIDE * max(1, lead.height) or lead.width <= _SMALL)

    @property
    def differs(self) -> bool:
        """Whether the full run says more than this one: another figure, or something that is open here."""
        run = self.elsewhere
        return run is not None and (run.number != self.number or any(row[4] in OPEN for row in self._rows()))

    def _rows(self) -> list[tuple[str, ...]]:
        return answer_rows([self.outcome])


def part(outcome: Outcome) -> Part:
    """Everything that the page shows of an outcome. It draws the figures, so it takes a moment."""
    result = outcome.result
    headline = Headline("") if outcome.failure or outcome.missing else outcome.section.headline(result)
    headline = headline or _without(result)
    # What is known of single images is in the explorer.
    result = replace(result, blocks=tuple(block for block in result.blocks if not isinstance(block, Gallery)))
    picture, blocks = headline.picture, shown(result, films=True)
    lead = next((block for block in blocks if block.block is picture), None)
    if picture is not None and lead is None:
        alone = Result(result.title, config=result.config, blocks=(picture,), provenance=result.provenance)
        (lead,) = shown(alone)
    warnings = tuple(one.block for one in blocks if isinstance(one.block, Note) and one.block.level == "warning")
    rest = tuple(one for one in blocks if one.block is not picture and not any(one.block is w for w in warnings))
    return Part(
        outcome,
        headline,
        Number.of(headline),
        lead,
        tile(picture) if picture is not None else "",
        words(picture) if picture is not None else "",
        picture is not None and chart(picture),
        warnings,
        rest,
        _holds(rest),
        origin(result),
        Elsewhere.of(outcome.section),
    )


def once(parts: Sequence[Part]) -> list[Part]:
    """The sections, of which only the first gives a warning on the images that all of them share."""
    given: set[Note] = set()
    found: list[Part] = []
    for one in parts:
        found.append(replace(one, warnings=tuple(note for note in one.warnings if note not in given)))
        given |= {note for note in one.warnings if note.title in OF_THE_IMAGES}
    return found


def _without(result: Result) -> Headline:
    """For a section that declares none: its first figure, and its verdicts in full."""
    said = " ".join(block.text for block in result.blocks if isinstance(block, Note) and block.level == "verdict")
    return Headline(said, picture=result.figure())


def _holds(blocks: Sequence[Shown]) -> str:
    kinds = Counter(
        "table" if isinstance(one.block, Table) else "note" if isinstance(one.block, Note) else "figure"
        for one in blocks
    )
    found = [counted(kinds[kind], kind) for kind in ("figure", "table", "note") if kinds[kind]]
    return ", ".join([*found, "settings and command"])


@dataclass(frozen=True)
class Card:
    """A chapter at a glance.

    Attributes:
        chapter: its heading.
        part: the section that stands for it.
        number: the figure, measured here or, where nothing was, in the full run.
        headline: that it belongs to.
        picture, alternative, chart: of the card.
        here: whether the figure was measured on this machine.
        full: the full run's figure, where this one is of little data.
    """

    chapter: str
    part: Part
    number: Number | None
    headline: Headline
    picture: str
    alternative: str
    chart: bool
    here: bool
    full: str


def cards(parts: Sequence[Part]) -> list[Card]:
    """One per chapter, in order."""
    chapters: dict[str, list[Part]] = {}
    for one in parts:
        chapters.setdefault(one.outcome.section.chapter, []).append(one)
    return [_card(chapter, members) for chapter, members in chapters.items()]


def _card(chapter: str, members: Sequence[Part]) -> Card:
    lead = max(members, key=lambda one: (bool(one.headline.finding), one.number is not None, one.headline.weight))
    run = lead.elsewhere
    if lead.number is None and run is not None and run.number is not None:
        shown = (lead.tile, lead.alternative, lead.chart)
        if not lead.tile:
            shown = (run.picture, visible(run.run.shows), run.run.chart)
        return Card(chapter, lead, run.number, run.run.headline, *shown, False, "")
    full = run.number.value if run is not None and run.number not in (None, lead.number) else ""
    return Card(chapter, lead, lead.number, lead.headline, lead.tile, lead.alternative, lead.chart, True, full)


class Pending(NamedTuple):
    """A chapter of which nothing is finished yet, and how far it is."""

    chapter: str
    word: str


def pending(state: State) -> list[Pending]:
    """The chapters that have no card yet."""
    if not state.running:
        return []
    begun = {outcome.section.chapter for outcome in state.outcomes}
    now = "interrupted" if state.stopped else "being measured"
    words = {one.chapter: "to come" for one in state.waiting} | {one.chapter: now for one in state.running}
    return [Pending(chapter, word) for chapter, word in words.items() if chapter not in begun]


def sentence(parts: Sequence[Part]) -> str:
    """What was examined and what came of it, in one sentence."""
    rows = answer_rows([one.outcome for one in parts])
    if all(isinstance(one.outcome.section, Check) for one in parts):
        looked = sum(bool(one.headline.verdict) and one.headline.tone == "attention" for one in parts)
        silent = sum(not one.headline.verdict for one in parts)
        quiet = "no problems found" if silent < len(parts) else "no verdict"
        came = f"{counted(looked, 'finding')} to look into" if looked else quiet
        rest = f", {silent} without a verdict" if 0 < silent < len(parts) else ""
        return f"{counted(len(parts), 'check')} of a classifier: {came}{rest}." if parts else ""
    count = Counter(row[4] for row in rows)
    found = len(rows) - sum(count[verdict] for verdict in OPEN)
    return (
        f"{counted(len(parts), 'experiment')} of Delefosse and Vin's report, repeated: {found} "
        f"{'question is' if found == 1 else 'questions are'} answered, {count['reproduced']} published "
        f"{'finding is' if count['reproduced'] == 1 else 'findings are'} reproduced and {count['differs'] or 'none'} "
        f"differ{'s' * (count['differs'] <= 1)}."
    )

"""Every question and its answer, or every check and what it found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from deepscope.report.keeping import Outcome
from deepscope.results import Block, Column, Note, Result, Table

OPEN = ("not measured here", "not decided")
"""Verdicts of questions that the page lists apart."""


def overview(outcomes: Sequence[Outcome]) -> Result:
    """The findings of the sections, collected from their tables of answers and, without one, from their verdicts."""
    blocks: list[Block] = []
    rows = [row for row in answer_rows(outcomes) if row[4] not in OPEN]
    if rows:
        verdicts = Counter(row[4] for row in rows)
        counted = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
        columns = tuple(Column(name) for name in ("chapter", "question", "published", "measured", "verdict"))
        caption = f"{len(rows)} answers: {counted}."
        blocks.append(Table(columns, tuple(row[:5] for row in rows), caption=caption, kind="answers"))
    if found := [row for outcome in outcomes if not _answers(outcome) for row in _notes(outcome)]:
        columns = (Column("section"), Column("what"), Column("found"))
        blocks.append(Table(columns, tuple(found), title="What was found"))
    return Result("All questions", blocks=tuple(blocks))


def unanswered(outcomes: Sequence[Outcome]) -> list[tuple[str, str, str, str]]:
    """(section, question, what is missing, measured so far) of what could not be measured or decided here."""
    rows = [
        (outcome.section.name, row[1], row[5], row[3])
        for outcome in outcomes
        for row in answer_rows([outcome])
        if row[4] in OPEN
    ]
    return rows + [(o.section.name, o.result.title, o.missing, "") for o in outcomes if o.missing]


def answer_rows(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """(chapter, question, published, measured, verdict, reason) of every answer."""
    return [
        (_number(outcome), *(str(text) for text in row[:5]))
        for outcome in outcomes
        for table in _answers(outcome)
        for row in table.rows
    ]


def _number(outcome: Outcome) -> str:
    return outcome.section.chapter.partition(" ")[0]


def _answers(outcome: Outcome) -> list[Table]:
    return [block for block in outcome.result.blocks if isinstance(block, Table) and block.kind == "answers"]


def _notes(outcome: Outcome) -> list[tuple[str, str, str]]:
    if outcome.missing:
        return []
    notes = [block for block in outcome.result.blocks if isinstance(block, Note)]
    said = [note for note in notes if note.level == "verdict"] or notes[:1]
    return [(outcome.section.chapter, note.title, note.text) for note in said]

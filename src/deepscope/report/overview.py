"""The top of the page: every question and its answer, or every check and its findings, in one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from deepscope.report.keeping import Outcome
from deepscope.results import Block, Column, Note, Result, Table


def overview(outcomes: Sequence[Outcome]) -> Result:
    """The findings of the sections, collected from their tables of answers and, without one, from their verdicts."""
    blocks: list[Block] = []
    rows = answered(outcomes)
    if rows:
        verdicts = Counter(str(row[4]) for row in rows)
        counted = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
        columns = tuple(Column(name) for name in ("chapter", "question", "published", "measured", "verdict"))
        blocks.append(Table(columns, rows, title="Every question", caption=f"{len(rows)} answers: {counted}."))
    if found := [row for outcome in outcomes if not _answers(outcome) for row in _notes(outcome)]:
        columns = (Column("section"), Column("what"), Column("found"))
        blocks.append(Table(columns, tuple(found), title="Findings"))
    return Result("At a glance", blocks=tuple(blocks))


def answered(outcomes: Sequence[Outcome]) -> tuple[tuple[str, ...], ...]:
    """(chapter, question, published, measured, verdict) of every answer."""
    return tuple(
        (_number(outcome), *(str(text) for text in row[:4]))
        for outcome in outcomes
        for table in _answers(outcome)
        for row in table.rows
    )


def _number(outcome: Outcome) -> str:
    return outcome.section.chapter.partition(" ")[0]


def _answers(outcome: Outcome) -> list[Table]:
    return [block for block in outcome.result.blocks if isinstance(block, Table) and block.kind == "answers"]


def _notes(outcome: Outcome) -> list[tuple[str, str, str]]:
    notes = [block for block in outcome.result.blocks if isinstance(block, Note)]
    said = [note for note in notes if note.level == "verdict"] or notes[:1]
    return [(outcome.section.chapter, note.title, note.text) for note in said]

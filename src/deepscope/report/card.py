"""The model card: what an audit measured of a classifier, and nothing else."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepscope.checks import Check
from deepscope.checks.held_out import OF_THE_IMAGES
from deepscope.errors import FileError
from deepscope.files import atomic
from deepscope.models import VisionModel
from deepscope.names import counted, short
from deepscope.render.text import amount, share
from deepscope.report.card_text import markdown
from deepscope.report.keeping import Outcome
from deepscope.report.requirements import Assessed, Verdict
from deepscope.results import Block, Cell, Column, Note, Result, Table
from deepscope.statistics import Estimate

_FILES = {"model-card.md": 'tags: ["deepscope"]', "model-card.json": '"generator": "deepscope"'}
"""The files of a card, and what the beginning of each holds that this program wrote."""
_HEAD = 1 << 12
_WORST: tuple[Verdict, ...] = ("fail", "warn", "pass")


@dataclass(frozen=True)
class Figure:
    """A measured figure.

    Attributes:
        check: the check that measured it.
        name: what requirements call it: the check's name, or "CHECK/METRIC".
        label: what it is, in words: "of 600 images are classified correctly".
        estimate: its value and 95 % interval.
        text: both as text, with the digits that the interval supports.
    """

    check: str
    name: str
    label: str
    estimate: Estimate
    text: str


@dataclass(frozen=True)
class Finding:
    """What a check found, in words.

    Attributes:
        check: its name.
        text: two sentences at most.
        attention: whether it should be looked at before the model is released.
    """

    check: str
    text: str
    attention: bool


@dataclass(frozen=True)
class ModelCard:
    """A classifier on one page: what it is, on which images it was measured, how good it is, and where it fails.

    Attributes:
        model: its name.
        digest: SHA-256 of its weights.
        classes: its classes, in the order of its outputs.
        head: "softmax", "multilabel" or "binary".
        preprocessing: how images are prepared, in words.
        data: name of the folder or dataset that it was measured on.
        images: that it was measured on: their number and digest.
        measured: when the first check began, in UTC (ISO 8601).
        versions: of the libraries that measured it.
        figures: in the order of the page.
        per_class: figures of each class; None where they were not measured.
        findings: of all checks that ran.
        unmeasured: (check, reason) of checks that did not run, (what, how to) of what no check measures, and checks
            that were not asked for.
        requirements: what the owner asked for, compared with the figures.
    """

    model: str
    digest: str
    classes: tuple[str, ...]
    head: str
    preprocessing: str
    data: str
    images: str
    measured: str
    versions: Mapping[str, str]
    figures: tuple[Figure, ...]
    per_class: Table | None
    findings: tuple[Finding, ...]
    unmeasured: tuple[tuple[str, str], ...]
    requirements: tuple[Assessed, ...] = ()

    @classmethod
    def of(
        cls, model: VisionModel, data: str, outcomes: Sequence[Outcome], assessed: Sequence[Assessed] = ()
    ) -> ModelCard:
        """The card of a model after these checks.

        Args:
            model: the classifier.
            data: the folder or dataset that it was examined on.
            outcomes: of the checks.
            assessed: what was required.
        """
        finished = [one for one in outcomes if not one.failure and not one.missing]
        origins = [one.result.provenance for one in finished]
        return cls(
            model=model.title,
            digest=next((one.models[model.name] for one in origins if model.name in one.models), ""),
            classes=model.categories,
            head=model.head.kind,
            preprocessing=str(model.preprocessing),
            data=short(data),
            images=next((one.data for one in origins if one.data), ""),
            measured=min((one.started for one in origins if one.started), default=""),
            versions=origins[0].versions if origins else {},
            figures=tuple(figure for one in finished for figure in _figures(one)),
            per_class=next((table for one in finished for table in _tables(one.result)), None),
            findings=tuple(_findings(finished)),
            unmeasured=tuple(_unmeasured(outcomes)),
            requirements=tuple(assessed),
        )

    @property
    def verdict(self) -> Verdict | None:
        """The worst verdict of the requirements; None where there are none."""
        found = {one.verdict for one in self.requirements}
        return next((verdict for verdict in _WORST if verdict in found), None)

    @property
    def counted(self) -> str:
        """How many requirements have each verdict, in words."""
        count, total = Counter(one.verdict for one in self.requirements), len(self.requirements)
        words: tuple[tuple[Verdict, str], ...] = (("warn", "warned"), ("fail", "failed"))
        others = "".join(f", {count[verdict]} {word}" for verdict, word in words if count[verdict])
        return f"{count['pass']} of {counted(total, 'requirement')} passed{others}"

    def document(self) -> dict[str, Any]:
        """The card as plain data, ready for JSON; what is not a finite number is None."""
        return {
            "generator": "deepscope",
            "model": {
                "name": self.model,
                "weights_sha256": self.digest,
                "classes": list(self.classes),
                "head": self.head,
                "preprocessing": self.preprocessing,
            },
            "data": {"name": self.data, "images": self.images},
            "measured": self.measured,
            "versions": dict(self.versions),
            "figures": [
                {"check": one.check, "name": one.name, "label": one.label, **_ends(one.estimate)}
                for one in self.figures
            ],
            "per_class": None if self.per_class is None else _rows(self.per_class),
            "findings": [vars(one) for one in self.findings],
            "not_measured": [{"check": check, "reason": reason} for check, reason in self.unmeasured],
            "requirements": [
                {
                    "figure": one.requirement.figure,
                    "sign": one.requirement.sign,
                    "bound": one.requirement.bound,
                    "strict": one.requirement.strict,
                    **_ends(one.estimate),
                    "verdict": one.verdict,
                    "reason": one.reason,
                }
                for one in self.requirements
            ],
            "verdict": self.verdict,
        }

    def markdown(self) -> str:
        """The card as Markdown with the metadata that Hugging Face reads from model cards."""
        return markdown(self)

    def save(self, folder: str | Path) -> None:
        """Write `model-card.md` and `model-card.json` into the folder.

        Raises:
            FileError: the folder holds such files of another program.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        refuse_foreign_card(folder)
        document = json.dumps(self.document(), indent=1, ensure_ascii=True) + "\n"
        for name, text in zip(_FILES, (self.markdown(), document), strict=True):
            with atomic(folder / name) as path:
                path.write_text(text, encoding="utf-8", errors="backslashreplace")


def refuse_foreign_card(folder: Path) -> None:
    """Raises FileError where a card in the folder was written by another program, or by hand."""
    for name, sign in _FILES.items():
        path, head = folder / name, b""
        if not os.path.lexists(path):
            continue
        if path.is_file():
            with path.open("rb") as file:
                head = file.read(_HEAD)
        if sign.encode() not in head:
            raise FileError(f"{path} was not written by deepscope: move it away, or name another folder", path=path)


def verdict_blocks(card: ModelCard) -> tuple[Block, ...]:
    """The verdict, and a table of the requirements."""
    columns = ("required", "measured", "verdict", "why")
    rows = tuple((str(one.requirement), one.measured, one.verdict, one.reason) for one in card.requirements)
    return (
        Note(f"{card.counted}.", card.verdict or "", "verdict"),
        Table(tuple(Column(name) for name in columns), rows, title="Requirements"),
    )


def _unmeasured(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    """Checks that could not run, and why; what the others leave out; and checks that were not asked for, or not yet."""
    lacking = [(one.section.name, one.failure or one.missing) for one in outcomes if one.failure or one.missing]
    for one in outcomes:
        if isinstance(one.section, Check) and not one.failure and not one.missing:
            lacking += one.section.left_out(one.result).items()
    seen = {one.section.name for one in outcomes}
    others = sorted((check.chapter, name) for name, check in Check.members().items() if name not in seen)
    return lacking + [(name, "this audit did not run the check") for _, name in others]


def _figures(outcome: Outcome) -> list[Figure]:
    """The headline's figure, and those that the check lists beside it."""
    section, found = outcome.section, []
    headline = section.headline(outcome.result)
    if headline is not None and headline.estimate is not None:
        found.append(_figure(section.name, section.name, headline.label, headline.estimate, headline.form))
    for metric, label in section.listed.items() if isinstance(section, Check) else ():
        form = "share" if label.startswith("of the ") else "number"
        found.append(
            _figure(section.name, f"{section.name}/{metric}", label, Estimate.of(outcome.result.metrics, metric), form)
        )
    return [figure for figure in found if math.isfinite(figure.estimate.value)]


def _figure(check: str, name: str, label: str, estimate: Estimate, form: str) -> Figure:
    if form == "count":
        text = f"{estimate.value:,.0f}"
    else:
        text = share(estimate, interval=True) if form == "share" else amount(estimate, interval=True)
    return Figure(check, name, label, estimate, text)


def _findings(outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    """The headline's sentences, or the verdicts of a check that declares no headline; and its warnings.

    Warnings on the images that all checks share are given once, as those of the first check.
    """
    given: set[Note] = set()
    for outcome in outcomes:
        notes = [block for block in outcome.result.blocks if isinstance(block, Note)]
        name, headline = outcome.section.name, outcome.section.headline(outcome.result)
        if headline is not None and headline.finding:
            yield Finding(name, headline.finding, headline.tone == "attention")
        else:
            yield from (Finding(name, note.text, False) for note in notes if note.level == "verdict")
        warnings = [note for note in notes if note.level == "warning"]
        yield from (Finding(name, note.text, True) for note in warnings if note not in given)
        given |= {note for note in warnings if note.title in OF_THE_IMAGES}


def _tables(result: Result) -> list[Table]:
    return [block for block in result.blocks if isinstance(block, Table) and block.kind == "classes"]


def _rows(table: Table) -> list[dict[str, Any]]:
    """The rows by column; what is not a finite number is None, as JSON has no word for it."""
    names = [column.name for column in table.columns]
    return [dict(zip(names, map(_finite, row), strict=True)) for row in table.rows]


def _finite(value: Cell) -> Cell:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _ends(estimate: Estimate) -> dict[str, float | None]:
    return {name: end if math.isfinite(end) else None for name, end in vars(estimate).items()}

"""A model card as Markdown."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deepscope.names import visible
from deepscope.render.text import cell

if TYPE_CHECKING:
    from deepscope.report.card import ModelCard

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")
_FEW = 20
"""The most classes that are listed by name."""


def markdown(card: ModelCard) -> str:
    """Markdown below metadata as Hugging Face reads them (https://huggingface.co/docs/hub/model-cards).

    The metadata are YAML whose values are written as JSON: no name can leave its place.
    """
    head = "\n".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in _metadata(card).items())
    parts = [f"---\n{head}\n---", f"# {_plain(card.model)}"]
    if card.verdict is not None:
        parts.append(f"**Verdict: {card.verdict}**")
        rows = [(str(one.requirement), one.measured, one.verdict, one.reason) for one in card.requirements]
        parts.append(_table(("required", "measured", "verdict", "why"), rows))
    shown = ", ".join(card.classes[:_FEW]) + (f", and {len(card.classes) - _FEW} more" if card.classes[_FEW:] else "")
    parts += [
        "## Model",
        _table(
            ("", ""),
            [
                ("weights (SHA-256)", card.digest or "not known"),
                ("classes", f"{len(card.classes)}: {shown}"),
                ("head", card.head),
                ("preprocessing", card.preprocessing),
                ("measured on", f"{card.data}: {card.images}" if card.images else card.data),
                ("measured", card.measured),
                ("measured with", ", ".join(f"{name} {version}" for name, version in card.versions.items())),
            ],
        ),
        "## Figures",
        _table(("figure", "what it is", "name"), [(one.text, one.label, one.name) for one in card.figures]),
        "Intervals in brackets hold with 95 % confidence.",
    ]
    if card.per_class is not None:
        columns = card.per_class.columns
        rows = [tuple(cell(value, column) for value, column in zip(row, columns)) for row in card.per_class.rows]
        parts += ["## Classes", _table([column.name for column in columns], rows)]
    for title, attention in (("## Known failures and warnings", True), ("## What else was found", False)):
        if said := [one for one in card.findings if one.attention is attention]:
            parts += [title, "\n".join(f"- {_plain(one.check)}: {_plain(one.text)}" for one in said)]
    if card.unmeasured:
        parts += ["## Not measured", "\n".join(f"- {_plain(name)}: {_plain(why)}" for name, why in card.unmeasured)]
    return "\n\n".join(parts) + "\n"


def _metadata(card: ModelCard) -> dict[str, Any]:
    metrics = [
        {"type": one.name, "name": one.label, "value": one.estimate.value}
        for one in card.figures
        if math.isfinite(one.estimate.value)
    ]
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"type": "imagefolder", "name": visible(card.data)},
        "metrics": metrics,
    }
    found: dict[str, Any] = {"pipeline_tag": "image-classification", "tags": ["deepscope"]}
    if metrics:
        found["model-index"] = [{"name": visible(card.model), "results": [result]}]
    return found


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *([_plain(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    return _SPECIAL.sub(r"\\\1", visible(text))

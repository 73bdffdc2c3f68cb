"""The full runs that come with the installation: measured with the real data, elsewhere.

`tools/keep_study.py` writes them from `docs/experiments/kept`. A page shows them beside what was measured here, and
says so.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

from deepscope.command import Headline
from deepscope.statistics import Estimate

FOLDER = Path(__file__).parent / "full-runs"


@dataclass(frozen=True)
class FullRun:
    """A study's full run.

    Attributes:
        headline: its figure and finding.
        answers: question, published, measured, verdict and reason of each.
        date: of the run, ISO 8601.
        data: what was read, in words.
        command: that gives it again.
        device: that it ran on.
        picture: WebP; empty where the study draws none.
        shows: what the picture shows: its title.
        caption: and more of it, in words.
        chart: whether it is lines and bars alone.
    """

    headline: Headline
    answers: tuple[tuple[str, ...], ...]
    date: str
    data: str
    command: str
    device: str
    picture: bytes
    shows: str
    caption: str
    chart: bool


@functools.cache
def full_run(study: str) -> FullRun | None:
    """The full run of a study, by its name; None where there is none."""
    path = FOLDER / f"{study}.json"
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    told, answers = found.pop("headline"), found.pop("answers")
    estimate = told.pop("estimate")
    headline = Headline(**told, estimate=None if estimate is None else Estimate(*estimate))
    picture = path.with_suffix(".webp")
    content = picture.read_bytes() if picture.is_file() else b""
    return FullRun(headline, tuple(map(tuple, answers)), picture=content, **found)

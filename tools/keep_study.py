"""Keep a report's results in the repository: `python tools/keep_study.py REPORT`.

Copies each study's result.json from REPORT/studies to docs/experiments/kept/NAME, draws its figures as small WebP
files, keeps the numbers of its curves as curves.npz, and writes the tables in README.md and in each chapter's page of
docs/experiments from everything that is kept there. What the report's page shows of these runs goes to
src/deepscope/report/full-runs. Without REPORT, it only writes the tables and these; with --redraw it first draws every
curve whose numbers are kept again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast, get_args

from deepscope import render
from deepscope.command import Headline
from deepscope.files import atomic
from deepscope.records import ARRAYS, FOLDER
from deepscope.render.html import chart
from deepscope.render.json import text
from deepscope.report.full_runs import FOLDER as SHIPPED
from deepscope.results import Result
from deepscope.studies import Study
from deepscope.studies.study import ANSWERS, Verdict
from kept_figures import CURVES, drawn, first_rows, keep_curves, keep_figures, redraw
from kept_words import supported

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "docs" / "experiments" / "kept"
BEGIN, END = "<!-- measured: written by tools/keep_study.py -->", "<!-- end of measured -->"
_OUT = re.compile(r'("command": "[^"\n]*?) --out(?:=| )[^ "\n]+')
"""The folder that a command wrote to is not kept."""
_OF_THE_FOLDER = (FOLDER, "sha256")
"""Keys of a result.json that describe files beside it, which are not kept unchanged."""
_VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
_OPEN = ("-", "TODO")
"""Published values of questions that the report leaves open."""
_HEADLINES = (
    ("architecture", "1. total parameters"),
    ("transfer-learning", "6. what pre-training is worth"),
    ("transfer-learning", "11. improvements"),
    ("saliency", "Sanity check of the maps, squeezenet1_0"),
    ("adversarial", "6. An attack needs no access to the parameters"),
    ("class-visualization", "10. an image of the class focuses the result"),
    ("domain-adaptation", "beyond: the model that is saved"),
    ("generation", "6. the conditional DCGAN"),
)
"""Study and question of each row of the README."""
_SHIPPED = (960, 720)
"""Pixels of a picture that comes with the installation."""
_TALLEST = 1.3
"""Height by width of such a picture: of a taller grid, the first rows."""
_LOOKED_AT = {"generation": "conditional", "generation-questions": "y-absent-from-d", "stacked-digits": "stacked"}
"""The title of the picture of a study whose first figure is not the one to look at."""
_RENAMED = {"judge": "evaluator"}
"""Settings of results that an earlier version kept."""


@dataclass(frozen=True)
class Kept:
    """A kept study: its name, its result.json, and the names of its figures."""

    name: str
    result: dict[str, Any]
    figures: tuple[str, ...]

    @property
    def chapter(self) -> str:
        """The chapter of the report."""
        return Study.member(self.name).chapter

    @property
    def page(self) -> str:
        """The file name of the chapter's page."""
        return re.sub("[^a-z0-9]+", "-", self.chapter.lower()) + ".md"

    def title_of(self, figure: str) -> str:
        """A figure's title."""
        return self._block(figure)["title"] or f"{self.name}, {figure}"

    def caption_of(self, figure: str) -> str:
        """What it shows, in words."""
        return str(self._block(figure)["caption"])

    def curves(self, figure: str) -> bool:
        """Whether it shows curves."""
        return self._block(figure)["type"] == "Curves"

    def _block(self, figure: str) -> dict[str, Any]:
        """Its file's number is its place among the blocks."""
        return self.result["blocks"][int(figure.partition("-")[0]) - 1]

    def answers(self) -> Iterator[list[str]]:
        """Question, published, measured, verdict and reason of each answer."""
        for block in self.result["blocks"]:
            if block["type"] == "Table" and block["title"] == ANSWERS:
                for question, published, *rest in block["rows"]:
                    yield [question, "left open" if published in _OPEN else published, *map(supported, rest)]


def keep(report: Path, study: Path) -> None:
    """Copy the results of a report folder into docs/experiments/kept, with smaller figures."""
    for document in sorted(report.glob("studies/*/result.json")):
        source, target = document.parent, study / document.parent.name
        shutil.rmtree(target, ignore_errors=True)
        keep_figures(render.load(source), target)
        about = json.loads(document.read_text(encoding="utf-8"))
        for key in _OF_THE_FOLDER:
            about.pop(key, None)
        with atomic(target / "result.json") as temporary:
            temporary.write_text(_OUT.sub(r"\1", text(about)) + "\n", encoding="utf-8")
        keep_curves(about, source / ARRAYS, target / CURVES)


def kept(study: Path) -> list[Kept]:
    """The kept studies, in the order of their chapters."""
    found = [
        Kept(
            path.parent.name,
            json.loads(path.read_text(encoding="utf-8")),
            tuple(figure.name for figure in sorted(path.parent.glob("*.webp"))),
        )
        for path in study.glob("*/result.json")
    ]
    return sorted(found, key=lambda one: (one.chapter, one.name))


def headlines(studies: list[Kept]) -> str:
    """The README's table, and how many published values were reproduced.

    Raises:
        ValueError: a headline is not among the kept answers.
    """
    rows, verdicts = {}, []
    for one in studies:
        for question, published, measured, verdict, *_ in one.answers():
            verdicts.append(verdict)
            link = f"[{one.name}](docs/experiments/{one.page}#{one.name})"
            chapter = one.chapter.partition(" ")[0]
            rows[one.name, question] = (chapter, question, published, measured, verdict, link)
    if missing := [headline for headline in _HEADLINES if headline not in rows]:
        raise ValueError(f"no kept answer to {missing}")
    table = _table(("chapter", "question", "published", "measured", "verdict", "study"), [rows[h] for h in _HEADLINES])
    counted = [verdict for verdict in _VERDICTS if verdict != "not decided" or verdict in verdicts]
    counts = [f"{verdicts.count(verdict)} {verdict}" for verdict in counted]
    return f"{table}\nOf {len(verdicts)} questions: {', '.join(counts)}.\n"


def chapter(studies: list[Kept]) -> str:
    """The generated part of a chapter's page: each of its studies with command, answers and figures."""
    parts = [
        "Written by `tools/keep_study.py` from the kept `result.json` files. Seconds are those of the last run: a\n"
        "study whose trainings were kept from earlier runs only reads them.\n"
    ]
    for one in studies:
        about = one.result["provenance"]
        where = f"seed {about['seed']}, {about['device']}, {about['precision']}, {about['seconds']:.0f} s"
        parts.append(f'<a id="{one.name}"></a>\n\n### {_plain(one.result["title"])}\n')
        parts.append(f"`{about['command']}` ({where}), [result.json](kept/{one.name}/result.json)\n")
        parts.append(_table(("question", "published", "measured", "verdict", "because"), list(one.answers())))
        above = ""
        for name in one.figures:
            title, caption = _plain(one.title_of(name)), _plain(one.caption_of(name))
            parts.append(f"![{title}](kept/{one.name}/{name})\n")
            parts.append(f"**{title}.** {'' if caption == above else caption}".rstrip() + "\n")
            above = caption
    return "\n".join(parts)


def written(studies: list[Kept], root: Path) -> dict[Path, str]:
    """The new text of README.md and of each chapter's page, by path."""
    found = {root / "README.md": headlines(studies)}
    for page, members in itertools.groupby(studies, key=lambda one: one.page):
        found[root / "docs" / "experiments" / page] = chapter(list(members))
    return {path: with_measured(path.read_text(encoding="utf-8"), text) for path, text in found.items()}


def with_measured(page: str, measured: str) -> str:
    """A page's text with the generated part between its two marks.

    Raises:
        ValueError: the page has no such marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{measured}\n{END}{after}"


def ship(studies: list[Kept], folder: Path) -> None:
    """Write what the report's page shows of each full run: its headline, answers and one picture."""
    for path in folder.glob("*.*"):
        path.unlink()
    for one in studies:
        pictured, picture = _picture(one)
        with atomic(folder / f"{one.name}.json") as temporary:
            temporary.write_text(text({**shipped(one), **pictured}) + "\n", encoding="utf-8")
        if picture:
            with atomic(folder / f"{one.name}.webp") as temporary:
                temporary.write_bytes(picture)


def _picture(one: Kept) -> tuple[dict[str, str | bool], bytes]:
    """The kept figure to look at, or the headline's: its title, its caption, whether it is a chart, and its WebP."""
    figure = next((name for name in one.figures if one.title_of(name) == _LOOKED_AT.get(one.name)), None)
    if figure := figure or next(iter(one.figures), None):
        about = {"shows": one.title_of(figure), "caption": one.caption_of(figure), "chart": one.curves(figure)}
        return about, first_rows(KEPT / one.name / figure, _SHIPPED, _TALLEST)
    if drawing := _headline(one).picture:
        return {"shows": drawing.title, "caption": drawing.caption, "chart": chart(drawing)}, drawn(drawing, _SHIPPED)
    return {"shows": "", "caption": "", "chart": False}, b""


def shipped(one: Kept) -> dict[str, Any]:
    """A full run as `deepscope.report.full_runs` reads it, without its picture."""
    headline, about = _headline(one), one.result["provenance"]
    estimate = headline.estimate and [headline.estimate.value, headline.estimate.low, headline.estimate.high]
    told = {name: getattr(headline, name) for name in ("finding", "label", "form", "published", "verdict", "tone")}
    return {
        "headline": {**told, "estimate": estimate},
        "answers": [list(answer) for answer in one.answers()],
        "date": about["started"][:10],
        "data": about["data"].partition(", sha256")[0],
        "command": about["command"],
        "device": f"{about['device']}, {about['precision']}",
    }


def _headline(one: Kept) -> Headline:
    """What the page says of the study, from its kept settings and metrics."""
    member = Study.member(one.name)
    config = {_RENAMED.get(name, name): value for name, value in one.result["config"].items()}
    settings = {f.name: config[f.name] for f in fields(member) if f.name in config}  # type: ignore[arg-type]
    found = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
    study = cast("Callable[..., Study]", member)(**found)
    metrics = {name: float(str(value).replace("Infinity", "inf")) for name, value in one.result["metrics"].items()}
    headline = study.headline(Result(one.result["title"], metrics=metrics))
    assert headline is not None, one.name
    return headline


def _table(columns: tuple[str, ...], rows: list[Any]) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "".join(f"| {' | '.join(_plain(str(cell)) for cell in line)} |\n" for line in lines)


def _plain(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def main() -> None:
    """Keep a report's results, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", nargs="?", type=Path, help="folder of `deepscope report --out`")
    parser.add_argument("--redraw", action="store_true", help="draw the curves whose numbers are kept again")
    given = parser.parse_args()
    if given.report is not None:
        keep(given.report, KEPT)
    if given.redraw:
        redraw(KEPT)
    found = kept(KEPT)
    for path, page in written(found, ROOT).items():
        with atomic(path) as temporary:
            temporary.write_text(page, encoding="utf-8")
    ship(found, SHIPPED)
    size = sum(path.stat().st_size for path in KEPT.rglob("*") if path.is_file())
    print(f"{len(found)} studies in {KEPT}, {size / 2**20:.1f} MB")


if __name__ == "__main__":
    main()

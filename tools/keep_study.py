"""Keep a report's results in the repository: `python tools/keep_study.py REPORT`, then the README's table follows.

Copies each study's result.json from REPORT/studies to docs/study/NAME, its figures as small WebP files beside it, and
writes docs/study/README.md and the table in README.md from all that lies there. Without REPORT, only the latter two.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from deepscope.files import atomic
from deepscope.records import FOLDER
from deepscope.render.json import text
from deepscope.studies import Study
from deepscope.studies.study import ANSWERS, Verdict

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- measured: written by tools/keep_study.py -->", "<!-- end of measured -->"
_OUT = re.compile(r'("command": "[^"\n]*?) --out(?:=| )[^ "\n]+')
"""Where a command wrote to is nobody else's business."""
_OF_THE_FOLDER = (FOLDER, "sha256")
"""Keys of a result.json that speak of files beside it, which are not kept as they are."""
_COMPARED: tuple[Verdict, ...] = ("reproduced", "differs")
_OPEN = ("-", "TODO")
"""What stands for a figure where the source left a question open."""
_BEYOND = "beyond"
"""How a question begins that the source did not ask."""
_SIZE, _QUALITY = (960, 4000), 70
"""Pixels that a kept figure is at most wide and high, and its WebP quality."""


@dataclass(frozen=True)
class Kept:
    """A study that lies in docs/study: its name, its result.json, and the names of its figures."""

    name: str
    result: dict[str, Any]
    figures: tuple[str, ...]

    @property
    def chapter(self) -> str:
        """The chapter of the source."""
        return Study.member(self.name).chapter

    def title_of(self, figure: str) -> str:
        """A figure's title: its file's number is its place among the blocks."""
        block = self.result["blocks"][int(figure.partition("-")[0]) - 1]
        return block["title"] or f"{self.name}, {figure}"

    def answers(self) -> Iterator[list[str]]:
        """Question, published, measured, verdict and reason of each answer."""
        for block in self.result["blocks"]:
            if block["type"] == "Table" and block["title"] == ANSWERS:
                yield from block["rows"]


def keep(report: Path, study: Path) -> None:
    """Copy the results of a report folder into docs/study, figures reduced."""
    for document in sorted(report.glob("studies/*/result.json")):
        source, target = document.parent, study / document.parent.name
        shutil.rmtree(target, ignore_errors=True)
        for path in sorted([*source.glob("*.png"), *source.glob("*.gif")]):
            with atomic(target / f"{path.stem}.webp") as temporary:
                temporary.write_bytes(_reduced(path))
        about = json.loads(document.read_text(encoding="utf-8"))
        for key in _OF_THE_FOLDER:
            about.pop(key, None)
        with atomic(target / "result.json") as temporary:
            temporary.write_text(_OUT.sub(r"\1", text(about)) + "\n", encoding="utf-8")


def kept(study: Path) -> list[Kept]:
    """The studies in docs/study, in the order of their chapters."""
    found = [
        Kept(
            path.parent.name,
            json.loads(path.read_text(encoding="utf-8")),
            tuple(figure.name for figure in sorted(path.parent.glob("*.webp"))),
        )
        for path in study.glob("*/result.json")
    ]
    return sorted(found, key=lambda one: (one.chapter, one.name))


def measured_table(studies: list[Kept]) -> str:
    """The README's table: every answer that is compared with what was published, or that it left open, or beyond it."""
    rows = [
        (one.chapter.partition(" ")[0], *row[:4], f"[{one.name}](docs/study/README.md#{one.name})")
        for one in studies
        for row in one.answers()
        if row[3] in _COMPARED or (row[3] == "answered" and (row[1] in _OPEN or row[0].startswith(_BEYOND)))
    ]
    return _table(("chapter", "question", "published", "measured", "verdict", "study"), rows)


def index(studies: list[Kept]) -> str:
    """docs/study/README.md: each study with its command, its answers and its figures."""
    parts = [
        "# The studies\n\nWritten by `tools/keep_study.py` from the `result.json` beside it. Nothing here is typed.\n"
        "Seconds are those of the last run: a study whose trainings were kept from earlier runs only read them.\n"
    ]
    for one in studies:
        about = one.result["provenance"]
        where = f"seed {about['seed']}, {about['device']}, {about['precision']}, {about['seconds']:.0f} s"
        parts.append(f'<a id="{one.name}"></a>\n\n## {one.chapter}: {_plain(one.result["title"])}\n')
        parts.append(f"`{about['command']}` ({where}), [result.json]({one.name}/result.json)\n")
        parts.append(_table(("question", "published", "measured", "verdict", "because"), list(one.answers())))
        parts += [f"![{_plain(one.title_of(name))}]({one.name}/{name})\n" for name in one.figures]
    return "\n".join(parts)


def with_table(readme: str, table: str) -> str:
    """The README's text with the table between its two marks.

    Raises:
        ValueError: the README has no such marks.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md lacks the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table}\n{END}{after}"


def _reduced(path: Path) -> bytes:
    """A figure as a small still WebP; an animation gives its last frame."""
    with Image.open(path) as image:
        image.seek(getattr(image, "n_frames", 1) - 1)
        small = image.convert("RGB")
    small.thumbnail(_SIZE)
    file = io.BytesIO()
    small.save(file, "WEBP", quality=_QUALITY, method=6)
    return file.getvalue()


def _table(columns: tuple[str, ...], rows: list[Any]) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "".join(f"| {' | '.join(_plain(str(cell)) for cell in line)} |\n" for line in lines)


def _plain(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def main() -> None:
    """Keep, and write what follows from what is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", nargs="?", type=Path, help="folder of `deepscope report --out`")
    report: Path | None = parser.parse_args().report
    study, readme = ROOT / "docs" / "study", ROOT / "README.md"
    if report is not None:
        keep(report, study)
    found = kept(study)
    for path, page in (
        (study / "README.md", index(found)),
        (readme, with_table(readme.read_text(encoding="utf-8"), measured_table(found))),
    ):
        with atomic(path) as temporary:
            temporary.write_text(page, encoding="utf-8")
    size = sum(path.stat().st_size for path in study.rglob("*") if path.is_file())
    print(f"{len(found)} studies in {study}, {size / 2**20:.1f} MB")


if __name__ == "__main__":
    main()

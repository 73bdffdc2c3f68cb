"""Every code block of README.md, the tutorials and the how-to guides runs, page by page, in a temporary folder.

An HTML comment above a block says what to do with it: `<!-- parse only: reason -->` for commands that take too long,
and `<!-- needs: NAME ... -->` for blocks that use names that `deepscope` may not export yet.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import deepscope
from deepscope.cli.program import run
from deepscope.data.photographs import bundled

CHECKOUT = Path(__file__).parent.parent.parent
PAGES = [
    CHECKOUT / "README.md",
    *sorted(path for folder in ("tutorials", "how-to") for path in (CHECKOUT / "docs" / folder).glob("*.md")),
]
_BLOCK = re.compile(r"^```(?P<kind>[a-z]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!-- (?P<key>[a-z ]+): (?P<value>[^>]*) -->\s*\Z")


@dataclass(frozen=True)
class Block:
    """A code block of a page, where it begins, and the comments above it."""

    kind: str
    text: str
    line: int
    needs: tuple[str, ...]
    parse_only: bool

    @property
    def missing(self) -> set[str]:
        """Names that the block needs and deepscope does not export."""
        return set(self.needs) - set(deepscope.__all__)

    @property
    def commands(self) -> list[list[str]]:
        """The arguments of each command line of deepscope."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [shlex.split(line)[2:] for line in lines if line.startswith("$ deepscope ")]


def blocks(page: str) -> Iterator[Block]:
    """The blocks of a page's text, in order."""
    for match in _BLOCK.finditer(page):
        before, comments = page[: match.start()], {}
        while comment := _COMMENT.search(before):
            comments[comment["key"]] = comment["value"]
            before = before[: comment.start()]
        line = page.count("\n", 0, match.start("text")) + 1
        needs = tuple(comments.pop("needs", "").split())
        parse_only = bool(comments.pop("parse only", ""))
        assert not comments, f"line {line}: unknown comments {comments}"
        yield Block(match["kind"], match["text"], line, needs, parse_only)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all pages: what the first one exports, measures and computes is read by the others, as a reader's is."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def folder(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the pages take for granted: a photograph of a cat, and folders of images."""
    monkeypatch.setenv("DEEPSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DEEPSCOPE_CACHE", str(cache))
    pictures = {}
    for kind, name in (("cat", "chelsea.png"), ("cup", "coffee.png")):
        with Image.open(bundled(name)) as image:
            pictures[kind] = image.convert("RGB")
    pictures["cat"].save(tmp_path / "cat.jpg")
    for kind, image in pictures.items():
        for number in range(9):
            split = "train" if number < 6 else "test"
            moved = image.crop((4 * number, 2 * number, image.width - 40 + 4 * number, image.height - 40 + 2 * number))
            for root in ("photos", "sketches"):
                path = tmp_path / root / split / kind / f"{number}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                (moved if root == "photos" else moved.convert("L")).resize((96, 96)).save(path)
    (tmp_path / "new-photos").mkdir()
    pictures["cup"].resize((96, 96)).save(tmp_path / "new-photos" / "one.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_the_page_run(
    page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    waiting: set[str] = set()
    for block in blocks(page.read_text(encoding="utf-8")):
        where = f"{page.name}, line {block.line}"
        if block.missing:
            waiting |= block.missing
        elif block.kind == "python":
            assert not block.parse_only, f"{where}: Python is run"
            exec(compile(block.text, where, "exec"), namespace)
        for arguments in [] if block.missing else block.commands:
            with monkeypatch.context() as patch:
                if block.parse_only:
                    patch.setattr("deepscope.cli.program._execute", lambda *_: None)
                status = run(arguments)
            assert status == 0, f"{where}: deepscope {shlex.join(arguments)}\n{capsys.readouterr().err}"
    if waiting:
        pytest.skip(f"all blocks ran but those that need {sorted(waiting)}")


def test_blocks_are_found_with_their_comments() -> None:
    comments = "<!-- needs: explain attack -->\n<!-- parse only: slow -->\n"
    page = f"a\n\n{comments}\n```console\n$ deepscope a \\\n  b 'c d'\n$ ls\n```\n"
    (block,) = blocks(page)
    assert block == Block("console", "$ deepscope a \\\n  b 'c d'\n$ ls\n", 7, ("explain", "attack"), True)
    assert block.commands == [["a", "b", "c d"]]
    with pytest.raises(AssertionError, match="unknown comments"):
        list(blocks("<!-- skip: me -->\n```python\n```\n"))
    assert not next(blocks("<!-- parse only: x -->\ntext\n```python\n```\n")).parse_only


def test_how_to_guides_fit_on_two_screens() -> None:
    for page in (CHECKOUT / "docs" / "how-to").glob("*.md"):
        assert len(page.read_text(encoding="utf-8").splitlines()) <= 90, page

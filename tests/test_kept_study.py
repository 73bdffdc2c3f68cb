"""The README's results are those of docs/study, and nothing in either is typed."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from deepscope import render
from deepscope.results import Animation, ImageGrid, Picture, Provenance, Result
from deepscope.studies import Answer, answers

CHECKOUT = Path(__file__).parent.parent
STUDY = CHECKOUT / "docs" / "study"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("keep_study", CHECKOUT / "tools" / "keep_study.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["keep_study"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_readme_and_the_index_are_what_the_kept_results_give(tool: ModuleType) -> None:
    found = tool.kept(STUDY)
    assert found
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert readme == tool.with_table(readme, tool.measured_table(found))
    assert (STUDY / "README.md").read_text(encoding="utf-8") == tool.index(found)


def test_what_is_kept_is_small_and_whole() -> None:
    files = [path for path in STUDY.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10 * 2**20
    for path in STUDY.glob("*/result.json"):
        assert json.loads(path.read_text(encoding="utf-8"))["type"] == "Result"
        assert path.parent.name in (STUDY / "README.md").read_text(encoding="utf-8")
        assert " --out" not in json.loads(path.read_text(encoding="utf-8"))["provenance"]["command"]


def test_a_report_is_reduced_and_written_out(tool: ModuleType, tmp_path: Path) -> None:
    big = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), dtype=np.uint8)
    result = Result(
        "What | it is",
        blocks=(
            ImageGrid(((Picture(big),),), title="One | figure"),
            Animation(np.stack([big[:300, :300]] * 3), title="Film"),
            answers(
                [
                    Answer("1. Why | not?", "0.9", "0.91", "reproduced", "because"),
                    Answer("2. And?", "-", "0.2", "answered"),
                    Answer("3. Seen?", "some, by eye", "0.3", "answered"),
                    Answer("beyond: more", "0.98 (another)", "0.99", "answered"),
                    Answer("4. Where?", "-", "-", "not measured here"),
                ]
            ),
        ),
        provenance=Provenance(command="deepscope study architecture", device="cpu", precision="float32", seconds=3),
    )
    folder = tmp_path / "report" / "studies" / "architecture"
    render.save(result, folder)
    stale = tmp_path / "study" / "architecture" / "09-old.webp"
    stale.parent.mkdir(parents=True)
    stale.touch()
    tool.keep(tmp_path / "report", tmp_path / "study")
    (one,) = tool.kept(tmp_path / "study")
    assert one.figures == ("01-one-figure.webp", "02-film.webp")
    original = sum(path.stat().st_size for path in folder.glob("*.png"))
    assert sum(path.stat().st_size for path in (tmp_path / "study").rglob("*.webp")) < original / 4
    assert not {"folder", "sha256"} & one.result.keys()
    table = tool.measured_table([one])
    assert "| 1.1 | 1. Why \\| not? | 0.9 | 0.91 | reproduced |" in table
    assert "2. And?" in table and "beyond: more" in table
    assert "3. Seen?" not in table and "4. Where?" not in table
    text = tool.index([one])
    for part in (
        "2. And?",
        "![One \\| figure](architecture/01-one-figure.webp)",
        "`deepscope study architecture` (seed 0",
    ):
        assert part in text
    readme = f"before\n{tool.BEGIN}\nold\n{tool.END}\nafter"
    written = tool.with_table(readme, table)
    assert written.startswith("before\n") and written.endswith("\nafter") and "old" not in written
    assert tool.with_table(written, table) == written
    with pytest.raises(ValueError, match="lacks the lines"):
        tool.with_table("nothing", table)

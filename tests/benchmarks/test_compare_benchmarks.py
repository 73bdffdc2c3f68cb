"""Runs of benchmarks compared: rows for the docs, and what fell."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from deepscope.session import Session

CHECKOUT = Path(__file__).parents[2]


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(name).stem, CHECKOUT / name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOOL = _module("tools/compare_benchmarks.py")


def _run(path: Path, ratio: float, spread: float, **about: Any) -> Path:
    environment = {
        "processor": "Ferrite 9",
        "instructions": ["avx2"],
        "threads": 2,
        "versions": {"torch": "2.7"},
        "engine": {"vgg16": "torch"},
        **about,
    }
    ends = {"ratio/a/plain/low": ratio - spread, "ratio/a/plain/high": ratio + spread}
    path.write_text(json.dumps({"ratio/a/plain": ratio, **ends, "seconds/x": 3, "environment": environment}))
    return path


@pytest.mark.parametrize(("now", "falls"), [(2.0, False), (1.7, False), (1.5, True), (2.6, False)])
def test_a_ratio_falls_where_the_spreads_do_not_touch(
    now: float, falls: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = _run(tmp_path / "a.json", 2.0, 0.2), _run(tmp_path / "b.json", now, 0.2)
    assert TOOL.main(["fell", str(before), str(after)]) == int(falls)
    assert ("2.00 before, 1.50 now" in capsys.readouterr().out) == falls


def test_tables_have_a_row_per_machine_and_one_per_ratio_and_replace_the_last_ones(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Above.\n\n<!-- benchmarks -->\nold\n<!-- /benchmarks -->\n\nBelow.\n")
    runs = [_run(tmp_path / "a.json", 2.0, 0.1), _run(tmp_path / "b.json", 3.0, 0.1, processor="Basalt 2")]
    for _ in range(2):
        assert TOOL.main(["table", *map(str, runs), "--into", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("Above.") and text.endswith("Below.\n") and "old" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4 + 3 and "Ferrite 9" in rows[2] and "Basalt 2" in rows[3]
    assert rows[-1] == "| a: plain | 2.00 (1.90 to 2.10) | 3.00 (2.90 to 3.10) |"


def test_a_run_that_does_not_say_where_it_ran_is_refused_in_one_line(tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_text('{"ratio/a/plain": 2}')
    with pytest.raises(SystemExit, match="does not say what it ran on"):
        TOOL.main(["table", str(old)])
    with pytest.raises(SystemExit, match=r"none\.json"):
        TOOL.main(["table", str(tmp_path / "none.json")])


def test_the_environment_of_a_benchmark_is_complete_and_json() -> None:
    about = _module("benchmarks/environment.py").environment(Session(engines={"onnxruntime"}), images=3)
    assert json.loads(json.dumps(about)) == about
    assert about["threads"] > 0 and about["versions"]["torch"] and about["engine"] == "onnxruntime"
    assert {"processor", "instructions", "cores", "precision"} <= about.keys()


def test_the_spread_of_a_ratio_is_that_of_its_rounds() -> None:
    found = _module("benchmarks/environment.py").ratio("ratio/x", [2.0, 6.0, 3.0], [1.0, 2.0, 2.0])
    assert found == {"ratio/x": 2.0, "ratio/x/low": 1.5, "ratio/x/high": 3.0}


def test_every_benchmark_that_writes_ratios_says_where_they_hold() -> None:
    texts = [path.read_text() for path in (CHECKOUT / "benchmarks").glob("*.py")]
    writing = [text for text in texts if '"--json"' in text]
    assert writing and all("environment(" in text for text in writing)


def test_the_page_of_benchmarks_shows_the_kept_runs() -> None:
    kept = sorted((CHECKOUT / "docs/experiments/benchmarks").glob("*.json"))
    table = TOOL.table([TOOL.read(path) for path in kept])
    page = "docs/experiments/benchmarks/index.md"
    wanted = f"python tools/compare_benchmarks.py table docs/experiments/benchmarks/*.json --into {page}"
    assert kept and table in (CHECKOUT / page).read_text(), f"run {wanted}"
    for path in kept:
        run = TOOL.read(path)
        assert {"processor", "instructions", "threads", "versions", "engine", "precision"} <= run["environment"].keys()
        assert TOOL.ratios(run), path.name

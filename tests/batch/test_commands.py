"""Jobs in parts on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyarrow import parquet

from deepscope.cli.program import run


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def test_a_folder_of_parquet_files_and_a_small_result(
    model_file: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    line = ["classify", str(photos), "--model", model_file, "--shard-size", "5", "--out", str(out), "--json"]
    assert run(line) == 0
    first = capsys.readouterr()
    assert sum(parquet.read_table(path).num_rows for path in out.glob("**/*.parquet")) == 16
    result = json.loads(first.out)
    assert result["metrics"]["images"] == 16
    assert result["metrics"]["parts"] == 4
    assert result["config"]["parts"] == {"shard_size": 5}
    assert (out / "result.json").stat().st_size < 20_000
    assert run([*line[:-3], "--out", str(out), "--json"]) == 0
    again = capsys.readouterr()
    assert "4 of 4 parts are finished already" in again.err
    assert json.loads(again.out)["metrics"] == result["metrics"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("classify PHOTOS --shard-size 5", "--out must name a folder for the parts"),
        ("classify PHOTOS --shard-size 0 --out OUT", "--shard-size 0 is out of range: it must be at least 1"),
        (
            "classify PHOTOS --workers 1 --labels a.csv --out OUT",
            "--labels cannot be combined with --shard-size, --work",
        ),
        ("attack pgd PHOTOS --workers 1 --animate --out OUT", "--animate cannot be combined with --shard-size"),
        ("explain evaluate PHOTOS --workers 1 --against m --out OUT", "--against cannot be combined with --shard-size"),
        ("explain grad-cam PHOTOS --workers 1 --target nonsense --out OUT", "is named 'nonsense'"),
        (
            "explain grad-cam PHOTOS --workers 1 --target hay --top 2 --out OUT",
            "--target cannot be combined with --top",
        ),
        ("transfer features PHOTOS --layer nonsense --out OUT", "no layer is named 'nonsense'"),
        ("transfer features PHOTOS/nothing --out OUT", "there is no such file or folder"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    line: str, said: str, model_file: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = line.replace("PHOTOS", str(photos)).replace("OUT", str(tmp_path / "out")).split()
    assert run([*words, "--model", model_file]) == 2
    (found,) = capsys.readouterr().err.splitlines()
    assert said in found
    assert not list((tmp_path / "out").glob("parts/part-*"))


def test_all_methods_of_a_command_take_parts(model_file: str, photos: Path, tmp_path: Path) -> None:
    commands = ("explain grad-cam", "attack fgsm", "attack evaluate", "transfer features", "check corruptions")
    for number, words in enumerate(commands):
        out = tmp_path / str(number)
        line = [*words.split(), str(photos), "--model", model_file, "--limit", "4", "--workers", "1"]
        more = ["--methods", "fgsm"] if words == "attack evaluate" else []
        assert run([*line, *more, "--out", str(out), "--json"]) == 0
        assert parquet.read_table(out / "parts").num_rows >= 4

"""Which seeds a benchmark of tuning measures: those that a setting was chosen on must not also confirm it."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.mark.parametrize(
    ("words", "seeds"), [([], [0]), (["--seeds", "2"], [0, 1]), (["--seeds", "2", "--first-seed", "5"], [5, 6])]
)
def test_seeds_are_counted_from_the_first(
    words: list[str], seeds: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    tune = importlib.import_module("tune")
    measured: list[int] = []

    def measure(_: argparse.Namespace, seed: int) -> tuple[SimpleNamespace, dict[str, float]]:
        measured.append(seed)
        return SimpleNamespace(), {"seed": seed}

    monkeypatch.setattr(tune, "measure", measure)
    monkeypatch.setattr(sys, "argv", ["tune.py", "--json", *words])
    tune.main()
    assert measured == seeds
    assert json.loads(capsys.readouterr().out)["seed"] == sum(seeds) / len(seeds)

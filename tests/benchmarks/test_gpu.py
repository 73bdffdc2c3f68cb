"""The GPU check runs small on the CPU, so that it still runs where a GPU is."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from deepscope.registry import Registered

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    kept = tmp_path_factory.mktemp("gpu") / "records.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        patch.setenv("DEEPSCOPE_HOME", str(kept.parent))
        gpu = importlib.import_module("gpu")
        gpu.main(["--device", "cpu", "--small", "--json", str(kept), "--seconds", "600"])
    return json.loads(kept.read_text())["records"]


def test_nothing_fails(records: list[dict[str, Any]]) -> None:
    assert [record for record in records if record["verdict"] in ("fail", "error")] == []
    reasons = {record["note"] for record in records if record["verdict"] == "not measured"}
    assert all("alone" in reason or "cannot be imported" in reason for reason in reasons)


def test_every_part_has_records(records: list[dict[str, Any]]) -> None:
    parts = {record["part"] for record in records}
    assert parts == set(importlib.import_module("gpu").SECONDS)


def test_every_registered_method_is_compared(records: list[dict[str, Any]]) -> None:
    compared = {record["name"] for record in records if record["part"] == "methods"}
    families = importlib.import_module("gpu_parts.cases").FAMILIES
    for family in families:
        assert {f"{family.__name__.lower()}/{name}" for name in family.members()} <= compared
    (others,) = [record["note"] for record in records if record["name"] == "other-families"]
    for family in Registered.__subclasses__():
        if family.__module__.startswith("deepscope."):
            assert family in families or family.__name__ in others


def test_what_does_not_fit_is_not_measured_and_a_failure_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: list[dict[str, Any]]
) -> None:
    gpu, machine = importlib.import_module("gpu"), importlib.import_module("gpu_parts.machine")

    def broken(_: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(machine, "_software", broken)
    kept = tmp_path / "records.json"
    assert gpu.main(["--device", "cpu", "--small", "--parts", "machine", "--json", str(kept)]) == 1
    found = {record["name"]: record for record in json.loads(kept.read_text())["records"]}
    assert found["software"]["verdict"] == "error" and "broken" in found["software"]["note"]
    assert found["copy"]["verdict"] == "pass"
    gpu.main(["--device", "cpu", "--small", "--parts", "machine", "--json", str(kept), "--seconds", "0"])
    assert {record["verdict"] for record in json.loads(kept.read_text())["records"]} == {"not measured"}

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deepscope.results import ImageGrid, Table
from deepscope.session import Session
from deepscope.studies import class_images_alone
from deepscope.studies.class_images_alone import unevaluated
from deepscope.visualization import preset
from networks import tiny_model


def test_without_another_network_images_are_shown_and_nothing_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(class_images_alone, "preset", lambda name: replace(preset(name), iterations=2, view=32))
    session = Session(home=tmp_path, cache=tmp_path / "cache", quiet=True)
    result = unevaluated(tiny_model(size=32), ("wombat", "snail"), "no other network is here", session)
    grid, table = result.blocks
    assert isinstance(grid, ImageGrid)
    assert isinstance(table, Table)
    assert len(grid.rows[0]) == result.metrics["classes"] == 2
    assert {row[3] for row in table.rows} == {"not measured here"}
    assert {row[4] for row in table.rows} == {"no other network is here"}

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepscope.errors import DeepscopeError
from deepscope.models import VisionModel
from deepscope.results import Animation, ImageGrid, Table
from deepscope.session import Session
from deepscope.studies import class_images_compared, class_visualization
from deepscope.studies.class_visualization import ClassVisualization
from deepscope.visualization import Recipe, preset
from networks import tiny_model

WNIDS = tuple(f"n{index:08d}" for index in range(6))


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, session: Session) -> VisionModel:
        if name == "vgg16":
            raise DeepscopeError("vgg16 has features only")
        return dataclasses.replace(tiny_model(classes=6, seed=len(name)), name=name, wnids=WNIDS)

    def short(name: str) -> Recipe:
        return dataclasses.replace(preset(name), iterations=3, view=32 if preset(name).view else 0)

    monkeypatch.setattr(class_visualization, "load_model", load)
    monkeypatch.setattr(class_images_compared, "preset", short)


def run(home: Path) -> tuple[ClassVisualization, Session]:
    session = Session(home=home, cache=home / "cache", quiet=True)
    return ClassVisualization(
        model="maker", evaluator="number two", classes=6, iterations=(1, 2, 4), rates=(0.5, 5)
    ), session


def photographs(home: Path) -> None:
    folder = home / "data" / "imagenet-sample"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for wnid in WNIDS:
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(folder / f"{wnid}_class.JPEG")


def test_every_question_is_answered_with_its_number(tmp_path: Path) -> None:
    photographs(tmp_path)
    study, session = run(tmp_path)
    result = study.run(session)
    assert not any((tmp_path / "cache" / "visualize").glob("*"))
    table = result.blocks[-1]
    assert isinstance(table, Table)
    verdicts = {row[0]: row[3] for row in table.rows}
    assert len(verdicts) == 9
    assert [question for question, verdict in verdicts.items() if verdict == "not measured here"] == ["11. VGG16"]
    assert set(verdicts.values()) <= {"reproduced", "differs", "answered", "not decided", "not measured here"}
    for _, _, measured, verdict, because in (map(str, row) for row in table.rows):
        found = re.match(r"log-probability \S+ \[(\S+), (\S+)\]", measured)
        low, high = map(float, found.groups()) if found else (math.nan, math.nan)
        assert {"reproduced": low > 0, "differs": high < 0}.get(verdict, True)
        assert ("do not decide" in because) == (low <= 0 <= high)
    ways, grids = result.blocks[0], [block for block in result.blocks if isinstance(block, ImageGrid)]
    assert isinstance(ways, Table)
    assert len(ways.rows) == 3 + 3 + 2 + 1 + 2 + 3 + 1
    assert len(grids) == 3
    assert any(isinstance(block, Animation) for block in result.blocks)
    for name in ("recognised/number two/top1/source/4 iterations", "total-variation/unregularised/4 iterations"):
        assert {name} <= set(result.metrics)


def test_without_photographs_the_question_about_them_stays_open(tmp_path: Path) -> None:
    study, session = run(tmp_path)
    table = study.run(session).blocks[-1]
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows if row[3] == "not measured here"] == ["10. start from an image", "11. VGG16"]


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeepscopeError, match="classes must be at least 4"):
        ClassVisualization(classes=1).run(Session(home=tmp_path, cache=tmp_path, quiet=True))


def test_fewer_than_six_classes_decide_nothing(tmp_path: Path) -> None:
    photographs(tmp_path)
    study, session = run(tmp_path)
    table = dataclasses.replace(study, classes=5).run(session).blocks[-1]
    assert isinstance(table, Table)
    compared = [row for row in table.rows if str(row[2]).startswith("log-probability")]
    assert compared and all(row[3] == "not decided" and "5 classes do not decide it" in str(row[4]) for row in compared)


def test_one_network_makes_all_images_where_the_budget_is_small(tmp_path: Path) -> None:
    study, session = run(tmp_path)
    result = dataclasses.replace(study, thorough=False).run(session)
    table = result.blocks[-1]
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows if row[3] == "not measured here"] == [
        "10. start from an image",
        "11. another network",
        "11. VGG16",
    ]
    assert not any("made with number two" in name for name in result.metrics)
    assert not ClassVisualization.within("quick").thorough and ClassVisualization.within("full").thorough

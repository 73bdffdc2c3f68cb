"""The check of concepts: which classes it looks at, what it reports, and whom it refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from deepscope.checks import held_out
from deepscope.checks.concepts import Concepts, confused
from deepscope.checks.slices import Slices
from deepscope.errors import UnsupportedError
from deepscope.inputs import Photos
from deepscope.models import VisionModel
from deepscope.results import ImageGrid, Note
from deepscope.session import Session
from networks import tiny_model
from planted import CLASSES, folder


def model_of(seed: int = 0) -> VisionModel:
    return dataclasses.replace(tiny_model(classes=3, size=32, seed=seed), categories=CLASSES)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True)


def test_confused_classes_come_first_and_then_frequent_ones() -> None:
    predicted, answers = [1, 1, 1, 2, 0, 0], [0, 0, 1, 1, 0, 0]
    logits = torch.nn.functional.one_hot(torch.tensor(predicted), 3).float()
    paths = tuple(Path(f"{row}.png") for row in range(6))
    known = tuple(frozenset({answer}) for answer in answers)
    photos = Photos(model_of(), paths, torch.zeros(0), logits, known, (b"",) * 6)
    found = list(confused(photos))
    assert [label for label, _ in found] == [1, 0, 2]
    assert found[0][1] == "2 of 6 images show ant and are classified as bee."


def test_the_check_finds_concepts_and_says_whether_deletion_confirms_them(
    tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "load_model", lambda name, session: model_of())
    data = str(folder(tmp_path / "data", 0, each=12))
    check = Concepts(data, classes=2, concepts=3, limit=30, each=12, evaluated=3)
    result = check.run(session)
    count = round(result.metrics["classes"])
    assert 1 <= count <= 2 and result.metrics["confirmed"] <= count
    assert sum(isinstance(block, Note) and block.level == "verdict" for block in result.blocks) == count
    assert {f"class-{count}/deletion/gain/low", "class-1/importance/1"} <= set(result.metrics)
    headline = check.headline(result)
    assert isinstance(headline.picture, ImageGrid) and headline.estimate is not None
    assert headline.estimate.value == result.metrics["class-1/deletion/gain"]
    few = Concepts(str(folder(tmp_path / "few", 0, each=2)), concepts=3).run(session)
    assert few.metrics["classes"] == 0 and "Too few" in Concepts(data).headline(few).finding
    hidden = dataclasses.replace(model_of().capabilities, activations=False)
    black_box = dataclasses.replace(model_of(), capabilities=hidden)
    monkeypatch.setattr(held_out, "load_model", lambda name, session: black_box)
    with pytest.raises(UnsupportedError, match="layers"):
        check.run(session)


def test_a_failing_slice_is_described_by_its_concepts(
    tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is called ant, so that the dark images, which are all bees, are all wrong."""
    model = model_of()
    with torch.no_grad():
        model.network[-1].bias += torch.tensor([50.0, 0.0, 0.0])  # type: ignore[operator, index]
    monkeypatch.setattr(held_out, "load_model", lambda name, session: model)
    result = Slices(str(folder(tmp_path / "data", 0, "dark", each=60))).run(session)
    assert result.metrics["slices/confirmed"] >= 1
    shown = [block for block in result.blocks if isinstance(block, ImageGrid) and "Nearest concepts" in block.title]
    assert shown, [block for block in result.blocks if isinstance(block, Note)]
    assert all("AUROC" in cell.caption for grid in shown for row in grid.rows for cell in row)

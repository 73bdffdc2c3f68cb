"""Adaptation to damaged photographs, with a tiny network and painted pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deepscope.adaptation import Adaptation, loading
from deepscope.errors import DeepscopeError
from deepscope.results import ImageGrid, Table
from deepscope.session import Session
from deepscope.studies.adaptation_of_photographs import AdaptationOfPhotographs
from networks import tiny_model
from painted import paint_folder


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    model = tiny_model(classes=5, size=32, seed=0)
    monkeypatch.setattr(loading, "load_model", lambda name, session: model)
    return Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True)


def test_every_method_is_measured_on_every_corruption(tmp_path: Path, session: Session) -> None:
    data = str(paint_folder(tmp_path / "pictures", train=6, test=4))
    study = AdaptationOfPhotographs(seeds=2, epochs=2, data=data, corruptions=("contrast", "pixelate"), severity=3)
    state = torch.random.get_rng_state()
    result = study.run(session)
    assert torch.equal(state, torch.random.get_rng_state())
    for corruption in ("contrast", "pixelate"):
        for method in (*Adaptation.members(), "with target labels"):
            mean = result.metrics[f"accuracy/{corruption}/{method}/target"]
            assert 0 <= mean <= 1
            assert 2 * 12 * mean == pytest.approx(round(2 * 12 * mean))  # two seeds, twelve test images
        (table,) = (b for b in result.blocks if isinstance(b, Table) and b.title == f"After {corruption}")
        assert len(table.rows) == len(Adaptation.members()) + 1
        assert table.rows[-1][3] is None  # what learnt from the target has no source
        for name, target, _, _, gain, *_ in table.rows:
            base = result.metrics[f"accuracy/{corruption}/dann/target"]
            assert isinstance(target, float) and gain == pytest.approx(target - base)
            if name not in ("dann", "with target labels"):
                assert result.metrics[f"gain-over-dann/{corruption}/{name}"] == gain
    estimate, adapted = study.headline(result).estimate, "accuracy/contrast/minimum-class-confusion/target"
    assert estimate is not None and estimate.value == result.metrics[adapted]
    (grid,) = (block for block in result.blocks if isinstance(block, ImageGrid))
    assert grid.columns == ("source", "contrast", "pixelate")
    assert all(len(row) == 3 for row in grid.rows)
    assert dict(study.run(session).metrics) == dict(result.metrics)


def test_undivided_data_and_unknown_corruptions_are_refused(tmp_path: Path, session: Session) -> None:
    folder = paint_folder(tmp_path / "pictures", train=3, test=1) / "train"
    with pytest.raises(DeepscopeError, match="no train and test"):
        AdaptationOfPhotographs(data=str(folder)).run(session)
    with pytest.raises(DeepscopeError, match="'gaussian-noise'"):
        AdaptationOfPhotographs(data=str(folder), corruptions=("gausian-noise",)).run(session)

"""Slices: a planted one is confirmed on images that did not find it, and chance is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from deepscope.checks import held_out
from deepscope.checks.slices import Slices as Check
from deepscope.errors import DataError
from deepscope.models import VisionModel
from deepscope.results import Note
from deepscope.session import Session
from deepscope.shortcuts.properties import NAMES
from deepscope.shortcuts.slices import centres, examined, failing_slices
from networks import tiny_model
from planted import CLASSES, folder


def halves(seed: int, images: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    first = np.zeros(images, bool)
    first[rng.permutation(images)[: images // 2]] = True
    return first, np.array(["cat"] * images, object), rng


def test_a_planted_slice_is_confirmed_with_the_figures_of_the_second_half() -> None:
    first, labels, rng = halves(0, 400)
    group = np.arange(400) % 5
    vectors = (np.eye(8)[group] + 0.1 * rng.normal(size=(400, 8))).astype(np.float32)
    wrong = rng.random(400) < np.where(group == 2, 0.6, 0.1)
    values = np.zeros((400, len(NAMES)))
    values[:, 0] = (group == 2) + 0.01 * rng.normal(size=400)
    members, second = centres(vectors[first], 5, seed=0).predict(vectors), np.flatnonzero(~first)
    worst = examined(members, wrong, first, labels, second, values[second])[0]
    rows = np.flatnonzero(~first & (group == 2))
    assert set(worst.rows.tolist()) == set(rows.tolist()) and worst.confirmed
    assert worst.errors.value == pytest.approx(wrong[rows].mean())
    inside, outside = int(wrong[rows].sum()), int(wrong[~first & (group != 2)].sum())
    table = [[inside, len(rows) - inside], [outside, 200 - len(rows) - outside]]
    assert worst.p_value == pytest.approx(stats.fisher_exact(table, alternative="greater")[1])
    assert worst.properties[0] == (NAMES[0], pytest.approx(1.0)) and worst.classes == (("cat", 1.0),)


def test_errors_by_chance_are_rarely_confirmed() -> None:
    """Without any slice, a confirmed one in more than 5 % of data sets would be too many."""
    false = 0
    for seed in range(200):
        first, labels, rng = halves(seed, 200)
        members = rng.integers(6, size=200)
        wrong = rng.random(200) < 0.3
        found = examined(members, wrong, first, labels, np.flatnonzero(~first), np.zeros((100, len(NAMES))))
        false += any(each.confirmed for each in found)
    assert stats.binomtest(false, 200, 0.05, alternative="greater").pvalue > 0.01


@pytest.fixture
def model() -> VisionModel:
    return VisionModel("tiny", tiny_model(classes=3, size=32).network, tiny_model(size=32).preprocessing, CLASSES)


def test_the_check_finds_and_tests_slices_of_any_classifier(
    model: VisionModel, tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "load_model", lambda name, session: model)
    result = Check(str(folder(tmp_path / "data", 0, "dark", each=40)), model="tiny").run(session)
    assert result.metrics["images"] == 120 and result.metrics["clusters"] == 4
    assert result.metrics["slices/tested"] >= result.metrics["slices/confirmed"]
    assert isinstance(result.blocks[0], Note) and result.blocks[0].level == "verdict"
    few = Check(str(folder(tmp_path / "few", 0, each=4)), model="tiny").run(session)
    assert "too few" in next(block.text for block in few.blocks if isinstance(block, Note))


def test_too_few_images_are_refused(model: VisionModel, tmp_path: Path, session: Session) -> None:
    paths = sorted(folder(tmp_path / "data", 0, each=4).rglob("*.jpg"))
    with pytest.raises(DataError, match="at least 60 images"):
        failing_slices(model, paths, ["x"] * 12, [True] * 12, name="data", session=session)

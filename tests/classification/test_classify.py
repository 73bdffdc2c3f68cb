"""Classifying from Python: the same numbers as plain PyTorch, whatever the batch, in every form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deepscope import images
from deepscope.classification import classify
from deepscope.classification.job import ClassifyJob
from deepscope.errors import DataError, SettingError
from deepscope.inputs import read
from deepscope.results import Table
from deepscope.session import Session
from networks import tiny_model

MODEL = tiny_model(size=16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("bee eater", "snail"):
        (tmp_path / name).mkdir()
        for row in range(4):
            Image.fromarray(rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)).save(tmp_path / name / f"{row}.png")
    return tmp_path


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_the_most_probable_classes_are_plain_pytorchs(folder: Path, batch_size: int) -> None:
    paths = images.find([folder]).paths
    with torch.inference_mode():
        wanted = MODEL(torch.stack([MODEL.preprocessing(path) for path in paths])).softmax(1)
    found = classify(MODEL, folder, top=3, keep=2, batch_size=batch_size)
    values, classes = wanted.topk(3, dim=1)
    torch.testing.assert_close(found.probabilities, values)
    assert torch.equal(found.classes, classes)
    right = [0] * 4 + [3] * 4
    order = wanted.argsort(1, descending=True).tolist()
    assert found.ranks.tolist() == [ranked.index(label) for ranked, label in zip(order, right)]
    assert len(found.pixels) == 2
    assert found.labels == [MODEL.categories[row[0]] for row in order]


def test_the_result_is_a_table_a_folder_and_a_page(folder: Path, tmp_path: Path) -> None:
    found = classify(MODEL, folder, top=2)
    table = found.to_pandas()
    assert list(table.columns) == ["image", "rank", "class", "probability", "right"]
    assert len(table) == 16
    assert table["right"].sum() == sum(rank < 2 for rank in found.ranks.tolist())
    saved = found.save(tmp_path / "out")
    assert (saved / "result.json").is_file()
    assert np.array_equal(np.load(saved / "arrays.npz")["arrays/classes"], found.classes.numpy())
    assert "bee eater" in found._repr_html_()


def test_all_classes_and_a_draw(folder: Path) -> None:
    found = classify(MODEL, folder, top=None, limit=3, seed=1)
    assert found.probabilities.shape == (3, 4)
    torch.testing.assert_close(found.probabilities.sum(1), torch.ones(3))
    assert found.paths == classify(MODEL, folder, limit=3, seed=1).paths
    assert len({classify(MODEL, folder, limit=3, seed=seed).paths for seed in range(6)}) > 1


def test_errors_name_what_is_concerned(folder: Path) -> None:
    with pytest.raises(SettingError) as caught:
        classify(MODEL, folder, top=0)
    assert caught.value.setting == "top"
    with pytest.raises(DataError):
        classify(MODEL, folder / "nowhere")


def test_below_the_threshold_there_is_no_answer(folder: Path, tmp_path: Path) -> None:
    plain = classify(MODEL, folder, top=2)
    below = float(plain.probabilities[:, 0].sort().values[3:5].mean())
    found = classify(MODEL, folder, top=2, abstain_below=below)
    assert torch.equal(found.probabilities, plain.probabilities)
    silent = (plain.probabilities[:, 0] < below).tolist()
    assert found.abstained.tolist() == silent and sum(silent) == 4
    assert found.labels == [None if none else label for label, none in zip(plain.labels, silent)]
    assert [bool(names) for names in found.predicted] == [not none for none in silent]
    metrics = found.result().metrics
    right = [rank == 0 for rank, none in zip(plain.ranks.tolist(), silent) if not none]
    assert (metrics["abstained"], metrics["coverage"]) == (4, 0.5)
    assert metrics["accuracy/answered"] == pytest.approx(np.mean(right))
    assert metrics["accuracy/top1"] == plain.result().metrics["accuracy/top1"]
    table = next(block for block in found.result().blocks if isinstance(block, Table))
    assert [row[-1] for row in table.rows[::2]] == found.labels
    assert "No answer for 4 of 8 images" in found._repr_html_()
    assert "abstained" not in plain.result().metrics and "abstains" not in plain.to_pandas()
    job = ClassifyJob("", top=2, abstain_below=below)
    session = Session(quiet=True)
    batch = next(iter(read(MODEL, folder, session)))
    rows = job.open(MODEL, session)(batch)
    assert rows.columns["label"] == found.labels and len(rows.columns["probabilities"]) == 8
    merged = job.metrics(rows.tally)
    assert {name: merged[name] for name in ("abstained", "coverage", "accuracy/answered")} == {
        name: metrics[name] for name in ("abstained", "coverage", "accuracy/answered")
    }
    with pytest.raises(SettingError, match="abstain_below"):
        classify(MODEL, folder, abstain_below=1.5)

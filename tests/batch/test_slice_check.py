"""Checks in parts say what those in memory say, whatever the parts; slices also of more than their sample."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deepscope.checks.corruptions import Corruptions
from deepscope.checks.many_images import held_out_files
from deepscope.checks.slices import Slices
from deepscope.errors import DataError
from deepscope.models import VisionModel
from deepscope.results import Note, Result, Table
from deepscope.session import Session
from deepscope.shortcuts import slice_parts
from deepscope.shortcuts.properties import repeated_patches
from networks import tiny_model
from planted import CLASSES


@pytest.fixture
def session(tmp_path: Path) -> Session:
    network, preprocessing = tiny_model(classes=3, size=16).network, tiny_model(size=16).preprocessing
    model = VisionModel("tiny", network, preprocessing, CLASSES)
    return Session(quiet=True, cache=tmp_path / "cache", models={"tiny": model})


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Images of few colours, so that there are clear clusters; one cannot be read, and two are of no class."""
    rng = np.random.default_rng(0)
    for number in range(90):
        folder = tmp_path / "data" / CLASSES[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        colour = rng.integers(0, 2, 3) * 200 + rng.integers(0, 40, (20, 24, 3))
        Image.fromarray(colour.astype(np.uint8)).save(folder / f"{number:02d}.png")
    (tmp_path / "data" / "ant" / "03.png").write_bytes(b"no image")
    (tmp_path / "data" / "other").mkdir()
    for number in range(2):
        Image.new("RGB", (20, 20)).save(tmp_path / "data" / "other" / f"{number}.png")
    return str(tmp_path / "data")


def ran(session: Session, data: str, out: Path, size: int | None) -> Result:
    parts = {"shard_size": size} if size else {}
    return Slices(data, model="tiny", parts=parts).run(replace(session, out=out))


def rows(result: Result) -> list[tuple[object, ...]]:
    return [
        row for block in result.blocks if isinstance(block, Table) and "tested" in block.title for row in block.rows
    ]


def test_parts_give_the_figures_of_the_check_in_memory(data: str, tmp_path: Path, session: Session) -> None:
    plain = ran(session, data, tmp_path / "plain", None)
    first, other = (ran(session, data, tmp_path / str(size), size) for size in (7, 100))
    assert first.metrics == {**plain.metrics, "parts": 14}
    assert plain.metrics["images"] == 89
    assert len(rows(plain)) > 0
    assert rows(first) == rows(plain)  # said, images, errors, elsewhere, p and q
    assert rows(other) == rows(first)
    for name in ("wrong", "first"):
        np.testing.assert_array_equal(first.arrays[name], plain.arrays[name])


def test_corruptions_of_test_images_in_parts_have_the_accuracy_of_the_check_in_memory(
    data: str, tmp_path: Path, session: Session
) -> None:
    """Their folder is handed on, whose files are listed part by part."""
    root = tmp_path / "divided"
    for part in ("train", "test"):
        shutil.copytree(data, root / part)
    check = Corruptions(str(root), model="tiny", severities=(3,), limit=1000, reference="none")
    plain = check.run(session)
    found = replace(check, parts={"shard_size": 50}).run(replace(session, out=tmp_path / "out"))
    for name in ("accuracy/clean", "accuracy/corrupted", "accuracy/contrast/3", "accuracy/gaussian-noise/3"):
        assert found.metrics[name] == pytest.approx(plain.metrics[name]), name
    assert held_out_files("tiny", str(root), session)[0] == (root / "test",)


@pytest.mark.parametrize("check", [Corruptions, Slices])
def test_folders_of_no_class_are_refused_before_a_job_begins(
    check: type[Corruptions | Slices], data: str, tmp_path: Path, session: Session
) -> None:
    for number, name in enumerate(CLASSES):
        Path(data, name).rename(Path(data, f"strange-{number}"))
    with pytest.raises(DataError, match="no folder is named like a class of tiny"):
        check(data, model="tiny", parts={"shard_size": 5}).run(replace(session, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("below", "message"), [("", "has none"), ("train/ant", "has only 'train'")])
def test_folders_without_classes_are_refused_by_what_they_lack(
    below: str, message: str, tmp_path: Path, session: Session
) -> None:
    (tmp_path / "lacking" / below).mkdir(parents=True)
    with pytest.raises(DataError, match=message):
        held_out_files("tiny", str(tmp_path / "lacking"), session)


def test_more_images_than_the_sample_are_all_counted(
    data: str, tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = ran(session, data, tmp_path / "plain", None)
    monkeypatch.setattr(slice_parts, "_SAMPLE", 40)
    found = ran(session, data, tmp_path / "out", 7)
    assert found.metrics["images"] == plain.metrics["images"]
    np.testing.assert_array_equal(found.arrays["wrong"], plain.arrays["wrong"])
    assert sum(int(str(row[1])) for row in rows(found)) > 10


def test_too_few_images_are_one_sentence(tmp_path: Path, data: str, session: Session) -> None:
    found = Slices(data, model="tiny", limit=20, parts={"shard_size": 30}).run(replace(session, out=tmp_path / "out"))
    assert any(isinstance(block, Note) and "too few to find slices" in block.text for block in found.blocks)


def test_patches_of_images_outside_the_sample_are_compared_with_as_many_others() -> None:
    """One of the sample is nearest to itself; that does not count for any image."""
    corners = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (12, 4 * 4 * 64))).to(torch.uint8)
    everything = repeated_patches(corners, corners, np.ones(12, bool))
    for row in range(12):
        others = torch.cat([corners[:row], corners[row + 1 :]])
        alone = repeated_patches(corners[row : row + 1], others, np.zeros(1, bool))
        torch.testing.assert_close(alone[0], everything[row])

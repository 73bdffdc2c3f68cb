"""Files that are gone, unreadable or something else by the time a command is done: its result is still there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from deepscope import images
from deepscope.checks.held_out import held_out
from deepscope.checks.shortcuts import files_read
from deepscope.commands import classify
from deepscope.commands.classify import Classify
from deepscope.commands.data_corrupt import DataCorrupt
from deepscope.errors import DeepscopeError
from deepscope.features import extract
from deepscope.images import Exhausted
from deepscope.models import VisionModel
from deepscope.results import ImageGrid, Picture
from deepscope.session import Session
from image_files import blocks
from networks import tiny_model


def vanish(path: Path) -> None:
    path.unlink()


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def break_(path: Path) -> None:
    path.write_bytes(b"no image")


FATES = (vanish, become_a_folder, become_a_pipe, dangle, break_)
each_fate = pytest.mark.parametrize("fate", FATES, ids=[fate.__name__ for fate in FATES])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(6):
        place = tmp_path / "images" / ("wombat" if number % 2 else "hay")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(blocks(number), number, 0)).save(place / f"{number}.png")
    return tmp_path / "images"


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(quiet=True, cache=tmp_path / "cache", device=torch.device("cpu"))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> VisionModel:
    model = tiny_model()
    monkeypatch.setattr(classify, "load_model", lambda name, session: model)
    return model


@each_fate
@pytest.mark.parametrize("which", [0, 5])
def test_classify_keeps_its_result(
    fate: Callable[[Path], None], which: int, folder: Path, model: VisionModel, session: Session
) -> None:
    wanted = Classify((folder,)).run(session)
    file = images.find([folder]).paths[which]

    def meanwhile(*_: object) -> None:
        if file.is_file() and not file.is_symlink() and file.stat().st_size > 100:
            fate(file)

    handle = model.network.register_forward_hook(meanwhile)
    found = Classify((folder,)).run(session)
    handle.remove()
    assert found.metrics == wanted.metrics
    assert np.array_equal(found.arrays["probabilities"], wanted.arrays["probabilities"])
    (grid,) = (block for block in found.blocks if isinstance(block, ImageGrid))
    assert sum(isinstance(cell, Picture) for row in grid.rows for cell in row) == 6
    assert found.provenance.data == wanted.provenance.data  # the bytes that were read, whatever became of the file


@each_fate
def test_bad_files_before_the_run_are_skipped_and_no_row_shifts(
    fate: Callable[[Path], None], folder: Path, model: VisionModel, session: Session
) -> None:
    wanted = Classify((folder,)).run(session).arrays["probabilities"]
    fate(folder / "hay" / "2.png")
    found = Classify((folder,)).run(session)
    assert found.metrics["images"] == 5
    assert found.metrics["skipped"] == (0 if fate in (vanish, become_a_folder) else 1)
    assert np.array_equal(found.arrays["probabilities"], np.delete(wanted, 1, axis=0))


@each_fate
def test_features_are_of_the_files_that_are_there(
    fate: Callable[[Path], None], folder: Path, model: VisionModel, session: Session
) -> None:
    """Hashing, which comes first, neither hangs nor fails; nor does what is found in the cache."""
    files = images.find([folder]).paths
    whole = extract(model, [("5", "mean")], files, session)
    fate(files[1])
    for cache in ("cache", "other"):
        found = extract(model, [("5", "mean")], files, replace(session, cache=session.cache.with_name(cache)))
        assert [item.path for item in found.skipped] == [str(files[1])]
        assert found.rows.tolist() == [0, 2, 3, 4, 5]
        np.testing.assert_allclose(found.vectors[0], np.delete(whole.vectors[0], 1, axis=0), atol=1e-6)


def test_features_are_never_kept_under_the_digest_of_another_image(
    folder: Path, model: VisionModel, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is replaced as soon as it was read: what is decoded is what was hashed."""
    files = images.find([folder]).paths
    original, real = files[2].read_bytes(), images.content

    def replaced(source: Any) -> bytes:
        content = real(source)
        if source == files[2]:
            files[2].write_bytes(files[3].read_bytes())
        return content

    wanted = model.activations(model.read(files), ["5"])["5"].flatten(1).numpy()
    monkeypatch.setattr(images, "content", replaced)
    found = extract(model, [("5", "mean")], files, session)
    monkeypatch.undo()
    assert files[2].read_bytes() == files[3].read_bytes() != original
    np.testing.assert_allclose(found.vectors[0], wanted, rtol=1e-4, atol=1e-5)
    files[2].write_bytes(original)
    again = extract(model, [("5", "mean")], files, session)
    assert (again.rows.tolist(), again.computed) == (list(range(6)), 0)
    np.testing.assert_array_equal(again.vectors[0], found.vectors[0])


@each_fate
def test_corrupted_copies_leave_it_out(fate: Callable[[Path], None], folder: Path, session: Session) -> None:
    fate(folder / "hay" / "2.png")
    out = folder.parent / "out"
    found = DataCorrupt(str(folder)).run(replace(session, out=out))
    assert found.metrics["images"] == 5
    assert len(list((out / "images").rglob("*.png"))) == 5


@each_fate
def test_a_digest_is_made_without_it(fate: Callable[[Path], None], folder: Path) -> None:
    files = images.find([folder]).paths
    whole = files_read(files)
    assert whole.data.startswith("6 images, sha256 ")
    fate(files[0])
    changed = files_read(files)
    assert changed.data != whole.data
    assert changed.data.startswith("6 images, " if fate is break_ else "6 images (1 of them unreadable), ")


def test_a_digest_that_runs_out_of_file_handles_loses_no_result(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = images.find([folder]).paths

    def fail(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", fail)
    assert "6 of them unreadable" in files_read(files).data
    with pytest.raises(Exhausted, match="Too many open files"):
        images.decode(files[0])


def test_checks_take_every_image_that_can_be_read(
    folder: Path, model: VisionModel, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepscope.checks.held_out.load_model", lambda name, session: model)
    os.mkfifo(folder / "hay" / "pipe.jpg")
    (folder / "hay" / "deep").mkdir()
    Image.fromarray(blocks()).save(folder / "hay" / "deep" / "7.png")
    examined = held_out("tiny", str(folder), session)
    assert len(examined.images) == 8  # the pipe is skipped, and listed, where it is read
    with pytest.raises(DeepscopeError, match="not a file"):
        images.decode(folder / "hay" / "pipe.jpg")

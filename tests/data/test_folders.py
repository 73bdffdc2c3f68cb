from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deepscope.data import ClassFolders, DigitSplit, Photographs, load_dataset
from deepscope.errors import InputError
from deepscope.session import Session


def fill(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number:03}.png")


@pytest.fixture
def divided(tmp_path: Path) -> Path:
    for name, train, test in (("dog", 3, 2), ("cat", 2, 1)):
        fill(tmp_path / "train" / name, train)
        fill(tmp_path / "test" / name, test)
    return tmp_path


def test_classes_are_sorted_and_labels_follow_them(divided: Path) -> None:
    data = ClassFolders.read(divided)
    assert data.classes == ("cat", "dog")
    assert data.test is not None
    for part, labelled in (("train", data.train), ("test", data.test)):
        assert labelled.labels.dtype == np.int64
        for path, label in zip(labelled.paths, labelled.labels, strict=True):
            assert path.parent == divided / part / data.classes[label]
    assert (len(data.train), len(data.test)) == (5, 3)
    assert len(data.everything) == 8


def test_undivided_data_has_no_test(tmp_path: Path) -> None:
    fill(tmp_path / "b", 2)
    fill(tmp_path / "a", 3)
    fill(tmp_path / ".hidden", 1)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    data = ClassFolders.read(tmp_path)
    assert data.test is None
    assert data.classes == ("a", "b")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1]


def test_validation_folder_is_held_out(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for name in "ab":
            fill(tmp_path / part / name, 2)
    data = ClassFolders.read(tmp_path)
    assert data.test is not None
    assert len(data.test) == 4


def test_class_called_train_is_a_class(tmp_path: Path) -> None:
    for name in ("train", "plane"):
        fill(tmp_path / name, 2)
    assert ClassFolders.read(tmp_path).classes == ("plane", "train")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: fill(root / "train" / "eel", 2), "'eel' is in .*train but not in .*test"),
        (lambda root: fill(root / "test" / "eel", 2), "'eel' is in .*test but not in .*train"),
        (lambda root: fill(root / "train" / "eel", 0), "'eel' in .*train has no image"),
        (lambda root: fill(root / "test" / "eel", 0), "'eel' in .*test has no image"),
        (lambda root: fill(root / "train" / "eel", 1), "'eel' in .*train has only one image"),
    ],
)
def test_unusable_class_is_named(divided: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(divided)
    with pytest.raises(InputError, match=message):
        ClassFolders.read(divided)


def test_one_class_or_none_or_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has none"):
        ClassFolders.read(tmp_path)
    fill(tmp_path / "alone", 3)
    with pytest.raises(InputError, match="has only 'alone'"):
        ClassFolders.read(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        ClassFolders.read(tmp_path / "nowhere")


def test_divide_is_stratified_disjoint_complete_and_repeatable(tmp_path: Path) -> None:
    for name, count in (("a", 20), ("b", 10), ("c", 2)):
        fill(tmp_path / name, count)
    data = ClassFolders.read(tmp_path)
    split = data.divide(0.3, rng=torch.Generator().manual_seed(0))
    assert split.test is not None
    assert np.bincount(split.test.labels).tolist() == [6, 3, 1]
    assert not set(split.train.paths) & set(split.test.paths)
    assert set(split.train.paths) | set(split.test.paths) == set(data.train.paths)
    again = data.divide(0.3, rng=torch.Generator().manual_seed(0))
    other = data.divide(0.3, rng=torch.Generator().manual_seed(1))
    assert again.train.paths == split.train.paths
    assert other.train.paths != split.train.paths
    for path, label in zip(split.test.paths, split.test.labels, strict=True):
        assert path.parent.name == data.classes[label]
    with pytest.raises(InputError, match="fraction"):
        data.divide(1.0, rng=torch.Generator())


def test_load_dataset_takes_folders_and_names(divided: Path, tmp_path: Path) -> None:
    session = Session(home=tmp_path / "empty")
    assert load_dataset(divided, session, ClassFolders).classes == ("cat", "dog")
    assert len(load_dataset(str(divided / "train" / "dog"), session, Photographs)) == 3
    assert len(load_dataset("mnist-extract", session, DigitSplit).test) == 1000
    with pytest.raises(InputError, match="handwritten digits: here images in class folders are needed"):
        load_dataset("mnist-extract", session, ClassFolders)
    with pytest.raises(InputError, match="mnist is not here: run `deepscope data get mnist`"):
        load_dataset("mnist", session, DigitSplit)
    with pytest.raises(InputError, match="'mnist-extract'"):
        load_dataset("mnist-extrakt", session, DigitSplit)


@pytest.mark.real
def test_official_split_of_15_scene(home: Path) -> None:
    data = load_dataset("15scene", Session(home=home), ClassFolders)
    assert data.test is not None
    assert len(data.classes) == 15
    assert np.bincount(data.train.labels).tolist() == [100] * 15
    assert (len(data.train), len(data.test)) == (1500, 2985)

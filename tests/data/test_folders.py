from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deepscope import images
from deepscope.attacks.subjects import read_subjects
from deepscope.data import ClassFolders, DigitSplit, Photographs, load_any, load_dataset
from deepscope.data.audit import audit
from deepscope.data.folders import class_folders
from deepscope.errors import DataError, DeepscopeError
from deepscope.inputs import read_photos, right_answers
from deepscope.session import Session
from networks import tiny_model


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
    ],
)
def test_unusable_class_is_named(divided: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(divided)
    with pytest.raises(DeepscopeError, match=message):
        ClassFolders.read(divided)


def test_empty_classes_are_left_out_on_request(divided: Path, tmp_path: Path) -> None:
    whole = ClassFolders.read(divided)
    fill(divided / "train" / "eel", 2)
    fill(divided / "test" / "eel", 0)
    data = ClassFolders.read(divided, skip_empty=True)
    assert data.classes == whole.classes
    assert data.everything.paths == whole.everything.paths
    assert data.everything.labels.tolist() == whole.everything.labels.tolist()
    assert data.empty == (divided / "test" / "eel",)
    assert [Path(one.path) for one in data.skipped] == [divided / "test" / "eel"]
    for name, count in (("a", 1), ("b", 0), ("c", 2)):
        fill(tmp_path / "flat" / name, count)
    flat = ClassFolders.read(tmp_path / "flat", skip_empty=True)
    assert flat.classes == ("a", "c") and flat.train.labels.tolist() == [0, 1, 1]
    fill(tmp_path / "two" / "a", 1)
    fill(tmp_path / "two" / "b", 0)
    with pytest.raises(DeepscopeError, match=r"'b' in .* has no image"):
        ClassFolders.read(tmp_path / "two", skip_empty=True)


def test_one_class_or_none_or_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeepscopeError, match="has none"):
        ClassFolders.read(tmp_path)
    fill(tmp_path / "alone", 3)
    with pytest.raises(DeepscopeError, match="has only 'alone'"):
        ClassFolders.read(tmp_path)
    with pytest.raises(DeepscopeError, match="is not a folder"):
        ClassFolders.read(tmp_path / "nowhere")


def test_one_image_per_class_is_enough_where_nothing_is_divided(divided: Path, tmp_path: Path) -> None:
    for part, count in (("train", 1), ("test", 2)):
        fill(divided / part / "eel", count)
    data = ClassFolders.read(divided)
    eel = data.classes.index("eel")
    assert data.test is not None
    assert (data.train.labels == eel).sum() == 1 and (data.test.labels == eel).sum() == 2
    for name in ("a", "b"):
        fill(tmp_path / "flat" / name, 1)
    flat = ClassFolders.read(tmp_path / "flat")
    assert flat.train.labels.tolist() == [0, 1] and flat.test is None
    with pytest.raises(DataError, match=r"class 'a' has only one image, and needs one to train on and one to test"):
        flat.divide(0.3, rng=torch.Generator().manual_seed(0))


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
    with pytest.raises(DeepscopeError, match="fraction"):
        data.divide(1.0, rng=torch.Generator())


def test_photographs_in_one_folder_below_have_no_classes(tmp_path: Path) -> None:
    """A camera's export, say, with everything in 2024/."""
    fill(tmp_path / "export" / "2024", 3)
    found = load_any(tmp_path / "export", Session())
    assert isinstance(found, Photographs) and len(found) == 3
    with pytest.raises(DeepscopeError, match="has only '2024'"):
        load_dataset(tmp_path / "export", Session(), ClassFolders)


def test_load_dataset_takes_folders_and_names(divided: Path, tmp_path: Path) -> None:
    session = Session(home=tmp_path / "empty")
    assert load_dataset(divided, session, ClassFolders).classes == ("cat", "dog")
    assert len(load_dataset(str(divided / "train" / "dog"), session, Photographs)) == 3
    assert len(load_dataset("mnist-extract", session, DigitSplit).test) == 1000
    with pytest.raises(DeepscopeError, match="handwritten digits, not images in class folders"):
        load_dataset("mnist-extract", session, ClassFolders)
    with pytest.raises(
        DeepscopeError, match=r"holds a folder of images, .*: move the images of each class into a folder"
    ):
        load_dataset(divided / "train" / "dog", session, ClassFolders)
    with pytest.raises(DeepscopeError, match="mnist is not available: run `deepscope data get mnist`"):
        load_dataset("mnist", session, DigitSplit)
    with pytest.raises(DeepscopeError, match="'mnist-extract'"):
        load_dataset("mnist-extrakt", session, DigitSplit)


@pytest.mark.real
def test_official_split_of_15_scene(home: Path) -> None:
    data = load_dataset("15scene", Session(home=home), ClassFolders)
    assert data.test is not None
    assert len(data.classes) == 15
    assert np.bincount(data.train.labels).tolist() == [100] * 15
    assert (len(data.train), len(data.test)) == (1500, 2985)


# ---------------------------------------------------------------- the first level below the root is the class


@pytest.fixture(params=["undivided", "divided"])
def nested(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[Path, str]]:
    """Class folders with folders in them, some named like other classes; and what is in no class folder."""
    parts = [tmp_path] if request.param == "undivided" else [tmp_path / "train", tmp_path / "test"]
    truth: dict[Path, str] = {}
    for part in parts:
        for place in ("wombat/2020/may", "wombat", "wombat/hay", "hay/deep/wombat", "hay", "snail/x.jpg"):
            fill(part / place, 2)
            truth |= {part / place / f"{number:03}.png": place.split("/")[0] for number in range(2)}
        for left_out in ("wombat/.hidden", "__MACOSX/wombat", "snail/__MACOSX"):
            fill(part / left_out, 1)
    fill(tmp_path, 1)
    return tmp_path, truth


def test_class_folders_with_folders_in_them(nested: tuple[Path, dict[Path, str]]) -> None:
    root, truth = nested
    data = ClassFolders.read(root)
    found = data.everything
    assert data.classes == ("hay", "snail", "wombat")
    assert {path: data.classes[label] for path, label in zip(found.paths, found.labels, strict=True)} == truth
    assert [(item.path, item.reason) for item in data.skipped] == [
        (str(root / "000.png"), "it is in no class folder"),
    ]


def test_every_loader_sees_the_same_classes_and_counts(nested: tuple[Path, dict[Path, str]]) -> None:
    """`classify`, `explain` and `attack` (truth), `data audit` (pairs), `check` (held-out images), `find`."""
    root, truth = nested
    model, session = tiny_model(), Session(quiet=True)
    found = images.find([root]).paths
    assert set(found) == {*truth, root / "000.png"}
    answers = right_answers(model, found, [root])
    said = {path: model.categories[min(answer)] for path, answer in zip(found, answers, strict=True) if answer}
    assert said == truth
    photos = read_photos(model, [root], session, batch_size=8)
    assert {path: min(answer) for path, answer in zip(photos.paths, photos.answers, strict=True) if answer} == {
        path: model.categories.index(name) for path, name in truth.items()
    }
    attacked = read_subjects(model, [root], session, batch_size=8)
    wrong = {image.path for image in attacked.misclassified}
    assert {*attacked.paths, *wrong} == set(found)
    for path in wrong:
        assert truth[path]
    for path, label in zip(attacked.paths, attacked.labels.tolist(), strict=True):
        assert truth.get(path) in (model.categories[label], None)
    looked = audit(root, session)
    assert looked.images == len(found)
    folder = {path.relative_to(root): name for path, name in truth.items()}
    for pair in looked.exact:
        if pair.first in folder and pair.second in folder:
            assert pair.across_classes == (folder[pair.first] != folder[pair.second])
    for part in (ClassFolders.read(root).train, ClassFolders.read(root).test):
        for path in part.paths if part else ():
            assert right_answers(model, [path], [root]) == [frozenset({model.categories.index(truth[path])})]


def test_a_class_folder_that_is_named_itself(tmp_path: Path) -> None:
    """`deepscope classify photos/wombat`, with folders in it or not; and single files."""
    model = tiny_model()
    wombat = frozenset({model.categories.index("wombat")})
    for place in ("wombat", "wombat/2020"):
        fill(tmp_path / place, 1)
        found = images.find([tmp_path / "wombat"]).paths
        assert right_answers(model, found, [tmp_path / "wombat"]) == [wombat] * len(found)
    assert right_answers(model, [tmp_path / "wombat" / "000.png"]) == [wombat]
    assert right_answers(model, [tmp_path / "wombat" / "2020" / "000.png"]) == [frozenset()]


def test_the_folder_of_a_wordnet_identifier_holds_its_class_at_any_depth(tmp_path: Path) -> None:
    model = replace(tiny_model(), wnids=("n00000001", "n00000002", "n00000003", "n00000004"))
    fill(tmp_path / "n00000003" / "a" / "b", 1)
    fill(tmp_path / "n00000002", 1)
    found = images.find([tmp_path]).paths
    assert right_answers(model, found, [tmp_path]) == [frozenset({1}), frozenset({2})]


def test_images_in_no_class_folder_are_listed(divided: Path) -> None:
    fill(divided, 1)
    fill(divided / "test", 2)
    fill(divided / "val" / "dog", 3)
    fill(divided / "val", 1)
    data = ClassFolders.read(divided)
    assert len(data.everything) == 8
    assert [(Path(item.path).relative_to(divided).as_posix(), item.reason) for item in data.skipped] == [
        ("000.png", "it is in no class folder"),
        ("test/000.png", "it is in no class folder"),
        ("test/001.png", "it is in no class folder"),
        ("val", "the folder is not used, with 4 images: train/ and test/ are"),
    ]


def test_a_folder_that_cannot_be_listed_is_one_line(divided: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", deny)
    with pytest.raises(DeepscopeError, match="cannot be listed: Permission denied"):
        ClassFolders.read(divided)


@pytest.mark.parametrize("link", ["a_b", "z"])
@pytest.mark.parametrize("target", ["dog", "dog/sub"])
def test_a_class_linked_to_another_is_no_class_for_any_command(tmp_path: Path, link: str, target: str) -> None:
    fill(tmp_path / "dog" / "sub", 3)
    fill(tmp_path / "cat", 2)
    (tmp_path / link).symlink_to(target)
    data = ClassFolders.read(tmp_path)
    assert data.classes == ("cat", "dog") and data.train.labels.tolist() == [0, 0, 1, 1, 1]
    paths = images.find([tmp_path]).paths
    assert paths == data.train.paths
    assert [folder and folder.name for folder in class_folders(paths, [tmp_path])] == ["cat"] * 2 + ["dog"] * 3


def test_links_out_of_the_folder_are_classes_and_a_linked_split_is_the_other(tmp_path: Path) -> None:
    fill(tmp_path / "store" / "x", 2)
    root = tmp_path / "root"
    for name in ("train", "val"):
        fill(root / name / "cat", 2)
    (root / "train" / "dog").symlink_to(tmp_path / "store" / "x")
    fill(root / "val" / "dog", 2)
    (root / "test").symlink_to("val")
    data = ClassFolders.read(root)
    assert data.classes == ("cat", "dog") and data.test is not None
    assert {path.parent.parent.name for path in data.test.paths} == {"val"}
    assert [path.parent for path in data.train.paths[2:]] == [root / "train" / "dog"] * 2


def test_class_folders_of_stacks(tmp_path: Path) -> None:
    for name in ("field", "forest"):
        (tmp_path / name).mkdir()
        for row in range(3):
            np.save(tmp_path / name / f"{row}.npy", np.full((8, 8, 5), row, np.uint8))
    data = ClassFolders.read(tmp_path)
    assert data.classes == ("field", "forest") and data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert [path.name for path in data.train.paths] == ["0.npy", "1.npy", "2.npy"] * 2
    for name in ("field", "forest"):  # beside pictures, NumPy files may hold anything
        fill(tmp_path / name, 2)
    assert {path.suffix for path in ClassFolders.read(tmp_path).train.paths} == {".png"}

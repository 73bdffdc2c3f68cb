"""The same image in every form that a caller may hold it in gives the same pixels, names and answers."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

import deepscope as ds
from deepscope import images
from deepscope.errors import DataError, SettingError
from deepscope.inputs import gather, read, read_photos
from deepscope.inputs.examples import Examples
from deepscope.models.heads import Head
from deepscope.session import Session
from networks import tiny_model

MODEL = tiny_model(size=16)
SESSION = Session(quiet=True)
_read: Any = read_photos


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("bee eater", "wombat"):
        (tmp_path / name).mkdir()
        for row in range(3):
            Image.fromarray(rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)).save(tmp_path / name / f"{row}.png")
    return tmp_path


def _bytes(image: Image.Image) -> bytes:
    held = io.BytesIO()
    image.save(held, "PNG")
    return held.getvalue()


FORMS: dict[str, Callable[[list[Path]], Any]] = {
    "paths": lambda paths: paths,
    "strings": lambda paths: [str(path) for path in paths],
    "pil": lambda paths: [Image.open(path) for path in paths],
    "bytes": lambda paths: [_bytes(Image.open(path)) for path in paths],
    "arrays": lambda paths: [np.asarray(Image.open(path)) for path in paths],
    "one array": lambda paths: np.stack([np.asarray(Image.open(path)) for path in paths]),
    "generator": lambda paths: (Image.open(path) for path in paths),
    "pixels": lambda paths: torch.stack([MODEL.preprocessing(path) for path in paths]),
    "uint8 pixels": lambda paths: torch.stack([(MODEL.preprocessing(p) * 255).round().byte() for p in paths]),
    "list of pixels": lambda paths: [MODEL.preprocessing(path) for path in paths],
    "loader": lambda paths: DataLoader(
        TensorDataset(torch.stack([MODEL.preprocessing(p) for p in paths]), torch.arange(6) % 2), batch_size=4
    ),
    "dataset": lambda paths: [(Image.open(path), row % 2) for row, path in enumerate(paths)],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_pixels(folder: Path, form: str) -> None:
    paths = list(images.find([folder]).paths)
    wanted = torch.stack([MODEL.preprocessing(path) for path in paths])
    found = read_photos(MODEL, FORMS[form](paths), SESSION, batch_size=4)
    assert torch.equal(found.pixels, wanted)
    assert found.rows == tuple(range(6))
    assert not found.skipped
    assert len(set(found.digests)) == 6


def test_a_folder_names_its_classes_and_pairs_name_theirs(folder: Path) -> None:
    of_folder = read_photos(MODEL, folder, SESSION)
    assert of_folder.answers == (frozenset({0}),) * 3 + (frozenset({1}),) * 3
    pairs = [
        (Image.open(path), label) for path, label in zip(of_folder.paths, [0, "wombat", None, "1", 3, np.int64(2)])
    ]
    of_pairs = read_photos(MODEL, pairs, SESSION)
    assert [set(answer) for answer in of_pairs.answers] == [{0}, {1}, set(), {1}, {3}, {2}]


def test_a_bad_image_takes_no_row_and_shifts_no_label(folder: Path) -> None:
    (folder / "bee eater" / "1.png").write_bytes(b"no image")
    paths = images.find([folder]).paths
    found = read_photos(MODEL, [(path, row % 4) for row, path in enumerate(paths)], SESSION, batch_size=2)
    assert found.rows == (0, 2, 3, 4, 5)
    assert [min(answer) for answer in found.answers] == [0, 2, 3, 0, 1]
    assert [item.path for item in found.skipped] == [str(paths[1])]


def test_a_dataset_is_read_image_by_image(folder: Path) -> None:
    paths = images.find([folder]).paths
    drawn: list[int] = []

    class Pictures:
        def __len__(self) -> int:
            return 1000

        def __getitem__(self, row: int) -> tuple[Image.Image, int]:
            drawn.append(row)
            with Image.open(paths[row % 6]) as image:
                return image.convert("RGB"), row % 2

    batches = read(MODEL, Pictures(), SESSION, batch_size=4)
    assert len(next(batches).rows) == 4
    assert len(drawn) < 40
    batches.close()  # type: ignore[attr-defined]
    assert read_photos(MODEL, Pictures(), SESSION, limit=5).pixels.shape == (5, 3, 16, 16)


def test_an_endless_iterable_needs_a_limit_and_obeys_it(folder: Path) -> None:
    def endless() -> Iterator[Path]:
        while True:
            yield from images.find([folder]).paths

    assert len(read_photos(MODEL, endless(), SESSION, limit=7)) == 7


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, "not a int"),
        ([3], "image 0 is a int"),
        (torch.zeros(2, 1, 4, 4), r"\(N, 3, H, W\)"),
        (torch.full((1, 3, 4, 4), 2.0), r"pixels are in \[0, 1\]"),
        (torch.full((1, 3, 4, 4), float("nan")), r"pixels are in \[0, 1\]"),
        ([(Image.new("RGB", (4, 4)), 1.5)], "has a label of a float"),
        ([], "no image was given"),
        ({"a": 1}, "is a str|no such file|no image"),
    ],
)
def test_what_holds_no_images_is_refused_in_one_line(given: Any, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        read_photos(MODEL, given, SESSION)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("setting", ["batch_size", "limit"])
def test_settings_out_of_range_name_their_field(folder: Path, setting: Any) -> None:
    with pytest.raises(SettingError, match=r"at least 1 \(got 0\)") as caught:
        _read(MODEL, folder, SESSION, **{setting: 0})
    assert caught.value.setting == setting


def test_gathering_twice_changes_nothing(folder: Path) -> None:
    once = gather(folder)
    assert gather(once) is once
    assert len(once) == 6


def multilabel(*thresholds: float) -> ds.VisionModel:
    made = tiny_model(size=16)
    return dataclasses.replace(made, head=Head("multilabel", thresholds))


SHOWN = torch.tensor([[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 1, 0]])
LABELS: dict[str, Callable[[torch.Tensor], Any]] = {
    "a loader of tensors": lambda pixels: DataLoader(TensorDataset(pixels, SHOWN.float()), batch_size=2),
    "pairs with tensors": lambda pixels: list(zip(pixels, SHOWN)),
    "pairs with arrays": lambda pixels: [(one, row.bool().numpy()) for one, row in zip(pixels, SHOWN)],
    "sets": lambda pixels: [(one, frozenset(row.nonzero()[:, 0].tolist())) for one, row in zip(pixels, SHOWN)],
}


@pytest.mark.parametrize("form", LABELS)
def test_several_labels_per_image_in_any_form(form: str) -> None:
    model, pixels = multilabel(), torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    photos = read_photos(model, LABELS[form](pixels), SESSION)
    assert torch.equal(photos.truth, SHOWN.bool()) and photos.known == (True, True, True)
    with torch.no_grad():
        said = model(pixels).sigmoid() > 0.5
    assert photos.correct == (said == SHOWN.bool()).all(1).tolist()


def test_whether_an_image_is_right_does_not_depend_on_its_batch() -> None:
    """An image of no label, one of some labels, and one of which nothing is known, together and alone."""
    pixels = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    model = multilabel(*[0.999] * 4)  # so that no label is predicted
    given = list(zip(pixels, (frozenset[int](), frozenset({1}), None)))
    together = read_photos(model, given, SESSION)
    assert together.correct == [True, False, None]
    for row, one in enumerate(given):
        assert read_photos(model, [one], SESSION).correct == [together.correct[row]]
        assert together[[row]].correct == [together.correct[row]]
    assert read_photos(model, given, SESSION, batch_size=1).correct == together.correct


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda pixels: [(pixels[0], torch.tensor([0, 2, 1]))], r"labels of the shape \(3,\)"),
        (lambda pixels: [(pixels[0], torch.ones(2, 2))], r"labels of the shape \(2, 2\)"),
        (lambda pixels: [(pixels, torch.tensor([0]))], "a batch of 3 images needs 3 labels"),
        (lambda pixels: [(pixels, torch.tensor(1))], "a batch of 3 images needs 3 labels"),
        (lambda pixels: [(pixels[0], frozenset({8}))], "label 8, and tiny has labels 0 to 3"),
        (lambda pixels: [(pixels[0], torch.eye(9)[8])], "9 labels, each 0 or 1, and tiny has 4: give all"),
        (lambda pixels: [(pixels[0], torch.eye(3)[1])], "3 labels, each 0 or 1, and tiny has 4: give all"),
    ],
)
def test_labels_that_are_none_are_refused(given: Callable[[torch.Tensor], Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_photos(multilabel(), given(torch.rand(3, 3, 16, 16)), SESSION)


def test_names_of_classes_come_in_batches_too() -> None:
    data: Any = [(one, name) for one, name in zip(torch.rand(3, 3, 16, 16), ("wombat", "hay", "snail"))]
    photos = read_photos(MODEL, DataLoader(data, batch_size=3), SESSION)
    assert photos.answers == (frozenset({1}), frozenset({2}), frozenset({3}))


def test_labels_of_one_of_several_are_those_of_the_network() -> None:
    pixels = torch.rand(3, 3, 16, 16)
    one = multilabel().for_label(3)
    assert read_photos(one, list(zip(pixels, SHOWN)), SESSION).answers == tuple(map(frozenset, ({1}, {0}, {0})))
    with pytest.raises(DataError, match="several labels per image"):
        read_photos(one, [(pixels[0], 1)], SESSION)


@pytest.mark.parametrize("labels", [None, SHOWN, SHOWN.numpy()])
def test_several_labels_are_not_classes(labels: Any) -> None:
    pixels = torch.rand(3, 3, 16, 16)
    given: Any = pixels if labels is not None else list(zip(pixels, SHOWN))
    with pytest.raises(DataError, match="has several labels"):
        Examples.of_images(given, labels)

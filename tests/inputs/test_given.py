"""The same image in every form that a caller may hold it in gives the same pixels, names and answers."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from deepscope import images
from deepscope.errors import DataError, SettingError
from deepscope.inputs import gather, read, read_photos
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

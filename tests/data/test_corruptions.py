"""Ordinary damage to photographs, against what its formulas say."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from skimage.color import rgb2hsv

from deepscope.commands.data_corrupt import DataCorrupt
from deepscope.data.corrupt import check_outside, corrupt, write_corrupted
from deepscope.data.corruptions import (
    SIDE,
    Brightness,
    Contrast,
    Corruption,
    GaussianBlur,
    GaussianNoise,
    JpegCompression,
    Pixelate,
    ShotNoise,
)
from deepscope.data.photographs import bundled
from deepscope.errors import DeepscopeError, SettingError
from deepscope.session import Session

GREY = Image.new("RGB", (120, 100), (102, 102, 102))
"""0.4 of the range."""


@pytest.fixture(scope="module")
def cat() -> Image.Image:
    return Image.open(bundled("chelsea.png")).convert("RGB").crop((0, 0, 200, 160))


def graded(name: str, severity: int = 3) -> Corruption:
    return replace(Corruption.named(name), severity=severity)


def damaged(corruption: Corruption, image: Image.Image, seed: int = 0) -> np.ndarray:
    return np.asarray(corruption(image, torch.Generator().manual_seed(seed)), dtype=float) / 255


def test_noise_has_the_stated_deviation() -> None:
    noisy = damaged(GaussianNoise(1), GREY)
    assert noisy.mean() == pytest.approx(0.4, abs=0.002)
    assert noisy.std() == pytest.approx(0.08, rel=0.02)


def test_photons_are_counted() -> None:
    noisy = damaged(ShotNoise(2), GREY)
    np.testing.assert_allclose(noisy * 25, np.rint(noisy * 25), atol=0.05)
    assert noisy.mean() == pytest.approx(0.4, abs=0.003)
    assert noisy.var() == pytest.approx(0.4 / 25, rel=0.05)  # a Poisson count's variance is its mean


def test_blur_is_a_gaussian_of_so_many_pixels(cat: Image.Image) -> None:
    plain = np.asarray(cat, dtype=float) / 255
    smooth = np.stack([ndimage.gaussian_filter(plain[..., c], 3, mode="nearest") for c in range(3)], -1)
    np.testing.assert_allclose(damaged(GaussianBlur(3), cat), smooth, atol=0.5 / 255 + 1e-6)


def test_contrast_keeps_the_mean_and_a_share_of_the_deviation(cat: Image.Image) -> None:
    plain, pale = np.asarray(cat, dtype=float) / 255, damaged(Contrast(4), cat)
    np.testing.assert_allclose(pale.mean((0, 1)), plain.mean((0, 1)), atol=0.002)
    np.testing.assert_allclose(pale.std((0, 1)), 0.1 * plain.std((0, 1)), rtol=0.03)


def test_brightness_moves_the_value_alone(cat: Image.Image) -> None:
    before, after = rgb2hsv(np.asarray(cat)), rgb2hsv(damaged(Brightness(2), cat))
    np.testing.assert_allclose(after[..., 2], np.minimum(before[..., 2] + 0.2, 1), atol=0.003)
    np.testing.assert_allclose(after[..., 1], before[..., 1], atol=0.02)


def test_jpeg_is_what_pillow_writes_at_that_quality(cat: Image.Image) -> None:
    file = io.BytesIO()
    cat.save(file, "JPEG", quality=7)
    np.testing.assert_array_equal(damaged(JpegCompression(5), cat) * 255, np.asarray(Image.open(file)))


def test_pixels_become_the_means_of_their_boxes(cat: Image.Image) -> None:
    coarse, plain = damaged(Pixelate(5), cat), np.asarray(cat, dtype=float) / 255
    boxes = plain.reshape(40, 4, 50, 4, 3).mean((1, 3))
    np.testing.assert_allclose(coarse, boxes.repeat(4, 0).repeat(4, 1), atol=1.1 / 255)  # rounded twice


UNEVEN = {"elastic-transform", "fog", "frost", "glass-blur", "snow"}
"""Severities of several settings at once, which change more pixels or fewer from one to the next."""


@pytest.mark.parametrize("name", Corruption.members())
def test_every_severity_takes_more_than_the_one_before(name: str, cat: Image.Image) -> None:
    plain = np.asarray(cat, dtype=float) / 255
    lost = [np.square(damaged(graded(name, grade), cat) - plain).mean() for grade in range(1, 6)]
    assert name in UNEVEN or lost == sorted(lost)
    assert lost[0] > 0
    assert lost[4] > lost[2 if name == "elastic-transform" else 0]  # its first two severities move the whole image
    assert np.array_equal(damaged(graded(name), cat), damaged(graded(name), cat))
    with pytest.raises(DeepscopeError, match="from 1 to 5"):
        graded(name, 6)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (700, 513), (2000, 20)])
@pytest.mark.parametrize("name", Corruption.members())
def test_any_size_comes_back_no_larger(name: str, size: tuple[int, int]) -> None:
    image = graded(name, 5)(Image.new("RGB", size, "teal"), torch.Generator())
    expected = size if min(size) <= SIDE else (349, 256)
    assert (image.size, image.mode) == (expected, "RGB")


def test_copies_keep_their_folders_and_bad_files_are_listed(tmp_path: Path, cat: Image.Image) -> None:
    root, session = tmp_path / "photos", Session(quiet=True)
    names = ("train/a/1.png", "train/b/1.jpg", "train/b/1.png", "test/a/1.png")
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (cat if name != "train/a/1.png" else cat.rotate(180)).save(root / name)
    (root / "test" / "a" / "bad.png").write_bytes(b"no image")
    paths = [*(root / name for name in names), root / "test" / "a" / "bad.png"]
    copies = write_corrupted(paths, GaussianNoise(), tmp_path / "noisy", session)
    assert [item.path for item in copies.skipped] == [str(paths[-1])]
    assert copies.paths == tuple(paths[:-1])
    assert copies.digests == tuple(hashlib.sha256(path.read_bytes()).digest() for path in paths[:-1])
    written = sorted(path.relative_to(tmp_path / "noisy").as_posix() for path in (tmp_path / "noisy").rglob("*.*"))
    assert written == ["test/a/1.png", "train/a/1.png", "train/b/1.jpg.png", "train/b/1.png.png"]
    first, second, same = (np.asarray(Image.open(tmp_path / "noisy" / name)) for name in (*written[:2], written[3]))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, same)  # its noise follows from the pixels, not from the place
    write_corrupted([paths[1], paths[3]], GaussianNoise(), tmp_path / "fewer", session)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "fewer" / "test" / "a" / "1.png")), first)
    with pytest.raises(DeepscopeError, match="exists already"):
        write_corrupted(paths, GaussianNoise(), tmp_path / "noisy", session)
    with pytest.raises(DeepscopeError, match="none of the 1"):
        write_corrupted(paths[-1:], GaussianNoise(), tmp_path / "none", session)
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "noisy", "fewer"}


def _tree(root: Path) -> list[str]:
    return sorted(str(path) for path in root.rglob("*"))


@pytest.mark.parametrize(
    "out",
    ["", ".", "a", "a/deeper/still", "new", "new/deeper", "link", "link/new", "../photos/new", "a/../b/x", "outside/x"],
)
def test_copies_are_never_written_into_their_own_data(tmp_path: Path, cat: Image.Image, out: str) -> None:
    """By whatever name: `link` leads back to the data, and class folder b to a folder outside of it."""
    data, outside = tmp_path / "photos", tmp_path / "outside"
    for folder in (data / "a", outside):
        folder.mkdir(parents=True)
        cat.save(folder / "1.png")
        cat.save(folder / "2.png")
    (data / "b").symlink_to(outside)
    (tmp_path / "link").symlink_to(data)
    place = tmp_path / out if out.startswith(("link", "outside")) else data / out
    before = _tree(tmp_path)
    with pytest.raises(DeepscopeError, match="is inside the data"):
        DataCorrupt(str(data)).run(Session(out=place, quiet=True))
    assert _tree(tmp_path) == before
    paths = [path / f"{number}.png" for path in (data / "a", data / "b") for number in (1, 2)]
    if not out.startswith(("new", "../photos/new")) and out not in ("", ".", "link", "link/new"):
        with pytest.raises(DeepscopeError, match="is inside the data"):
            write_corrupted(paths, GaussianNoise(), place / "images", Session(quiet=True))
    assert _tree(tmp_path) == before


def test_another_spelling_of_the_same_folder_is_the_same_folder(
    tmp_path: Path, cat: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that does not tell A from a, both have one number."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "PHOTOS").symlink_to("photos")
    monkeypatch.setattr(Path, "resolve", lambda self, strict=False: self)  # there is no link to follow on such a disk
    with pytest.raises(DeepscopeError, match="is inside the data"):
        check_outside(tmp_path / "PHOTOS" / "out" / "images", [tmp_path / "photos"])
    check_outside(tmp_path / "photos-2", [tmp_path / "photos"])
    check_outside(tmp_path, [tmp_path / "photos", tmp_path / "none"])


def test_copies_beside_the_data_or_around_it_are_written(tmp_path: Path, cat: Image.Image) -> None:
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in (1, 2):
            cat.save(tmp_path / "photos" / name / f"{number}.png")
    for out in (tmp_path / "photos2", tmp_path):
        result = DataCorrupt(str(tmp_path / "photos"), figures=0).run(Session(out=out, quiet=True))
        assert result.metrics["images"] == 4


def test_corrupt_from_python_gives_what_the_command_gives(tmp_path: Path, cat: Image.Image) -> None:
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in (1, 2):
            cat.save(tmp_path / "photos" / name / f"{number}.png")
    session = Session(quiet=True)
    found = corrupt(tmp_path / "photos", Contrast(severity=5), folder=tmp_path / "pale", session=session)
    typed = DataCorrupt(str(tmp_path / "photos"), corruption=Contrast(severity=5)).run(
        Session(quiet=True, out=tmp_path / "typed")
    )
    for path in sorted(found.folder.rglob("*.png")):
        same = tmp_path / "typed" / "images" / path.relative_to(found.folder)
        assert path.read_bytes() == same.read_bytes()
    assert found.result().metrics == typed.metrics == {"images": 4, "skipped": 0}
    assert found.result().provenance.data == typed.provenance.data
    assert list(found.to_pandas()["image"]) == [str(path) for path in found.copies.paths]
    assert len(found.examples) == 4 and len(found.examples[0].damaged) == 5
    assert "What contrast does" in found._repr_html_()
    with pytest.raises(SettingError, match="severity must be from 1 to 5") as caught:
        Contrast(severity=6)
    assert caught.value.setting == "severity"

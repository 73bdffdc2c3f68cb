from __future__ import annotations

import io
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from deepscope import images
from deepscope.data.audit import NEAR, NEAR_COLOUR, Audit, audit
from deepscope.data.fingerprint import colours, perceptual_hash
from deepscope.data.photographs import bundled_photographs
from deepscope.errors import DeepscopeError
from deepscope.session import Session


def picture(seed: int, side: int = 96) -> Image.Image:
    """Smooth noise: structure at low frequencies, as photographs have it."""
    noise = np.random.default_rng(seed).normal(size=(side, side, 3))
    smooth = ndimage.gaussian_filter(noise, (side / 24, side / 24, 0))
    return Image.fromarray(np.uint8(np.clip(128 + 40 * smooth / smooth.std(), 0, 255)))


def save(image: Image.Image, path: Path, quality: int = 95) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=quality)


def look(root: Path, near: int = NEAR) -> Audit:
    return audit(root, Session(quiet=True), near=near)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        save(picture(number), tmp_path / "train" / "ab"[number % 2] / f"{number}.png")
        save(picture(10 + number), tmp_path / "test" / "ab"[number % 2] / f"{number}.png")
    return tmp_path


def test_clean_folder_is_clean(folder: Path) -> None:
    found = look(folder)
    assert found.images == 8
    assert (found.corrupt, found.exact, found.near, found.leaked) == ((), (), (), ())


def test_copy_of_the_bytes_across_splits(folder: Path) -> None:
    (folder / "test" / "a" / "copy.png").write_bytes((folder / "train" / "a" / "0.png").read_bytes())
    (pair,) = look(folder).exact
    assert (pair.first, pair.second) == (Path("train/a/0.png"), Path("test/a/copy.png"))
    assert (pair.same, pair.distance, pair.across_splits, pair.across_classes) == ("bytes", 0, True, False)
    assert look(folder).leaked == (Path("test/a/copy.png"),)


def test_same_pixels_in_another_file_across_classes(folder: Path) -> None:
    save(picture(0), folder / "train" / "b" / "copy.bmp")
    (pair,) = look(folder).exact
    assert (pair.same, pair.across_splits, pair.across_classes) == ("pixels", False, True)
    assert look(folder).leaked == ()


def test_each_copy_is_paired_with_the_training_image(folder: Path) -> None:
    for name in ("test/a/copy.png", "test/b/copy.png", "train/b/copy.png"):
        save(picture(0), folder / name)
    found = look(folder)
    assert {pair.first for pair in found.exact} == {Path("train/a/0.png")}
    assert len(found.exact) == 3
    assert found.leaked == (Path("test/a/copy.png"), Path("test/b/copy.png"))
    assert found.near == ()


def test_near_copy_is_found_with_its_distance(folder: Path) -> None:
    save(picture(2).resize((60, 80)), folder / "test" / "a" / "near.jpg", quality=50)
    (pair,) = look(folder).near
    assert {pair.first, pair.second} == {Path("train/a/2.png"), Path("test/a/near.jpg")}
    assert pair.same == "near"
    assert pair.across_splits
    a, b = perceptual_hash(picture(2)), perceptual_hash(Image.open(folder / "test" / "a" / "near.jpg"))
    assert a is not None
    assert b is not None
    assert pair.distance == (a != b).sum()
    assert look(folder, near=pair.distance).near == (pair,)
    assert look(folder, near=pair.distance - 1).near == ()


def test_near_pairs_are_all_pairs_of_the_slow_search(tmp_path: Path) -> None:
    for number in range(12):
        save(picture(number // 2, side=64 + number).convert("L"), tmp_path / f"{number:02}.png")
    hashes = {path.name: perceptual_hash(Image.open(path)) for path in sorted(tmp_path.iterdir())}
    slow = set()
    for one, two in itertools.combinations(hashes, 2):
        a, b = hashes[one], hashes[two]
        assert a is not None
        assert b is not None
        if (a != b).sum() <= 120:
            slow.add((one, two, int((a != b).sum())))
    assert slow
    fast = look(tmp_path, near=120).near
    assert {(str(pair.first), str(pair.second), pair.distance) for pair in fast} == slow
    assert [pair.distance for pair in fast] == sorted(pair.distance for pair in fast)


def discs(colour: tuple[int, int, int], folder: Path, side: int, size: int = 30) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(7)
    for number in range(4):
        image = Image.new("RGB", (side, side), (20, 20, 20))
        x, y = rng.integers(side // 10, side // 2, 2).tolist()
        ImageDraw.Draw(image).ellipse((x, y, x + size * side // 96, y + size * side // 96), fill=colour)
        image.save(folder / f"{number}.png")


@pytest.mark.parametrize("other", [(30, 160, 30), (30, 30, 240), (120, 120, 120), (200, 140, 20)])
@pytest.mark.parametrize("size", [8, 12, 40])
def test_pictures_that_only_colour_tells_apart_are_no_copies(
    other: tuple[int, int, int], size: int, tmp_path: Path
) -> None:
    discs((220, 30, 30), tmp_path / "red", 96, size)
    discs(other, tmp_path / "other", 96, size)
    assert not [pair for pair in look(tmp_path).near if pair.across_classes]


def test_a_copy_of_a_coloured_picture_is_found_at_another_size_and_quality(tmp_path: Path) -> None:
    discs((220, 30, 30), tmp_path / "red", 96)
    for number in range(4):
        image = Image.open(tmp_path / "red" / f"{number}.png").resize((64, 64))
        save(image, tmp_path / "green" / f"{number}.jpg", quality=60)
    found = {(pair.first.stem, pair.second.stem) for pair in look(tmp_path).near if pair.across_classes}
    assert {(str(number), str(number)) for number in range(4)} <= found


@pytest.mark.real
def test_colour_of_photographs_survives_encoding_and_tells_tinted_ones_apart(home: Path) -> None:
    """Measured on ImageNet photographs; see `NEAR_COLOUR`."""
    kept, tinted = [], []
    for path in images.find([home / "data" / "imagenet-sample"]).paths[:30]:
        image = images.decode(path)
        file = io.BytesIO()
        image.resize((image.width // 2, image.height // 2)).save(file, "JPEG", quality=30)
        kept.append(np.abs(colours(image) - colours(images.decode(file.getvalue()))).max())
        red, green, blue = image.split()
        tinted.append(np.abs(colours(image) - colours(Image.merge("RGB", (blue, green, red)))).max())
    assert max(kept) <= 12 < NEAR_COLOUR
    assert np.mean(np.array(tinted) > NEAR_COLOUR) > 0.9  # the others are grey photographs


def test_plain_pictures_are_near_nothing(tmp_path: Path) -> None:
    for grey in (0, 1, 128, 255):
        save(Image.new("L", (40, 40), grey), tmp_path / f"{grey}.png")
    found = look(tmp_path)
    assert (found.images, found.exact, found.near) == (4, (), ())


def test_corrupt_files_are_listed_with_a_reason(folder: Path) -> None:
    (folder / "train" / "a" / "empty.jpg").write_bytes(b"")
    whole = (folder / "train" / "a" / "0.png").read_bytes()
    (folder / "train" / "a" / "half.png").write_bytes(whole[: len(whole) // 2])
    (folder / "train" / "a" / "text.png").write_text("no image")
    found = look(folder)
    assert [skipped.path for skipped in found.corrupt] == [
        f"train/a/{n}" for n in ("empty.jpg", "half.png", "text.png")
    ]
    assert all(skipped.reason for skipped in found.corrupt)
    assert found.images == 8


def test_pipes_links_and_folders_named_like_images_are_listed(folder: Path) -> None:
    os.mkfifo(folder / "train" / "a" / "pipe.jpg")
    (folder / "train" / "a" / "dangling.jpg").symlink_to("nowhere")
    (folder / "train" / "a" / "folder.jpg").mkdir()
    found = look(folder)
    assert [Path(skipped.path).name for skipped in found.corrupt] == ["dangling.jpg", "pipe.jpg"]
    assert found.images == 8


def test_class_called_train_is_no_split(tmp_path: Path) -> None:
    save(picture(0), tmp_path / "train" / "x.png")
    save(picture(0), tmp_path / "plane" / "x.png")
    (pair,) = look(tmp_path).exact
    assert (pair.across_splits, pair.across_classes) == (False, True)


def test_bad_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeepscopeError, match="not a folder"):
        look(tmp_path / "nowhere")
    with pytest.raises(DeepscopeError, match="no image files"):
        look(tmp_path)
    with pytest.raises(DeepscopeError, match="from 0 to 255"):
        look(tmp_path, near=256)


@pytest.mark.parametrize("scale", [0.3, 0.5, 1.5])
@pytest.mark.parametrize("quality", [30, 75])
def test_hash_survives_resizing_and_encoding(scale: float, quality: int) -> None:
    hashes = []
    for path in bundled_photographs().paths:
        image = Image.open(path).convert("RGB")
        file = io.BytesIO()
        image.resize((round(image.width * scale), round(image.height * scale))).save(file, "JPEG", quality=quality)
        before, after = perceptual_hash(image), perceptual_hash(Image.open(file))
        assert before is not None
        assert after is not None
        assert (before != after).sum() <= NEAR
        hashes.append(before)
    assert min((a != b).sum() for a, b in itertools.combinations(hashes, 2)) > 2 * NEAR

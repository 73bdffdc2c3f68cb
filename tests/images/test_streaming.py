"""Many images: rows that never shift, flat memory, no threads left behind."""

from __future__ import annotations

import random
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from deepscope import images
from deepscope.errors import DeepscopeError
from deepscope.images import Skipped
from image_files import (
    SMALL,
    corpus,
    pixels,
    reading,
    tensor,
)


def mutations(count: int) -> list[tuple[bytes, str]]:
    """`count` damaged files over all formats, by truncation, bit flips, header damage and foreign suffixes."""
    rng = random.Random(0)
    originals = [(key, data) for key, data in corpus().items()]
    made = []
    for number in range(count):
        key, data = originals[number % len(originals)]
        suffix = "." + key.split("-")[0]
        damaged = bytearray(data)
        match number // len(originals) % 6:
            case 0:
                del damaged[rng.randrange(len(damaged)) :]
            case 1:
                for _ in range(rng.choice((1, 3, 20))):
                    damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
            case 2:
                damaged[rng.randrange(32)] = rng.randrange(256)
            case 3:
                suffix = rng.choice((".jpg", ".png", ".gif", ".txt", ""))
            case 4:
                start = rng.randrange(len(damaged))
                damaged[start : start + 16] = rng.randbytes(16)
            case _:
                start = rng.randrange(len(damaged))
                del damaged[start : start + rng.randrange(1, 64)]
        made.append((bytes(damaged), suffix))
    return made


def test_three_hundred_damaged_files_crash_nothing_and_shift_no_row(tmp_path: Path) -> None:
    """Every third file is sound and carries its own number as its colour, which its row must show."""
    paths = []
    for number, (data, suffix) in enumerate(mutations(300)):
        paths.append(tmp_path / f"{number}{suffix}")
        paths[-1].write_bytes(data)
        if number % 2:
            paths.append(tmp_path / f"sound{len(paths)}.png")
            Image.new("RGB", (9, 9), (len(paths) % 256, len(paths) // 256, 77)).save(paths[-1])
    batches = list(images.stream(paths, reading(tensor), batch_size=7, threads=4))
    rows = [row for batch in batches for row in batch.rows]
    skipped = [item for batch in batches for item in batch.skipped]
    assert len(rows) + len(skipped) == len(paths) == 450
    assert rows == sorted(set(rows))
    assert [item.path for item in skipped] == [str(path) for row, path in enumerate(paths) if row not in set(rows)]
    assert all(item.reason and item.reason.isprintable() for item in skipped)
    assert len(skipped) > 100
    assert [len(batch.rows) for batch in batches[:-1]] == [7] * (len(batches) - 1)
    seen = {row: batch.pixels[i] for batch in batches for i, row in enumerate(batch.rows)}
    for row, path in enumerate(paths):
        if path.name.startswith("sound"):
            number = int(path.stem.removeprefix("sound")) + 1
            assert seen[row][:, 0, 0].tolist() == [number % 256, number // 256, 77]
        elif row in seen:
            assert (seen[row] == tensor(images.decode(path, limits=SMALL))).all()


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 9), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_rows_point_at_their_sources(sound: list[bool], batch_size: int, threads: int) -> None:
    sources: list[images.Source] = [
        np.full((2, 2), row, np.uint8) if good else b"bad" for row, good in enumerate(sound)
    ]
    batches = list(images.stream(sources, reading(tensor), batch_size=batch_size, threads=threads))
    rows = [row for batch in batches for row in batch.rows]
    assert rows == [row for row, good in enumerate(sound) if good]
    assert [int(pixel) for batch in batches if batch.rows for pixel in batch.pixels[:, 0, 0, 0]] == rows
    assert [item.path for batch in batches for item in batch.skipped] == [
        f"image {row}" for row, good in enumerate(sound) if not good
    ]
    assert all(1 <= len(batch.rows) <= batch_size for batch in batches) or not rows
    assert all(batch.pixels.shape == (len(batch.rows), 3, 4, 4) for batch in batches if rows)


def test_when_every_image_is_bad_one_batch_without_rows_lists_them() -> None:
    (batch,) = images.stream([b"", b"x", b"y"], reading(tensor), batch_size=2)
    assert batch.rows == ()
    assert batch.pixels.shape == (0,)
    assert [item.path for item in batch.skipped] == ["image 0", "image 1", "image 2"]
    assert list(images.stream([], reading(tensor), batch_size=2)) == []


def test_a_change_of_shape_ends_the_batch() -> None:
    def as_it_is(image: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.array(image))

    sources = [np.zeros((side, side), np.uint8) for side in (4, 4, 5, 4)]
    batches = list(images.stream(sources, reading(as_it_is), batch_size=3))
    assert [batch.rows for batch in batches] == [(0, 1), (2,), (3,)]


def test_a_transform_may_refuse_an_image_but_its_bugs_are_raised() -> None:
    def picky(image: Image.Image) -> torch.Tensor:
        if image.getpixel((0, 0)) == (1, 1, 1):
            raise DeepscopeError("not this one")
        return tensor(image)

    def broken(image: Image.Image) -> torch.Tensor:
        raise ZeroDivisionError

    sources = [np.full((2, 2), level, np.uint8) for level in (0, 1, 2)]
    (batch,) = images.stream(sources, reading(picky), batch_size=5)
    assert (batch.rows, batch.skipped) == ((0, 2), (Skipped("image 1", "not this one"),))
    with pytest.raises(ZeroDivisionError):
        list(images.stream(sources, reading(broken), batch_size=5))
    with pytest.raises(ValueError, match="batch_size"):
        list(images.stream(sources, reading(tensor), batch_size=0))


def test_memory_stays_flat_and_closing_stops_the_threads() -> None:
    """An endless list: only a bounded number is read ahead, and nothing runs on after the consumer leaves."""
    drawn = 0

    def endless() -> Iterator[images.Source]:
        nonlocal drawn
        while True:
            drawn += 1
            yield np.zeros((2, 2), np.uint8)

    batches = images.stream(endless(), reading(tensor), batch_size=8, threads=3)
    for turn in range(1, 20):
        next(batches)
        assert drawn <= 8 * (turn + 1) + 3 + 1
    batches.close()
    after = drawn
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("deepscope-images")]
    assert drawn == after


def test_results_do_not_pile_up() -> None:
    made: list[weakref.ref[torch.Tensor]] = []

    def watched(image: Image.Image) -> torch.Tensor:
        result = tensor(image)
        made.append(weakref.ref(result))
        return result

    sources = (np.zeros((2, 2), np.uint8) for _ in range(400))
    for _ in images.stream(sources, reading(watched), batch_size=10, threads=2):
        assert sum(reference() is not None for reference in made) <= 10 + 2 + 2
    assert len(made) == 400


@pytest.mark.real
def test_real_photographs(home: Path) -> None:
    """Pillow's own path (open, exif_transpose, convert) as the oracle, on photographs of the wild."""
    found = images.find([home / "data" / "imagenet-sample"])
    assert len(found.paths) == 100
    for path in found.paths[:20]:
        with Image.open(path) as image:
            expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        assert (pixels(path) == expected).all()
    batches = list(images.stream(found.paths, reading(tensor, images.Limits()), batch_size=32))
    assert [row for batch in batches for row in batch.rows] == list(range(100))

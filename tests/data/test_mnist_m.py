from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from deepscope.data.mnist_m import Backgrounds, blend, divided
from deepscope.errors import DeepscopeError


def photographs(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = [(28 + 7 * n, 60 - 5 * n) for n in range(count)]
    return [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


def splitmix64(state: int) -> int:
    """The published generator, in plain integers: the number after the state has advanced once."""
    z = (state + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def slow_blend(digit: np.ndarray, number: int, pictures: list[Image.Image]) -> np.ndarray:
    """One digit, pixel by pixel."""

    def below(limit: int, draw: int) -> int:
        state = (3 * number + draw) * 0x9E3779B97F4A7C15 % 2**64
        return ((splitmix64(state) >> 32) * limit) >> 32

    picture = np.asarray(pictures[below(len(pictures), 0)]).astype(int)
    top, left = below(picture.shape[0] - 27, 1), below(picture.shape[1] - 27, 2)
    out = np.zeros((3, 28, 28), dtype=np.uint8)
    for channel in range(3):
        for row in range(28):
            for column in range(28):
                out[channel, row, column] = abs(picture[top + row, left + column, channel] - int(digit[row, column]))
    return out


def test_splitmix64_gives_the_published_stream() -> None:
    # Reference output for seed 1234567, as in the author's C program.
    state, numbers = 1234567, []
    for _ in range(3):
        numbers.append(splitmix64(state))
        state = (state + 0x9E3779B97F4A7C15) % 2**64
    assert numbers == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_blend_is_the_slow_definition() -> None:
    pictures = photographs(6)
    digits = np.random.default_rng(1).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    numbers = np.arange(100, 140)
    blended = blend(digits, numbers, Backgrounds.of(pictures))
    for row in range(40):
        assert np.array_equal(blended[row], slow_blend(digits[row], 100 + row, pictures))


def test_any_batch_gives_the_same_as_the_whole() -> None:
    backgrounds = Backgrounds.of(photographs(3))
    digits = np.random.default_rng(1).integers(0, 256, (5000, 28, 28), dtype=np.uint8)
    whole = blend(digits, np.arange(5000), backgrounds)
    rows = np.array([4999, 0, 4100, 77])
    assert np.array_equal(blend(digits[rows], rows, backgrounds), whole[rows])


def test_every_photograph_and_the_whole_of_it_is_used() -> None:
    picture = np.zeros((40, 50, 3), dtype=np.uint8)
    picture[..., 0], picture[..., 1] = np.arange(40)[:, None], np.arange(50)
    backgrounds = Backgrounds.of([Image.fromarray(picture), Image.new("RGB", (28, 28), (0, 0, 255))])
    patches = backgrounds.patches(np.arange(4000))
    second = patches[:, 0, 0, 2] == 255
    assert 1800 < second.sum() < 2200
    corners = patches[~second][:, 0, 0, :2]
    assert set(corners[:, 0]) == set(range(13))
    assert set(corners[:, 1]) == set(range(23))


def test_train_and_test_share_no_photograph() -> None:
    pictures = photographs(6)
    train, test = divided(pictures)
    assert [pictures.index(picture) for picture in test] == [0, 5]
    assert [pictures.index(picture) for picture in train] == [1, 2, 3, 4]


def test_small_photographs_and_none_are_refused() -> None:
    for pictures in ([], [Image.new("RGB", (27, 100))]):
        with pytest.raises(DeepscopeError, match="28 x 28"):
            Backgrounds.of(pictures)

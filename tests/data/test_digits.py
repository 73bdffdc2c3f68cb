from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from deepscope.data import Digits, DigitSplit, first_here, load_dataset
from deepscope.data.digits import read_digits, read_idx
from deepscope.errors import DeepscopeError
from deepscope.session import Session


def idx(*dimensions: int, body: bytes | None = None, kind: int = 8) -> bytes:
    header = bytes((0, 0, kind, len(dimensions))) + struct.pack(f">{len(dimensions)}I", *dimensions)
    return header + (bytes(int(np.prod(dimensions))) if body is None else body)


def test_reads_idx_packed_or_not(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    content = idx(5, 28, 28, body=pixels.tobytes())
    (tmp_path / "plain").write_bytes(content)
    (tmp_path / "packed").write_bytes(gzip.compress(content))
    for name in ("plain", "packed"):
        assert np.array_equal(read_idx(tmp_path / name, item=(28, 28)), pixels)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an idx file"),
        (b"\0\0\x08", "not an idx file"),
        (b"<html>not found</html>", "not an idx file"),
        (idx(1, 28, 28, kind=0x0D), "not an idx file"),
        (idx(28, 28), "not an idx file"),
        (idx(1, 32, 28), "announces"),
        (idx(2**32 - 1, 28, 28, body=b""), "announces"),
        (idx(2, 28, 28, body=bytes(100)), "holds 100 bytes"),
        (idx(2, 28, 28, body=bytes(5000)), "holds more"),
        (gzip.compress(idx(2, 28, 28), mtime=0)[:-9], "cannot be read"),
        (b"\x1f\x8bgarbage", "cannot be read"),
        (gzip.compress(idx(1, 28, 28, body=bytes(2**24)), mtime=0), "holds more"),
    ],
)
def test_hostile_idx_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DeepscopeError, match=message):
        read_idx(tmp_path / "file", item=(28, 28))


def test_images_and_labels_have_to_belong(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(idx(2, 28, 28))
    (tmp_path / "three").write_bytes(idx(3))
    (tmp_path / "eleven").write_bytes(idx(2, body=b"\x01\x0b"))
    with pytest.raises(DeepscopeError, match="do not belong"):
        read_digits(tmp_path / "images", tmp_path / "three")
    with pytest.raises(DeepscopeError, match="label 11"):
        read_digits(tmp_path / "images", tmp_path / "eleven")
    with pytest.raises(DeepscopeError, match="cannot be read"):
        read_digits(tmp_path / "nothing", tmp_path / "three")


def test_extract_is_balanced() -> None:
    digits = load_dataset("mnist-extract", Session(home=Path("nowhere")), DigitSplit)
    assert np.bincount(digits.train.labels).tolist() == [500] * 10
    assert np.bincount(digits.test.labels).tolist() == [100] * 10
    assert digits.train.images.shape == (5000, 28, 28)
    assert digits.train.images.dtype == np.uint8


def test_first_here_falls_back_to_what_the_package_carries(tmp_path: Path) -> None:
    assert first_here(("mnist", "mnist-extract"), Session(home=tmp_path)) == "mnist-extract"
    with pytest.raises(DeepscopeError, match="mnist: run"):
        first_here(("mnist",), Session(home=tmp_path))


def digest(digits: Digits) -> str:
    return hashlib.sha256(digits.images.tobytes() + digits.labels.astype(np.uint8).tobytes()).hexdigest()


@pytest.mark.real
def test_mnist_is_the_published_one_and_the_extract_is_part_of_it(home: Path) -> None:
    session = Session(home=home)
    full = load_dataset("mnist", session, DigitSplit)
    assert full.train.images.shape == (60000, 28, 28)
    assert full.test.images.shape == (10000, 28, 28)
    assert full.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert full.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    extract = load_dataset("mnist-extract", session, DigitSplit)
    for whole, part in ((full.train, extract.train), (full.test, extract.test)):
        rows = {image.tobytes(): label for image, label in zip(whole.images, whole.labels, strict=True)}
        assert all(rows[image.tobytes()] == label for image, label in zip(part.images, part.labels, strict=True))


def test_mnist_m_extract_never_changes() -> None:
    digits = load_dataset("mnist-m-extract", Session(home=Path("nowhere")), DigitSplit)
    assert digits.train.images.shape == (5000, 3, 28, 28)
    assert digest(digits.train) == "fcdf5c10c4badded12450b1097e73d7e3c85334d09e1f16923437d3f811123b1"
    assert digest(digits.test) == "e790b63fcdaf31a7d27d85292d50572c56654436cba6031eed73688fe41a316d"


@pytest.mark.real
def test_mnist_m_never_changes(home: Path) -> None:
    digits = load_dataset("mnist-m", Session(home=home), DigitSplit)
    assert digits.train.images.shape == (60000, 3, 28, 28)
    assert digest(digits.train) == "f047a82cea7d9fa947d19c6876235bdbe54fdc9ff8b4b9754f50959d668b163e"
    assert digest(digits.test) == "0273d72a932b221be682845a7315074654b4a46b4cd5006e0b28b4386ea1f59c"

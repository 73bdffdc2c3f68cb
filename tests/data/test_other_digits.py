"""USPS and SVHN on small files in the published formats: none of the real ones is needed."""

from __future__ import annotations

import bz2
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import loadmat, savemat

from deepscope.adaptation import load_domains
from deepscope.data import DigitSplit, load_dataset
from deepscope.data.mat import read_arrays
from deepscope.data.svhn import read_mat
from deepscope.data.usps import read_libsvm
from deepscope.errors import DeepscopeError, FileError
from deepscope.models import DEFAULT
from deepscope.session import Session

RNG = np.random.default_rng(0)


def libsvm(values: NDArray[Any], labels: list[Any]) -> str:
    rows = (" ".join(f"{place}:{value:.6g}" for place, value in enumerate(row, 1)) for row in values)
    return "".join(f"{label} {row}\n" for label, row in zip(labels, rows, strict=True))


def usps(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bz2.compress(text.encode() if isinstance(text, str) else text))
    return path


def svhn(path: Path, images: Any, labels: Any, *, packed: bool = True, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"X": images, "y": labels, **more}, do_compression=packed)
    return path


def numbers(count: int) -> NDArray[np.uint8]:
    """All labels of SVHN: 1 to 10, 10 for zero."""
    return (np.arange(count, dtype=np.uint8) % 10 + 1)[:, None]


def photographs(count: int) -> NDArray[np.uint8]:
    return RNG.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)


def test_usps_pixels_and_labels(tmp_path: Path) -> None:
    flat = np.array([[-1.0] * 256, [1.0] * 256, [0.0] * 256, *[[-1.0] * 256] * 7])
    flat[3].reshape(16, 16)[:, :8] = 1  # ink in the left half
    digits = read_libsvm(usps(tmp_path / "usps.bz2", libsvm(flat, list(range(1, 11)))))
    assert digits.labels.tolist() == list(range(10))
    assert digits.images.shape == (10, 28, 28) and digits.images.dtype == np.uint8
    assert [np.unique(image).tolist() for image in digits.images[:3]] == [[0], [255], [128]]
    assert (digits.images[3, :, :13] == 255).all() and not digits.images[3, :, 15:].any()


def test_usps_values_that_are_left_out_are_zero(tmp_path: Path) -> None:
    digits = read_libsvm(usps(tmp_path / "usps.bz2", "10 1:1 256:-1\n"))
    assert digits.labels.tolist() == [9]
    assert digits.images[0, 0, 0] == 255 and digits.images[0, -1, -1] == 0 and digits.images[0, 14, 14] == 128


@pytest.mark.parametrize("packed", [True, False])
def test_svhn_images_are_turned_and_ten_is_zero(tmp_path: Path, packed: bool) -> None:
    images = photographs(12)
    images[:, :16, 0], images[:, 16:, 0] = 200, 10  # red: bright left half
    images[:, :, 1], images[:16, :, 2], images[16:, :, 2] = 77, 30, 90  # blue: dark upper half
    digits = read_mat(svhn(tmp_path / "train_32x32.mat", images, numbers(12), packed=packed))
    assert digits.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]
    assert digits.images.shape == (12, 3, 28, 28) and digits.images.dtype == np.uint8
    assert (digits.images[:, 0, :, :13] == 200).all() and (digits.images[:, 0, :, 15:] == 10).all()
    assert (digits.images[:, 1] == 77).all()
    assert (digits.images[:, 2, :13] == 30).all() and (digits.images[:, 2, 15:] == 90).all()


def test_mnist_adapts_to_both(tmp_path: Path) -> None:
    for name, count in (("usps.bz2", 20), ("usps.t.bz2", 10)):
        text = libsvm(RNG.uniform(-1, 1, (count, 256)), numbers(count)[:, 0].tolist())
        usps(tmp_path / "data" / "usps" / name, text)
    for name, count in (("train_32x32.mat", 20), ("test_32x32.mat", 10)):
        svhn(tmp_path / "data" / "svhn" / name, photographs(count), numbers(count))
    session = Session(home=tmp_path, quiet=True)
    for target, channels in (("usps", 1), ("svhn", 3)):
        domains = load_domains("mnist-extract", target, DEFAULT, session)
        assert domains.target.shape == (20, channels, 28, 28)
        assert domains.target_test is not None and domains.target_test.labels.unique().tolist() == list(range(10))


@pytest.mark.parametrize("name", ["usps", "svhn"])
def test_what_is_missing_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DeepscopeError, match=f"deepscope data get {name}.*{name}/"):
        load_dataset(name, Session(home=tmp_path), DigitSplit)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no digits"),
        ("not numbers at all\n", "cannot be read"),
        ("1 257:0.5\n", "cannot be read"),
        ("1 0:0.5\n", "cannot be read"),
        ("1 99999999999999999999:0.5\n", "cannot be read"),
        ("1 5:0.5 3:0.5\n", "cannot be read"),
        ("1 1:1.5\n", "from -1 to 1"),
        ("1 1:nan\n", "from -1 to 1"),
        ("1 1:inf\n", "from -1 to 1"),
        ("0 1:0.5\n", "label 0"),
        ("11 1:0.5\n", "label 11"),
        ("1.5 1:0.5\n", "label 1.5"),
        ("nan 1:0.5\n", "label nan"),
        (bytes(2**26 + 2), "more than"),
        (b"1\n" * (2**16 + 1), "more than 65536 lines"),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, str) else "too-large",
)
def test_hostile_usps_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(FileError, match=message):
        read_libsvm(usps(tmp_path / "usps.bz2", text))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (photographs(3), numbers(4), "shape"),
        (photographs(3), numbers(3).T, "shape"),
        (photographs(3)[:, :, 0], numbers(3), "32, 32, 3, N"),
        (photographs(3)[:28], numbers(3), "32, 32, 3, N"),
        (photographs(3).astype(float), numbers(3), "float64"),
        (photographs(3), numbers(3) + 9, "label 11"),
        (photographs(3), numbers(3) - 1, "label 0"),
        (photographs(3), numbers(3) + 0.5, "label 1.5"),
        (photographs(3), np.array([["a"], ["b"], ["c"]], object), "does not hold real"),
        ("text", numbers(3), "does not hold real"),
    ],
)
def test_hostile_svhn_is_refused(tmp_path: Path, images: Any, labels: Any, message: str) -> None:
    with pytest.raises(FileError, match=message):
        read_mat(svhn(tmp_path / "train_32x32.mat", images, labels))


@pytest.mark.parametrize("packed", [True, False])
def test_arrays_are_scipys(tmp_path: Path, packed: bool) -> None:
    kinds = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
    arrays = {f"of_{kind}": RNG.integers(0, 100, (3, 4, 2)).astype(kind) for kind in kinds}
    arrays |= {"a": np.ones((1, 1), np.uint8), "long_name_of_an_array": np.arange(6.0).reshape(1, 6)}
    savemat(
        tmp_path / "file.mat", {**arrays, "text": "abc", "cell": np.array([[1], ["a"]], object)}, do_compression=packed
    )
    found, wanted = read_arrays(tmp_path / "file.mat", arrays, most=10000), loadmat(tmp_path / "file.mat")
    assert found.keys() == arrays.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, wanted[name])
        assert array.dtype == wanted[name].dtype
    with pytest.raises(ValueError, match="text does not hold real numbers"):
        read_arrays(tmp_path / "file.mat", ["text"], most=10000)
    with pytest.raises(ValueError, match="more than 500 bytes"):
        read_arrays(tmp_path / "file.mat", ["a"], most=500)


def test_an_array_that_is_packed_to_fill_the_memory(tmp_path: Path) -> None:
    savemat(tmp_path / "file.mat", {"a": np.zeros((1000, 1000), np.uint8)}, do_compression=True)
    assert (tmp_path / "file.mat").stat().st_size < 5000
    with pytest.raises(ValueError, match="unpacks to more than 5000"):
        read_arrays(tmp_path / "file.mat", ["a"], most=5000)


def test_svhn_without_its_variables_is_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "file.mat", {"Y": numbers(3)})
    with pytest.raises(FileError, match="X is"):
        read_mat(tmp_path / "file.mat")
    with pytest.raises(FileError, match="No such file"):
        read_mat(tmp_path / "absent.mat")
    (tmp_path / "hdf.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    with pytest.raises(FileError, match="not a MATLAB 5 file"):
        read_mat(tmp_path / "hdf.mat")


@pytest.mark.parametrize("read", [read_libsvm, read_mat])
def test_damage_is_refused_or_gives_digits(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    path = tmp_path / "file"
    if read is read_libsvm:
        usps(path, libsvm(RNG.uniform(-1, 1, (4, 256)), [1, 2, 3, 10]))
    else:
        svhn(path.with_suffix(".mat"), photographs(4), numbers(4))
        path = path.with_suffix(".mat")
    content, rng = path.read_bytes(), random.Random(0)
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(rng.randrange(4)):
            damaged[rng.randrange(len(damaged) if rng.random() < 0.5 else 200)] = rng.randrange(256)
        path.write_bytes(damaged[: rng.choice((len(content), rng.randrange(len(content))))])
        try:
            digits = read(path)
        except FileError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert digits.images.shape[-2:] == (28, 28) and digits.images.dtype == np.uint8
            assert len(digits.images) == len(digits.labels) and set(digits.labels) <= set(range(10))

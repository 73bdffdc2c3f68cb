"""MNIST, its blend with photographs, and the extracts of both that come with deepscope."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import ClassVar

import numpy as np

from deepscope import images
from deepscope.data import mnist_m
from deepscope.data.dataset import Dataset, path_of
from deepscope.data.digits import Digits, DigitSplit, read_digits
from deepscope.data.download import Source
from deepscope.data.photograph_sets import Bsds500
from deepscope.data.photographs import bundled_photographs

_LICENCE = "CC BY-SA 3.0, Yann LeCun and Corinna Cortes"
_MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")

# SHA-256 of the unpacked files: the publishers' copies differ in how they are packed.
_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


@dataclass(frozen=True)
class Mnist(Dataset):
    """LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proceedings of the IEEE 1998."""

    summary: ClassVar[str] = "handwritten digits, 28 x 28, grey"
    holds: ClassVar[str] = "60000 train, 10000 test"
    licence: ClassVar[str] = _LICENCE
    needs: ClassVar[tuple[str, ...]] = tuple(f"mnist/{name}" for name in _SHA256)
    sources: ClassVar[tuple[Source, ...]] = tuple(
        Source(urls=tuple(f"{at}{name}.gz" for at in _MIRRORS), to=f"mnist/{name}.gz", most=2**24, sha256=digest)
        for name, digest in _SHA256.items()
    )

    @classmethod
    def load(cls, home: Path) -> DigitSplit:
        """The 60000 training and 10000 test digits."""
        train_images, train_labels, test_images, test_labels = (path_of(home, need) for need in cls.needs)
        return DigitSplit(read_digits(train_images, train_labels), read_digits(test_images, test_labels))


@dataclass(frozen=True)
class MnistExtract(Dataset):
    """The first 500 training and 100 test digits of each class of MNIST, in MNIST's order."""

    summary: ClassVar[str] = "a small part of MNIST, inside the package"
    holds: ClassVar[str] = "5000 train, 1000 test"
    licence: ClassVar[str] = _LICENCE

    @classmethod
    def load(cls, home: Path) -> DigitSplit:
        """The digits inside the package."""
        with as_file(files("deepscope.data") / "mnist_extract.npz") as path, np.load(path) as held:
            return DigitSplit(
                Digits(held["train_images"], held["train_labels"].astype(np.int64)),
                Digits(held["test_images"], held["test_labels"].astype(np.int64)),
            )


@dataclass(frozen=True)
class MnistM(Dataset):
    """MNIST's digits on BSDS500's photographs; those behind training digits are behind no test digit."""

    name: ClassVar[str] = "mnist-m"
    summary: ClassVar[str] = "MNIST's digits blended with BSDS500's photographs, generated on demand"
    holds: ClassVar[str] = Mnist.holds
    licence: ClassVar[str] = f"{_LICENCE}; photographs as bsds500"
    needs: ClassVar[tuple[str, ...]] = Mnist.needs + Bsds500.needs
    sources: ClassVar[tuple[Source, ...]] = Mnist.sources + Bsds500.sources

    @classmethod
    def load(cls, home: Path) -> DigitSplit:
        """Colour digits; takes some seconds."""
        return _blended(Mnist.load(home), Bsds500.load(home).paths)


@dataclass(frozen=True)
class MnistMExtract(Dataset):
    """The extract of MNIST on the pictures that come with scikit-image and scikit-learn, divided likewise."""

    name: ClassVar[str] = "mnist-m-extract"
    summary: ClassVar[str] = "the MNIST extract blended with the bundled photographs"
    holds: ClassVar[str] = MnistExtract.holds
    licence: ClassVar[str] = f"{_LICENCE}; photographs as bundled-photographs"

    @classmethod
    def load(cls, home: Path) -> DigitSplit:
        """Colour digits."""
        return _blended(MnistExtract.load(home), bundled_photographs().paths)


def _blended(digits: DigitSplit, photographs: tuple[Path, ...]) -> DigitSplit:
    train, test = mnist_m.divided([images.decode(path) for path in photographs])
    return DigitSplit(mnist_m.blended(digits.train, train), mnist_m.blended(digits.test, test))

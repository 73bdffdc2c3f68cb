"""Write src/deepscope/data/mnist_extract.npz from a home folder with MNIST: `python tools/make_mnist_extract.py HOME`.

It holds the first 500 training and 100 test digits of each class, in MNIST's order.
MNIST is by Yann LeCun and Corinna Cortes, under CC BY-SA 3.0; so is the extract.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from deepscope.data.digits import Digits
from deepscope.data.mnist import Mnist

TARGET = Path(__file__).parents[1] / "src" / "deepscope" / "data" / "mnist_extract.npz"


def first_of_each_class(digits: Digits, count: int) -> np.ndarray:
    """The row numbers of the first `count` digits of each class, in order."""
    return np.sort(np.concatenate([np.flatnonzero(digits.labels == label)[:count] for label in range(10)]))


if __name__ == "__main__":
    arrays = {}
    split = Mnist.load(Path(sys.argv[1]))
    for part, digits, count in (("train", split.train, 500), ("test", split.test, 100)):
        rows = first_of_each_class(digits, count)
        arrays[f"{part}_images"] = digits.images[rows]
        arrays[f"{part}_labels"] = digits.labels[rows].astype(np.uint8)
    np.savez_compressed(TARGET, **arrays)

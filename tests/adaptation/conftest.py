from __future__ import annotations

from pathlib import Path

import pytest

from deepscope.data import Digits, DigitSplit
from deepscope.data.mnist import MnistExtract, MnistMExtract


@pytest.fixture
def small_extracts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the extracts of MNIST and MNIST-M."""

    def first(digits: Digits, count: int) -> Digits:
        return Digits(digits.images[:count], digits.labels[:count])

    for dataset in (MnistExtract, MnistMExtract):
        whole = dataset.load(Path())
        small = DigitSplit(first(whole.train, 500), first(whole.test, 200))
        monkeypatch.setattr(dataset, "load", lambda home, small=small: small)

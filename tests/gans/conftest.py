from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepscope.commands.gan_evaluator import GanEvaluator
from deepscope.data import Digits, DigitSplit
from deepscope.data.mnist import MnistExtract
from gan_commands import TRAIN, changed, session


@pytest.fixture(scope="module")
def few_digits() -> object:
    """80 training and 40 test digits, each class equally often."""
    whole = MnistExtract.load(Path())

    def few(digits: Digits, count: int) -> Digits:
        rows = np.concatenate([np.flatnonzero(digits.labels == label)[: count // 10] for label in range(10)])
        return Digits(digits.images[rows], digits.labels[rows])

    with pytest.MonkeyPatch.context() as patch:
        small = DigitSplit(few(whole.train, 80), few(whole.test, 40))
        patch.setattr(MnistExtract, "load", lambda home: small)
        yield


@pytest.fixture(scope="module")
def runs(few_digits: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluator, a conditional generator whose training it measured, and a plain one."""
    root = tmp_path_factory.mktemp("runs")
    GanEvaluator("mnist-extract", epochs=1).run(session(root / "evaluator"))
    changed(conditional=True, evaluator=root / "evaluator").run(session(root / "conditional"))
    TRAIN.run(session(root / "plain"))
    return root

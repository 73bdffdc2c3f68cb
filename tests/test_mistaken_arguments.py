"""What a person mistakes from Python: an argument of another type is refused in one line that names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import deepscope
from deepscope.errors import DataError, DeepscopeError, SettingError
from networks import tiny_model

ds: Any = deepscope  # mistakes that types would show

IMAGE = np.zeros((8, 8, 3), np.uint8)
BLACK = torch.zeros(1, 3, 8, 8)


MODEL = tiny_model(size=16)
PIXELS = MODEL.preprocessing
LABELS = ds.wrap(MODEL.network, preprocessing=PIXELS, head="multilabel")


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: ds.Session.open(seed="a"), SettingError, "seed must be a whole number"),
        (lambda: ds.Session.open(seed=1.5), SettingError, "seed must be a whole number"),
        (lambda: ds.classify(MODEL, IMAGE, session="cpu"), SettingError, "Session.open"),
        (lambda: ds.classify(MODEL, BLACK.to_sparse()), DataError, "sparse_coo"),
        (lambda: ds.classify(MODEL, BLACK.to("meta")), DataError, "meta"),
        (lambda: ds.classify(MODEL, BLACK.to(torch.complex64)), DataError, "complex64"),
        (lambda: ds.attacks.PGD(steps="3"), SettingError, "steps must be a whole number"),
        (lambda: ds.attacks.PGD(steps=2.5), SettingError, "steps must be a whole number"),
        (lambda: ds.attacks.PGD(steps=True), SettingError, "steps must be a whole number"),
        (lambda: ds.attacks.PGD(radius=None), SettingError, "radius must be a number"),
        (lambda: ds.attack(MODEL, IMAGE, 5), SettingError, "name of a method .attack."),
        (lambda: ds.attack(MODEL, IMAGE, ds.attacks.PGD), SettingError, r"write PGD\(\)"),
        (lambda: ds.explain(MODEL, IMAGE, method=5), SettingError, "name of a method .attribution."),
        (lambda: ds.audit(MODEL, [(IMAGE, 0)], checks=5), SettingError, "checks must be names"),
        (lambda: ds.load_model(head=5), SettingError, "head must be softmax"),
        (lambda: ds.load_model(thresholds=object()), SettingError, "thresholds must be numbers"),
        (
            lambda: ds.wrap(MODEL.network, head="sigmoid", preprocessing=MODEL.preprocessing),
            SettingError,
            "head must be",
        ),
        (lambda: ds.classify(LABELS, IMAGE, labels=5), SettingError, "labels must be the path"),
        (lambda: ds.visualize(MODEL, 5.5), SettingError, "targets must be classes"),
    ],
)
def test_an_argument_of_another_type_is_refused(
    call: Callable[[], object], error: type[DeepscopeError], text: str
) -> None:
    with pytest.raises(error, match=text):
        call()


def test_numbers_of_numpy_are_numbers() -> None:
    assert ds.attacks.PGD(steps=np.int64(3), radius=np.float32(0.5)).steps == 3

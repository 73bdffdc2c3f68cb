"""Statistics are the same however they are merged."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepscope import statistics
from deepscope.batch.tally import MOST, Tally

VALUES = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=1, max_size=40)


def tally_of(values: list[float]) -> Tally:
    found = Tally()
    for value in values:
        found.count("images")
        found.count("large", value > 0)
        found.measure("value", value)
        if math.isfinite(value):
            found.example(value, str(value).encode(), f"{value}.png", "")
    return found


@given(VALUES, st.randoms(use_true_random=False), st.integers(1, 7))
def test_every_cut_and_order_gives_the_same(values: list[float], random, size: int) -> None:
    parts = [tally_of(values[start : start + size]) for start in range(0, len(values), size)]
    random.shuffle(parts)
    merged = Tally()
    for part in parts:
        merged.add(Tally.from_json(json.loads(json.dumps(part.to_json()))))
    assert merged.to_json() == tally_of(values).to_json()
    finite = {str(value): value for value in values if math.isfinite(value)}  # 0 and -0 are two images
    assert [score for score, *_ in merged.examples] == sorted(finite.values(), reverse=True)[:MOST]


def test_a_mean_is_that_of_numpy() -> None:
    values = np.random.default_rng(0).normal(3, 2, 500)
    found = tally_of(values.tolist()).mean("value")
    half = 1.959964 * values.std(ddof=1) / math.sqrt(len(values))
    assert (found.value, found.low, found.high) == pytest.approx(
        (values.mean(), values.mean() - half, values.mean() + half), rel=1e-6
    )
    assert math.isnan(Tally().mean("value").value)


def test_the_interval_of_a_single_value_is_that_of_the_plain_commands() -> None:
    found = tally_of([3.0]).mean("value")
    plain = statistics.mean([3.0])
    assert (found.value, found.low, found.high) == (plain.value, plain.low, plain.high) == (3, -math.inf, math.inf)


def test_an_example_without_a_score_has_no_place_among_the_most_telling() -> None:
    found = Tally()
    for number in range(MOST):
        found.example(math.nan, bytes([number]), f"{number}.png", "")
        found.example(number, bytes([number]), f"{number}.png", "")
    assert [score for score, *_ in found.examples] == [float(number) for number in reversed(range(MOST))]

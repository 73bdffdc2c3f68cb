"""The figures of the sanity check."""

from __future__ import annotations

import numpy as np
import pytest

from deepscope.attributions import SanityCheck
from deepscope.presenters.sanity import sanity_blocks
from deepscope.results import Curves
from networks import tiny_model


def _check(methods: int) -> SanityCheck:
    rng = np.random.default_rng(0)
    left = np.roll(np.linspace(0.9, 0.1, methods), 3)  # the given order is not that of the margins
    survived = {f"method-{n}": np.stack([left[n] + rng.normal(0, 0.01, 6), np.zeros(6)]) for n in range(methods)}
    return SanityCheck(tiny_model(), survived, (0.5, 1.0))


@pytest.mark.parametrize(("methods", "sizes"), [(1, [1]), (8, [8]), (9, [5, 4]), (17, [6, 6, 5])])
def test_many_methods_are_divided_among_figures(methods: int, sizes: list[int]) -> None:
    figures = [block for block in sanity_blocks(_check(methods)) if isinstance(block, Curves)]
    assert [len(figure.series) for figure in figures] == sizes
    assert len({figure.title for figure in figures}) == len(sizes)
    names = [series.label for figure in figures for series in figure.series]
    given = [f"method-{n}" for n in range(methods)]
    assert sorted(names) == sorted(given)
    margins = [_check(methods).found[name].margin.value for name in names]
    assert names == given if len(sizes) == 1 else margins == sorted(margins)
    assert all(("those that pass come first" in figure.caption) == (len(sizes) > 1) for figure in figures)

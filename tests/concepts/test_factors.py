"""Factorisation and total indices, against planted parts and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from deepscope.concepts.factors import factorise, total_indices


def planted(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(300, 12) activations that are sums of three parts of separate channels, and the parts."""
    rng = np.random.default_rng(seed)
    parts = np.zeros((3, 12))
    for number in range(3):
        parts[number, 4 * number : 4 * number + 4] = rng.uniform(0.5, 1.5, 4)
    parts /= np.linalg.norm(parts, axis=1)[:, None]
    amounts = rng.exponential(size=(300, 3)) * (rng.random((300, 3)) < 0.5)
    return (amounts @ parts).astype(np.float32), parts


@pytest.mark.parametrize("shift", [0.0, -2.0])
def test_planted_parts_are_recovered(shift: float) -> None:
    activations, parts = planted()
    found = factorise(activations + np.float32(shift), 3, seed=0)
    alike = found.bank @ parts.T
    assert alike.max(0).min() > 0.98 and sorted(alike.argmax(1)) == [0, 1, 2]
    assert found.explained > 0.99
    assert bool(found.floor.any()) == (shift < 0)
    coefficients = found.coefficients(activations[:50] + np.float32(shift))
    np.testing.assert_allclose(coefficients @ found.bank + found.floor, activations[:50] + shift, atol=0.05)
    assert coefficients.min() >= 0


def test_the_floor_is_zero_unless_an_activation_is_negative() -> None:
    activations, _ = planted()
    assert not factorise(activations + 1, 3, seed=0).floor.any()


def test_total_indices_of_a_sum_are_the_shares_of_the_variance() -> None:
    """Of f = sum of a_i u_i: a_i squared, over the sum of squares."""
    weights = np.array([3.0, -2.0, 1.0, 0.0])
    found = total_indices(lambda points: points @ weights, 4, designs=256, seed=0)
    np.testing.assert_allclose(found, weights**2 / np.square(weights).sum(), atol=0.02)


def test_total_indices_count_interactions() -> None:
    """Of f = u_1 u_2: the variance left where u_2 is known is E[u_2^2] Var u_1 = 1/36, of 7/144 in all."""
    found = total_indices(lambda points: points[:, 0] * points[:, 1], 3, designs=512, seed=1)
    np.testing.assert_allclose(found, [4 / 7, 4 / 7, 0], atol=0.02)


def test_a_constant_depends_on_nothing() -> None:
    assert not total_indices(lambda points: np.full(len(points), 7.0), 3, designs=8, seed=0).any()

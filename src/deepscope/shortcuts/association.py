"""Which properties differ between groups of images, by a permutation test that controls all comparisons together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Associations:
    """How P properties differ between each of G groups and the other images.

    Attributes:
        auroc: (P, G) the chance that a property is larger for an image of the group than for another one of the same
            stratum; 0.5 where it does not differ.
        p_values: (P, G) adjusted for all P x G comparisons.
    """

    auroc: NDArray[np.float64]
    p_values: NDArray[np.float64]


def associations(
    values: NDArray[np.float64],
    groups: NDArray[np.bool_],
    strata: NDArray[np.int64],
    *,
    draws: int,
    rng: np.random.Generator,
) -> Associations:
    """Compare each group with the other images, property by property.

    The statistic is the rank sum of the group (Wilcoxon; van Elteren where there are strata), standardised. Groups are
    permuted within strata, and the largest statistic of each permutation gives p-values adjusted for all comparisons
    (Westfall and Young, "Resampling-Based Multiple Testing", 1993): where nothing differs, the chance that any of them
    is at most 0.05 is at most 0.05, whatever the dependence between properties.

    Args:
        values: (N, P) properties; NaN where one is not known.
        groups: (N, G) which images are in each group.
        strata: (N,) images are compared with those of the same number.
        draws: permutations.
        rng: draws them.
    """
    ranks = _ranks(values, strata)
    spread = _spread(ranks, groups, strata)
    observed = _standardised(ranks, groups, spread)
    exceeded = np.zeros_like(observed)
    members = [np.flatnonzero(strata == number) for number in np.unique(strata)]
    for _ in range(draws):
        order = np.arange(len(strata))
        for rows in members:
            order[rows] = rng.permutation(rows)
        exceeded += np.abs(_standardised(ranks, groups[order], spread)).max() >= np.abs(observed) - 1e-9
    return Associations(_auroc(values, groups, members), (1 + exceeded) / (1 + draws))


def _ranks(values: NDArray[np.float64], strata: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N, P) ranks within strata, centred, over the stratum's size; 0 where a value is not known."""
    from scipy import stats

    ranks = np.zeros_like(values)
    for number in np.unique(strata):
        rows = np.flatnonzero(strata == number)
        found = stats.rankdata(values[rows], axis=0, nan_policy="omit")
        ranks[rows] = (found - np.nanmean(np.where(np.isnan(found).all(0), 0, found), axis=0)) / (len(rows) + 1)
    return np.nan_to_num(ranks)


def _spread(ranks: NDArray[np.float64], groups: NDArray[np.bool_], strata: NDArray[np.int64]) -> NDArray[np.float64]:
    """(P, G) the rank sums' standard deviations over permutations within strata."""
    variance = np.zeros((ranks.shape[1], groups.shape[1]))
    for number in np.unique(strata):
        rows = strata == number
        count, inside = int(rows.sum()), groups[rows].sum(0)
        if count > 1:
            squares = np.square(ranks[rows] - ranks[rows].mean(0)).sum(0)
            variance += squares[:, None] * (inside * (count - inside) / (count * (count - 1)))
    return np.sqrt(variance)


def _standardised(
    ranks: NDArray[np.float64], groups: NDArray[np.bool_], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    sums = ranks.T @ groups.astype(float)
    return np.divide(sums, spread, out=np.zeros_like(sums), where=spread > 1e-12)


def _auroc(
    values: NDArray[np.float64], groups: NDArray[np.bool_], members: Sequence[NDArray[np.int64]]
) -> NDArray[np.float64]:
    """(P, G) of all pairs of an image in the group and one outside of it, in the same stratum."""
    from scipy import stats

    won, pairs = np.zeros((2, values.shape[1], groups.shape[1]))
    for rows in members:
        known = ~np.isnan(values[rows])
        ranks = np.nan_to_num(stats.rankdata(values[rows], axis=0, nan_policy="omit"))
        inside = known.T.astype(float) @ groups[rows]
        outside = known.sum(0)[:, None] - inside
        won += np.nan_to_num(ranks).T @ groups[rows] - inside * (inside + 1) / 2
        pairs += inside * outside
    return np.divide(won, pairs, out=np.full_like(won, 0.5), where=pairs > 0)

"""The Frechet distance of two sets of features, taken as Gaussians (Heusel et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from deepscope.errors import DataError


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of features (N, D) and (M, D), in double precision.

    The trace of the root is the sum of the singular values of A^T B, where S1 = A A^T and S2 = B B^T, so no matrix
    root is needed, and no regularisation of singular covariances.

    Raises:
        DataError: a set has fewer than two rows.
    """
    if min(len(first), len(second)) < 2:
        raise DataError("a Frechet distance needs at least two images on each side")
    (mean1, root1), (mean2, root2) = _moments(first), _moments(second)
    shared = torch.linalg.svdvals(root1 @ root2.T).sum()
    distance = (mean1 - mean2).square().sum() + root1.square().sum() + root2.square().sum() - 2 * shared
    return max(float(distance), 0.0)


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and a root (R, D) of the covariance: root^T root is it."""
    values = features.double()
    mean = values.mean(0)
    return mean, torch.linalg.qr((values - mean) / (len(values) - 1) ** 0.5, mode="r").R

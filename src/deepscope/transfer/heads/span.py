"""Lossless dimension reduction: the space that the training images span."""

from __future__ import annotations

import torch
from torch import Tensor


def span(features: Tensor) -> tuple[Tensor, Tensor | None]:
    """Coordinates (N, N) of the features in an orthonormal basis of the space that they span, and the basis (D, N).

    Inner products are kept, so a linear classifier with L2 regularisation is the same there: its weights times
    the transposed basis are its weights here. The features themselves and None where D is not above N.
    """
    if features.shape[1] <= len(features):
        return features, None
    basis, triangle = torch.linalg.qr(features.T)
    return triangle.T.contiguous(), basis

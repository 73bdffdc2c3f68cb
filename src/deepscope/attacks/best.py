"""The best point that an attack has found for each image."""

from __future__ import annotations

import torch
from torch import Tensor


class Best:
    """Keeps, for each row, the point of highest value so far. Rows for which nothing was offered keep the start."""

    def __init__(self, start: Tensor) -> None:
        self.points = start.clone()
        self.value = torch.full((len(start),), -torch.inf, device=start.device, dtype=start.dtype)

    def offer(self, rows: Tensor, points: Tensor, value: Tensor) -> None:
        """Keep points (n, ...) of `rows` (n,) whose value (n,) exceeds the best so far; -inf never does."""
        better = value.to(self.value) > self.value[rows]
        self.value[rows[better]] = value[better].to(self.value)
        self.points[rows[better]] = points[better]

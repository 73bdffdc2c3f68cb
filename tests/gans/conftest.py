from __future__ import annotations

import pytest
from torch import Tensor

from deepscope.gans import convolution


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Sizes of the small images of each weights' gradient that is computed as a product, as they come."""
    sizes: list[tuple[int, ...]] = []
    product = convolution._to_weight

    def counted(large: Tensor, small: Tensor) -> Tensor:
        sizes.append(tuple(small.shape))
        return product(large, small)

    monkeypatch.setattr(convolution, "_to_weight", counted)
    return sizes

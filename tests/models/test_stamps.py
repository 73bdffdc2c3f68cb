"""A stamp changes with every number of a tensor, and with nothing else."""

from __future__ import annotations

import pytest
import torch

from deepscope.models.stamps import stamp

TENSORS = {
    "odd": lambda: torch.randn(7, 3),
    "even": lambda: torch.randn(4, 4),
    "single": lambda: torch.tensor(3.0),
    "counter": lambda: torch.tensor(3),
    "channels last": lambda: torch.randn(6, 5, 3, 3).contiguous(memory_format=torch.channels_last),
    "transposed": lambda: torch.randn(40, 30).t(),
    "a part": lambda: torch.randn(40, 30)[3:9, 2:5],
    "double": lambda: torch.randn(5).double(),
    "half": lambda: torch.randn(5, 3).half(),
    "bfloat16": lambda: torch.randn(50, 3).bfloat16(),
    "bytes": lambda: torch.arange(11, dtype=torch.uint8),
    "flags": lambda: torch.tensor([True, False, True] * 5),
    "NaN": lambda: torch.full((40,), torch.nan),
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_stamp_sees_every_number(name: str) -> None:
    tensor = TENSORS[name]()
    before = stamp(tensor)
    assert stamp(tensor) == before
    seen = {before}
    for place in torch.cartesian_prod(*(torch.arange(side) for side in (*tensor.shape, 1))).reshape(tensor.numel(), -1):
        where = tuple(place[: tensor.ndim].tolist())
        kept = tensor.data[where].clone()
        tensor.data[where] = ~kept if tensor.dtype == torch.bool else torch.where(kept.isnan(), 0, kept + 1)
        found = stamp(tensor)
        assert found != before and found[:2] == before[:2]
        seen.add(found)
        tensor.data[where] = kept
        assert stamp(tensor) == before
    assert len(seen) > 1


def test_a_stamp_of_nothing_and_of_tensors_without_a_version() -> None:
    assert stamp(torch.zeros(0, 3)) != stamp(torch.zeros(0, 3).add_(1))
    with torch.inference_mode():
        made = torch.zeros(20)
    before = stamp(made)
    with torch.inference_mode():
        made[7] = 1
    assert stamp(made) != before

"""Whether the numbers of a tensor are still those that something was prepared from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

_COMPARED = 16
"""Numbers that are compared one by one."""
Stamp = tuple[int, int, int, bytes]


def stamp(tensor: Tensor) -> Stamp:
    """What changes when a strided tensor gets other memory or other numbers.

    What is written through `tensor.data` raises no version, and tensors made in inference mode have none, so the
    numbers count too: on the CPU by the exact sum of all their bits, which takes a few percent of a forward pass,
    elsewhere by a few of them. A change that only swaps numbers keeps the sum, and is seen where it moves one of those
    few.

    Returns:
        address, version, sum, and a few of the numbers.
    """
    values = tensor.detach()
    count = 1 + sum((n - 1) * step for n, step in zip(values.shape, values.stride())) if values.numel() else 0
    flat = values.as_strided((count,), (1,))  # in the order of memory, so that nothing is copied
    some = flat[:: max(1, count // _COMPARED)][:_COMPARED].cpu().contiguous().view(torch.uint8).numpy().tobytes()
    total = _sum(flat.view(torch.uint8).numpy()) if values.device.type == "cpu" else 0
    return values.data_ptr(), -1 if tensor.is_inference() else tensor._version, total, some


def _sum(content: np.ndarray[Any, np.dtype[np.uint8]]) -> int:
    """Of the bits as whole numbers of 8 bytes, and of the bytes that are left."""
    whole = content.size // 8 * 8
    return int(content[:whole].view(np.int64).sum()) + int(content[whole:].sum())

"""Whether the numbers of a tensor are still those that something was prepared from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_COMPARED = 16
"""Numbers that are compared one by one."""
_NUMPYS = frozenset({torch.float16, torch.float32, torch.float64, torch.int8, torch.int32, torch.int64, torch.uint8})
Stamp = tuple[int, int, int, bytes]


def stamp(tensor: Tensor) -> Stamp:
    """What changes when a strided tensor gets other memory or other numbers.

    What is written through `tensor.data` raises no version, and tensors made in inference mode have none, so the
    numbers count too: on the CPU by the exact sum of all their bits, which takes 4 % of a gradient of one image,
    elsewhere by a few of them. A change that only swaps numbers keeps the sum, and is seen where it moves one of those
    few.

    Returns:
        address, version, sum, and a few of the numbers.
    """
    values, version = tensor.detach(), -1 if tensor.is_inference() else tensor._version
    if values.device.type != "cpu":
        step = max(1, values.numel() // _COMPARED)
        some = values.flatten()[::step][:_COMPARED].cpu().contiguous().view(torch.uint8).numpy()
        return values.data_ptr(), version, 0, some.tobytes()
    flat = _flat(values)
    return values.data_ptr(), version, _sum(flat), flat[:: max(1, flat.size // _COMPARED)][:_COMPARED].tobytes()


def _flat(values: Tensor) -> NDArray[Any]:
    """The numbers in the order of memory, so that those of NumPy's types are not copied."""
    if values.dtype in _NUMPYS:
        return values.numpy().ravel("K")
    return values.contiguous().flatten().view(torch.uint8).numpy()


def _sum(flat: NDArray[Any]) -> int:
    """Of the bits, as whole numbers of 8 bytes and the bytes that are left."""
    whole = flat.size - flat.size % (8 // flat.itemsize)
    return int(np.add.reduce(flat[:whole].view(np.int64))) + int.from_bytes(flat[whole:].tobytes(), "little")

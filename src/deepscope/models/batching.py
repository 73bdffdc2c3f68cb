"""The one place that sizes batches: as large as memory allows, smaller where it runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from deepscope.errors import SettingError, out_of_memory

Output = TypeVar("Output")

CPU_BUDGET = 3 * 2**27
"""Bytes of activations beyond which larger batches are slower on a CPU, because each allocates memory again."""
GPU_BUDGET = 3 * 2**34
"""Bytes of activations that keep a large GPU busy: beyond them, batches only become harder to prepare ahead."""


_Watcher = Callable[[int, int], object]
_watching: ContextVar[_Watcher | None] = ContextVar("watching", default=None)


@contextmanager
def watched(watcher: _Watcher) -> Iterator[None]:
    """Calls `watcher(rows, total)` after each batch that this thread runs inside: the rows of the batch, and of all.

    What the watcher raises ends the computation, so it can cancel one of many passes.
    """
    token = _watching.set(watcher)
    try:
        yield
    finally:
        _watching.reset(token)


def batches(
    total: int, run: Callable[[slice], Output], *, size: int, measured_on: torch.device | None = None
) -> Iterator[tuple[slice, Output]]:
    """Run rows 0 to `total` in batches. One that runs out of memory is halved and tried again.

    Args:
        total: number of rows.
        run: takes a slice of rows, gives their result. It may be called again with a shorter slice.
        size: rows per batch.
        measured_on: where given, only the first batch has `size` rows. It is measured, and the rest sized by it to
            `memory_budget` of this device: on a GPU to a power of two, so that what other processes hold there seldom
            changes the batches, and with them the last digits.

    Raises:
        SettingError: memory does not suffice for a single row.

    Yields:
        each slice and what `run` gave for it, in order.
    """
    start, size = 0, min(size, total)
    device = measured_on if size < total else None
    while start < total:
        rows = slice(start, min(start + size, total))
        try:
            if device is None:
                output = run(rows)
            else:
                with _Written() as written:
                    output = run(rows)
                size = max(1, memory_budget(device) * size // max(1, written.bytes))
                size = size if device.type == "cpu" else 1 << (size.bit_length() - 1)
                device = None
        except Exception as error:
            if not out_of_memory(error):
                raise
            if (size := (rows.stop - rows.start) // 2) < 1:
                text = "is too small: not even one image fits into its memory; choose a smaller model, or cpu"
                raise SettingError("device", text) from None
            continue
        if watcher := _watching.get():
            watcher(rows.stop - rows.start, total)
        yield rows, output
        start = rows.stop


def in_parts(run: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """`run` on the whole batch, or on smaller and smaller parts while memory runs out.

    Raises:
        SettingError: memory does not suffice for a single image.
    """
    if not len(pixels):
        return run(pixels)
    return torch.cat([found for _, found in batches(len(pixels), lambda rows: run(pixels[rows]), size=len(pixels))])


def memory_budget(device: torch.device) -> int:
    """Bytes that the activations of one batch may take: of a GPU, at most half of what is free."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # free for this process alone
        return min(GPU_BUDGET, (free + idle) // 2)
    return min(CPU_BUDGET, psutil.virtual_memory().total // 4)


class _Written(TorchDispatchMode):
    """Counts the bytes of what operations return: an upper bound of what the graph of a batch holds."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if isinstance(output, Tensor) and not func.is_view:
            self.bytes += output.nbytes
        return output

"""The one place where attribution methods run the network: batched to memory, never a parameter gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import CheckpointError

from deepscope.errors import out_of_memory
from deepscope.models.fast_backward import FastBackward
from deepscope.models.prediction import smaller
from deepscope.models.vision_model import VisionModel

Output = TypeVar("Output")

FIRST_BATCH = 8
"""Rows of the first batch on a CPU, which is measured; what follows is as large as memory allows."""
FIRST_GPU_BATCH = 64
"""The same elsewhere, where a pass of few rows takes as long as one of many."""
CPU_BUDGET = 3 * 2**27
"""Bytes of activations beyond which larger batches are slower on a CPU, because each allocates memory again."""
GPU_BUDGET = 3 * 2**34
"""Bytes of activations that keep a large GPU busy: beyond them, batches only become harder to prepare ahead."""


def gradient(
    model: VisionModel, pixels: Tensor, target: Tensor, *, fast: FastBackward | None = None
) -> tuple[Tensor, Tensor]:
    """The gradient of each image's target logit with respect to its pixels, and the logit.

    Args:
        pixels: (N, 3, H, W).
        target: (N,) class indices.
        fast: what was prepared for many gradients of this model.

    Returns:
        (N, 3, H, W) gradients and (N,) logits.
    """

    def taken(fast: FastBackward) -> tuple[Tensor, Tensor]:
        leaf = pixels.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
        with torch.enable_grad():
            logit = fast.run(lambda: target_logit(model, leaf, target))
            (found,) = torch.autograd.grad(logit.sum(), leaf)
        return found, logit.detach()

    try:
        return taken(fast or FastBackward.on(pixels.device))
    except CheckpointError:  # the network runs parts of itself again in the backward pass, with the same result
        return taken(FastBackward(enabled=False))


def target_logit(model: VisionModel, pixels: Tensor, target: Tensor) -> Tensor:
    """(N,) logits of the target classes."""
    return model(pixels).gather(1, target[:, None]).squeeze(1)


def probability(model: VisionModel, pixels: Tensor, target: Tensor) -> Tensor:
    """(N,) softmax probabilities of the target classes; no gradient."""
    with torch.no_grad():
        logits = model(pixels.contiguous(memory_format=torch.channels_last))
        return logits.softmax(1).gather(1, target[:, None]).squeeze(1)


def batches(total: int, device: torch.device, run: Callable[[slice], Output]) -> Iterator[tuple[slice, Output]]:
    """Run rows 0 to `total` through the network in batches that fit into memory.

    The first, small batch is measured, and the rest sized by it to `memory_budget`: on a GPU to a power of two, so that
    what other processes hold there seldom changes the batches, and with them the last digits. A batch that runs out of
    memory nevertheless is halved and tried again.

    Args:
        run: takes a slice of rows, returns their result. It may be called again with a shorter slice.

    Raises:
        SettingError: memory does not suffice for a single row.

    Yields:
        each slice and what `run` gave for it, in order.
    """
    first = FIRST_BATCH if device.type == "cpu" else FIRST_GPU_BATCH
    start, size = 0, min(first, total)
    measured = total <= first
    while start < total:
        rows = slice(start, min(start + size, total))
        try:
            if measured:
                output = run(rows)
            else:
                with _Written() as written:
                    output = run(rows)
                size = max(1, memory_budget(device) * size // max(1, written.bytes))
                size = size if device.type == "cpu" else 1 << (size.bit_length() - 1)
                measured = True
        except Exception as error:
            if not out_of_memory(error):
                raise
            size = smaller(rows.stop - rows.start)
            continue
        yield rows, output
        start = rows.stop


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

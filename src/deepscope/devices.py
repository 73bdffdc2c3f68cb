"""The device of this process, and the other processes that a launcher started beside it."""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import torch

from deepscope.errors import SettingError

Computed = TypeVar("Computed")

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of `mallopt`, from glibc's malloc.h."""


def of_rank(device: torch.device) -> torch.device:
    """The GPU of this process among those that a launcher started on the machine, by `LOCAL_RANK`.

    A device with a number, and one of a process that was started alone, is returned as it is.

    Raises:
        SettingError: the machine has fewer GPUs than processes.
    """
    rank = os.environ.get("LOCAL_RANK", "")
    if device.type != "cuda" or device.index is not None or not rank.isdecimal():
        return device
    count = torch.cuda.device_count()
    if count > 1 and int(rank) >= count:
        problem = f"cuda has {count} GPUs on this machine, and this is process {int(rank) + 1}: start one per GPU"
        raise SettingError("device", problem)
    return torch.device("cuda", int(rank) if count > 1 else 0)  # where a process sees one GPU, it is its own


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch computes on the CPU with one thread inside the block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def device_named(name: str) -> torch.device:
    """A device of this machine: "auto" (CUDA, then Apple's MPS, then CPU) or any PyTorch device name.

    Raises:
        SettingError: there is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return of_rank(torch.device("cuda"))
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = of_rank(torch.device(name))
        torch.zeros(1, device=device).item()  # "meta" exists, but holds no values
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).partition("\n")[0]
        raise SettingError("device", f"{name!r} cannot be used here ({reason}): try cpu") from None
    return device


def repeatable() -> None:
    """Set PyTorch so that the same seed gives the same bits on the same CUDA device, in the whole process.

    Operations take their deterministic algorithms where they have one, which costs some speed. cuBLAS reads its
    variable before its first product; one that is set already stays.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    deterministic: Any = torch.utils.deterministic
    deterministic.fill_uninitialized_memory = False  # no one here reads memory before writing it
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    warnings.filterwarnings("ignore", message=".* does not have a deterministic implementation", category=UserWarning)


def reuse_freed_memory() -> None:
    """Let the C library keep what is freed for the next allocation, in the whole process; up to 512 MB of it.

    glibc returns freed memory to the system early, and Linux fills each page with zeros again before the next batch
    uses it: a tenth of the processor time of a small network's training on an AMD EPYC. Other C libraries stay as they
    are.
    """
    with suppress(OSError, AttributeError, TypeError):  # Windows, macOS and musl have no such function
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_MMAP_THRESHOLD, 32 << 20)  # the largest that glibc takes
        allocator.mallopt(_TRIM_THRESHOLD, 512 << 20)


def first_process() -> bool:
    """Whether this is the process that writes and speaks: the only one, or under `torchrun` the first."""
    return os.environ.get("RANK", "0") == "0"


def processes() -> int:
    """How many processes share the work: more than one under `torchrun`."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def wait_for_others() -> None:
    """Under `torchrun`, wait until every process has come this far."""
    if processes() > 1:
        from accelerate import PartialState

        PartialState()  # joins the processes, where this one has not yet
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()  # without the device that accelerate names, which a process on the CPU may not have


def computed_once(compute: Callable[[], Computed]) -> Computed:
    """The result of `compute`; under `torchrun` the first process computes it and sends it to the others.

    All processes must come here. An error of the first one is raised in all of them.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return compute()
    from accelerate.utils import broadcast_object_list

    wait_for_others()
    sent: list[Any] = [None, None]
    if first_process():
        try:
            sent[0] = compute()
        except Exception as error:
            sent[1] = error
    sent = broadcast_object_list(sent, from_process=0)
    if sent[1] is not None:
        raise sent[1]
    return sent[0]

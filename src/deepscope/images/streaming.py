"""Many images: read ahead in threads, in order, in batches, in constant memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from deepscope.errors import DeepscopeError
from deepscope.images.refusals import Exhausted, Skipped, UnreadableImage, label, shortage

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Consecutive readable images.

    Attributes:
        rows: each image's place in the list that was given to `stream`. Empty only where not one
            image was readable: then this is the only batch.
        pixels: (N, ...) stacked output of `read`, N = len(rows); (0,) without rows.
        skipped: images met while filling this batch that could not be read.
    """

    rows: tuple[int, ...]
    pixels: torch.Tensor
    skipped: tuple[Skipped, ...]


def stream(
    sources: Iterable[T],
    read: Callable[[T], torch.Tensor | None],
    *,
    batch_size: int,
    name: Callable[[T], str] | None = None,
    threads: int | None = None,
    pinned: bool = False,
) -> Generator[Batch, None, None]:
    """Read images in order, in batches of up to `batch_size` readable ones.

    Memory is constant: besides the batch in use, at most one batch and one image per thread are held.
    A bad image takes no row and is listed in `skipped`: one for which `read` raises a `DeepscopeError`. Other
    errors are raised, and so is `Exhausted`: the image may be good. A batch ends early where the shape
    changes. Closing the iterator stops the threads.

    Args:
        sources: what to read; drawn lazily, so it may be endless.
        read: source -> tensor, such as a model's `Preprocessing`, or None for an image that takes no row (its result is
            known already, say); called from several threads.
        batch_size: readable images in a batch, 1 or more.
        name: source -> what to call it in `skipped`; by default its file, or its place.
        threads: that read; None takes `decoding_threads()`.
        pinned: put batches into page-locked memory, from which CUDA copies several times faster.

    Raises:
        Exhausted: memory or file handles ran out, or the disk failed.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, not 1 or more")

    def attempt(row: int, source: T) -> torch.Tensor | Skipped | None:
        called = name(source) if name else _name(row, source)
        try:
            return read(source)
        except Exhausted:
            raise
        except DeepscopeError as error:
            return Skipped(called, error.reason if isinstance(error, UnreadableImage) else str(error))
        except Exception as error:
            if not (text := shortage(called, error)):
                raise
        raise Exhausted(text)

    rows: list[int] = []
    tensors: list[torch.Tensor] = []
    skipped: list[Skipped] = []

    def batch() -> Batch:
        made = Batch(tuple(rows), _stacked(tensors, pinned) if tensors else torch.empty(0), tuple(skipped))
        for filled in (rows, tensors, skipped):
            filled.clear()
        return made

    for row, outcome in enumerate(_ahead(attempt, sources, threads or decoding_threads(), batch_size)):
        if outcome is None:
            continue
        if isinstance(outcome, Skipped):
            skipped.append(outcome)
            continue
        if rows and (len(rows) == batch_size or outcome.shape != tensors[0].shape):
            yield batch()
        rows.append(row)
        tensors.append(outcome)
    if rows or skipped:
        yield batch()


def _stacked(tensors: list[torch.Tensor], pinned: bool) -> torch.Tensor:
    first = tensors[0]
    place = torch.empty((len(tensors), *first.shape), dtype=first.dtype, pin_memory=True) if pinned else None
    return torch.stack(tensors, out=place)


def _ahead(
    read: Callable[[int, T], torch.Tensor | Skipped | None], sources: Iterable[T], threads: int, ahead: int
) -> Iterator[torch.Tensor | Skipped | None]:
    """`read` of each source, in order; up to `ahead` results and one running read per thread are held."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="deepscope-images")
    waiting: deque[Future[torch.Tensor | Skipped | None]] = deque()
    try:
        for row, source in enumerate(sources):
            waiting.append(pool.submit(read, row, source))
            if len(waiting) >= ahead + threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _name(row: int, source: object) -> str:
    return label(source) if isinstance(source, (str, Path)) else f"image {row}"


def decoding_threads() -> int:
    """One for each core this process may use, up to 8."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, 8)

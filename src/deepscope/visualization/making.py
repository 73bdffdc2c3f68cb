"""Making many class images: in batches, with progress, saved on ctrl-C, resumed where they stopped."""

from __future__ import annotations

import dataclasses
import io
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deepscope.ascent import Streams
from deepscope.errors import SettingError, out_of_memory
from deepscope.kept import Cache, digest, identity
from deepscope.models.batching import batches
from deepscope.session import Advance, Session
from deepscope.visualization.climb import climb
from deepscope.visualization.objectives import Objective
from deepscope.visualization.recipe import Recipe

_SAVED_EVERY = 10.0
"""Seconds after which unfinished images are saved again."""
_SHARED = 16
"""Images whose statistics are matched as one batch: each class is a small part of it, and memory suffices."""


@dataclass(frozen=True, eq=False)
class Made:
    """The images, and the course of the ascent.

    Attributes:
        pixels: (N, 3, H, W) in [0, 1], on the CPU; fewer than requested where ctrl-C came first.
        watched: (T, N) the class's probability (or the activation) before every step and after the last; NaN for
            steps that were not made because of ctrl-C.
        frames: (F, N, 3, H, W) uint8, the images after some steps; F is 0 where none were requested.
        frame_steps: the step of each frame.
        complete: False where ctrl-C came before the end.
        seconds: spent, in this run.
        kept: the folder of the cache that the same call resumes from; removed once all images are made, unless `keep`.
    """

    pixels: Tensor
    watched: Tensor
    frames: Tensor
    frame_steps: tuple[int, ...]
    complete: bool
    seconds: float
    kept: Path


def make_images(
    objective: Objective,
    recipe: Recipe,
    labels: Sequence[str],
    session: Session,
    *,
    start: Tensor | None = None,
    batch_size: int = 8,
    frame_steps: Sequence[int] = (),
    keep: bool = False,
) -> Made:
    """Make every image of an objective.

    An image depends on the session's seed and its label, not on the batch it comes in, unless the recipe matches
    statistics of a batch. Unfinished images are saved to the session's cache every few seconds and on ctrl-C; the same
    call resumes them.

    Args:
        objective: what each of N images must excite.
        recipe: how.
        labels: N different names, each identifying its image among those of the same model and recipe: the class, or
            the layer and channel, and the seed. Each gives its image a random stream of its own.
        start: (N, 3, H, W) pixels to start from; noise where None.
        batch_size: images per batch; halved where memory runs out. Where the recipe matches statistics, batches have
            about 16 images instead.
        frame_steps: ascending numbers of steps after which the images are returned as well.
        keep: leave finished images in the cache, so that the same call returns them again at once.

    Raises:
        DeepscopeError: the recipe does not fit the network.
        SettingError: there is not enough memory.
        KeyboardInterrupt: ctrl-C came before any image was begun.
    """
    began = time.monotonic()
    work = _Work(objective, recipe, tuple(labels), session, start, tuple(frame_steps))
    steps, complete = recipe.iterations, True

    def make(rows: slice) -> _Trace:
        nonlocal complete
        trace = _Trace()
        try:
            work.climb(rows, trace, advance)
        except KeyboardInterrupt:
            complete = False
            work.save(rows, trace)
        except Exception as error:
            count = rows.stop - rows.start
            if out_of_memory(error) and (count == 1 or recipe.batch_norm):
                few = f"{count} image{'s' if count > 1 else ''}"
                raise SettingError("view", f"must be smaller: there is not enough memory for {few}") from None
            raise
        return trace

    size, finished = _together(len(labels)) if recipe.batch_norm else batch_size, list[_Trace]()
    with session.progress("starting", total=steps * len(labels)) as advance:
        for _, trace in batches(len(labels), make, size=size):
            finished += [trace] if trace.watched else []
            if not complete:
                break
    if not finished:
        raise KeyboardInterrupt
    if complete and not keep:
        work.forget()
    return Made(
        pixels=torch.cat([trace.pixels for trace in finished]),
        watched=torch.cat([_padded(torch.stack(trace.watched), steps + 1) for trace in finished], dim=1),
        frames=torch.cat([trace.all_frames(len(frame_steps)) for trace in finished], dim=1),
        frame_steps=tuple(frame_steps),
        complete=complete,
        seconds=time.monotonic() - began,
        kept=work.folder,
    )


def watch_frames(made: Made, objective: Objective) -> Tensor:
    """(F, N): the class's probability (or the activation) on each frame as a whole; `Made.watched` is that of views."""
    device, count = objective.model.device, made.frames.shape[1]
    part, rows = objective.part(slice(0, count)), torch.arange(count, device=device)
    with torch.inference_mode():
        watched = [part(frame.to(device).float() / 255, rows)[1].float().cpu() for frame in made.frames]
    return torch.stack(watched) if watched else torch.empty(0, count)


class _Trace:
    """A batch, as far as it has come."""

    def __init__(self) -> None:
        self.pixels = torch.empty(0)
        self.watched: list[Tensor] = []
        self.frames: list[Tensor] = []
        self.resume: dict[str, Tensor] = {}

    def all_frames(self, count: int) -> Tensor:
        """(count, n, 3, H, W) uint8; those after ctrl-C show the last image."""
        missing = count - len(self.frames)
        none = torch.empty((0, *self.pixels.shape), dtype=torch.uint8)
        return torch.cat([none, *(frame[None] for frame in [*self.frames, *[_bytes(self.pixels)] * missing])])


@dataclass(frozen=True)
class _Work:
    objective: Objective
    recipe: Recipe
    labels: tuple[str, ...]
    session: Session
    start: Tensor | None
    frame_steps: tuple[int, ...]

    def climb(self, rows: slice, trace: _Trace, advance: Advance) -> None:
        """Fill `trace` with the steps of a batch, from where an earlier run left it."""
        self._load(rows, trace)
        labels = self.labels[rows]
        streams = Streams(tuple(self.session.rng("visualize", label) for label in labels))
        saved = time.monotonic()
        frames = climb(
            self.objective.part(rows),
            self.recipe,
            streams,
            start=None if self.start is None else self.start[rows],
            resume=trace.resume or None,
            bfloat16=self.session.precision == "bfloat16",
        )
        for frame in frames:
            trace.pixels, trace.resume = frame.pixels.cpu(), frame.resume
            del trace.watched[frame.step :]
            trace.watched.append(frame.watched.float().cpu())
            if frame.step in self.frame_steps:
                del trace.frames[self.frame_steps.index(frame.step) :]
                trace.frames.append(_bytes(trace.pixels))
            text = f"{labels[0]}{f' and {len(labels) - 1} more' if labels[1:] else ''}: {frame.watched.mean():.2f}"
            advance(len(labels) if frame.step else 0, text)
            if time.monotonic() - saved > _SAVED_EVERY:
                self.save(rows, trace)
                saved = time.monotonic()
        self.save(rows, trace)

    def save(self, rows: slice, trace: _Trace) -> None:
        """Write a batch to the cache."""
        if not trace.watched:
            return
        kept = {**trace.resume, "pixels": trace.pixels, "watched": torch.stack(trace.watched)}
        if trace.frames:
            kept["frames"] = torch.stack(trace.frames)
        memory = io.BytesIO()
        torch.save(kept, memory)
        self._cache.write(_name(rows), memory.getvalue())

    def forget(self) -> None:
        """Remove what was saved: all images are finished."""
        self._cache.remove("*.kept")

    def _load(self, rows: slice, trace: _Trace) -> None:
        if (content := self._cache.read(_name(rows))) is None:
            return
        kept = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        trace.pixels, trace.watched = kept.pop("pixels"), list(kept.pop("watched"))
        trace.frames = list(kept.pop("frames", ()))
        trace.resume = kept

    @property
    def _cache(self) -> Cache:
        return Cache(self.session, self.folder)

    @property
    def folder(self) -> Path:
        """The folder of exactly these images: its name depends on everything that they depend on."""
        about = {
            "model": self.objective.model.identity,
            "objective": type(self.objective).__name__,
            "recipe": dataclasses.asdict(self.recipe),
            "labels": self.labels,
            "frames": self.frame_steps,
            "start": None if self.start is None else digest(self.start),
        }
        return self.session.cache / "visualize" / identity(self.session, __name__, about)[:16]


def _together(images: int) -> int:
    """How many images share statistics: about 16, in batches of equal size."""
    return math.ceil(images / math.ceil(images / _SHARED))


def _name(rows: slice) -> str:
    """Of a batch's entry in the cache."""
    return f"{rows.start}-{rows.stop}.kept"


def _bytes(pixels: Tensor) -> Tensor:
    return (pixels * 255).round().byte()


def _padded(watched: Tensor, length: int) -> Tensor:
    missing = watched.new_full((length - len(watched), watched.shape[1]), float("nan"))
    return torch.cat([watched, missing])

"""Making many class images: in batches, with progress, kept on ctrl-C, continued where they stopped."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deepscope.ascent import Streams
from deepscope.errors import DeepscopeError, out_of_memory
from deepscope.kept import Cache, code_of
from deepscope.session import Advance, Session
from deepscope.visualization import Objective, Recipe, climb

_SAVED_EVERY = 10.0
"""Seconds between two savings of what is not finished."""
_SHARED = 16
"""Images whose statistics are matched as one batch: each class is a small part of it, and memory suffices."""


@dataclass(frozen=True)
class Images:
    """What was made.

    Attributes:
        pixels: (N, 3, H, W) in [0, 1], on the CPU; fewer than wanted where ctrl-C came first.
        watched: (T, N) the class's probability (or the activation) before every step and after the last; NaN for
            steps that ctrl-C left out.
        film: (F, N, 3, H, W) uint8, the images along the way; F is 0 where no film was wanted.
        film_steps: the step of each frame.
        complete: False where ctrl-C stopped the making.
        seconds: spent, in this run.
        kept: the folder of the cache that the same call goes on from; it is gone once all is made, unless `keep`.
    """

    pixels: Tensor
    watched: Tensor
    film: Tensor
    film_steps: tuple[int, ...]
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
    film: Sequence[int] = (),
    keep: bool = False,
) -> Images:
    """Make every image of an objective.

    An image depends on the session's seed and its label, not on the batch it comes in, unless the recipe matches
    statistics of a batch. What is not finished is saved
    to the session's cache every few seconds and on ctrl-C; the same call goes on from there.

    Args:
        objective: what each of N images shall excite.
        recipe: complete.
        labels: N different names, each all that tells its image from others of the same model and recipe: the class
            or the layer and channel, and the seed. Each gives its image a random stream of its own.
        start: (N, 3, H, W) pixels to start from; noise where None.
        batch_size: images at a time; halved where memory runs out. Where the recipe matches statistics, parts of about
            16 images take its place.
        film: rising numbers of steps, the images after which are kept as well.
        keep: leave what is finished in the cache, so that the same call gives it again at once.

    Raises:
        DeepscopeError: the recipe does not fit the network, or memory does not suffice.
    """
    began = time.monotonic()
    work = _Work(objective, recipe, tuple(labels), session, start, tuple(film))
    steps, finished = recipe.iterations or 0, list[_Trace]()
    first, size, complete = 0, _together(len(labels)) if recipe.batch_norm else batch_size, True
    with session.progress("starting", total=steps * len(labels)) as advance:
        while complete and first < len(labels):
            rows = slice(first, min(first + size, len(labels)))
            trace = _Trace()
            try:
                work.climb(rows, trace, advance)
            except Exception as error:
                if not out_of_memory(error):
                    raise
                if size == 1 or recipe.batch_norm:
                    count = rows.stop - first
                    raise DeepscopeError(f"memory does not suffice for {count} images: use a smaller --view") from None
                size = (size + 1) // 2
                continue
            except KeyboardInterrupt:
                complete = False
                work.save(rows, trace)
            finished += [trace] if trace.watched else []
            first = rows.stop
    if not finished:
        raise KeyboardInterrupt
    if complete and not keep:
        work.forget()
    return Images(
        pixels=torch.cat([trace.pixels for trace in finished]),
        watched=torch.cat([_padded(torch.stack(trace.watched), steps + 1) for trace in finished], dim=1),
        film=torch.cat([trace.whole_film(len(film)) for trace in finished], dim=1),
        film_steps=tuple(film),
        complete=complete,
        seconds=time.monotonic() - began,
        kept=work.folder,
    )


def watch_film(images: Images, objective: Objective) -> Tensor:
    """(F, N): the class's probability (or the activation) on each whole image of the film; views differ from it."""
    device, count = objective.model.device, images.film.shape[1]
    part, rows = objective.part(slice(0, count)), torch.arange(count, device=device)
    with torch.inference_mode():
        return torch.stack([part(frame.to(device).float() / 255, rows)[1].float().cpu() for frame in images.film])


class _Trace:
    """A batch on its way."""

    def __init__(self) -> None:
        self.pixels = torch.empty(0)
        self.watched: list[Tensor] = []
        self.film: list[Tensor] = []
        self.resume: dict[str, Tensor] = {}

    def whole_film(self, frames: int) -> Tensor:
        """(frames, n, 3, H, W) uint8; those that ctrl-C left out show the last image."""
        missing = frames - len(self.film)
        none = torch.empty((0, *self.pixels.shape), dtype=torch.uint8)
        return torch.cat([none, *(frame[None] for frame in [*self.film, *[_bytes(self.pixels)] * missing])])


@dataclass(frozen=True)
class _Work:
    objective: Objective
    recipe: Recipe
    labels: tuple[str, ...]
    session: Session
    start: Tensor | None
    film: tuple[int, ...]

    def climb(self, rows: slice, trace: _Trace, advance: Advance) -> None:
        """Fill `trace` with a batch's way, from where an earlier run left it."""
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
            if frame.step in self.film:
                del trace.film[self.film.index(frame.step) :]
                trace.film.append(_bytes(trace.pixels))
            text = f"{labels[0]}{f' and {len(labels) - 1} more' if labels[1:] else ''}: {frame.watched.mean():.2f}"
            advance(len(labels) if frame.step else 0, text)
            if time.monotonic() - saved > _SAVED_EVERY:
                self.save(rows, trace)
                saved = time.monotonic()
        self.save(rows, trace)

    def save(self, rows: slice, trace: _Trace) -> None:
        """Keep a batch for another day."""
        if not trace.watched:
            return
        kept = {**trace.resume, "pixels": trace.pixels, "watched": torch.stack(trace.watched)}
        if trace.film:
            kept["film"] = torch.stack(trace.film)
        memory = io.BytesIO()
        torch.save(kept, memory)
        self._cache.write(_name(rows), memory.getvalue())

    def forget(self) -> None:
        """Everything is finished: nothing needs to be continued."""
        self._cache.remove("*.kept")

    def _load(self, rows: slice, trace: _Trace) -> None:
        if (content := self._cache.read(_name(rows))) is None:
            return
        kept = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        trace.pixels, trace.watched = kept.pop("pixels"), list(kept.pop("watched"))
        trace.film = list(kept.pop("film", ()))
        trace.resume = kept

    @property
    def _cache(self) -> Cache:
        return Cache(self.session, self.folder)

    @property
    def folder(self) -> Path:
        """One folder for each set of images that this work could mean."""
        said = {
            "model": self.objective.model.fingerprint,
            "objective": type(self.objective).__name__,
            "recipe": dataclasses.asdict(self.recipe),
            "labels": self.labels,
            "session": (self.session.seed, self.session.precision, str(self.session.device), self.film),
            "code": code_of("deepscope.visualization"),
            "start": None if self.start is None else hashlib.sha256(self.start.cpu().numpy().tobytes()).hexdigest(),
        }
        return self.session.cache / "visualize" / hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def _together(images: int) -> int:
    """How many images share statistics: parts of equal size, of about 16."""
    return math.ceil(images / math.ceil(images / _SHARED))


def _name(rows: slice) -> str:
    """Of a batch's entry in the cache."""
    return f"{rows.start}-{rows.stop}.kept"


def _bytes(pixels: Tensor) -> Tensor:
    return (pixels * 255).round().byte()


def _padded(watched: Tensor, length: int) -> Tensor:
    missing = watched.new_full((length - len(watched), watched.shape[1]), float("nan"))
    return torch.cat([watched, missing])

"""The session: device, precision, seed, folders and progress of a run."""

from __future__ import annotations

import atexit
import functools
import hashlib
import multiprocessing
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeVar, cast, get_args

import platformdirs
import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from deepscope.devices import device_named, repeatable, reuse_freed_memory
from deepscope.errors import FileError, SettingError
from deepscope.names import one_line, printable
from deepscope.settings import FigureFormat

Precision = Literal["float32", "bfloat16"]
EngineName = Literal["auto", "torch", "compile", "onnxruntime", "openvino"]
T = TypeVar("T")


class Advance(Protocol):
    """Advances a progress bar, and renames it where a text is given."""

    def __call__(self, steps: float = 1, text: str | None = None) -> None:
        """`steps` more are done; the bar's text becomes `text`, where given."""
        ...


@dataclass(frozen=True)
class Session:
    """Settings that every command needs and no method chooses.

    Attributes:
        device: where tensors live.
        precision: arithmetic of forward passes that do not need a gradient.
        may_halve: whether features may be computed in bfloat16 where this is measured to be quicker and to agree.
        engine: what runs passes without a gradient (`models.serving`): "auto" measures which is the quickest.
        seed: the one seed; every random stream is derived from it by name.
        home: read-only folder of data and weights.
        cache: folder that deepscope may write derived files to.
        quiet: no progress and no notes on stderr.
        out: folder that the result is written to, where one was named.
        figure_format: what figures there are written as.
        part: prefix of progress bars, for a part of a larger run.
        models: that the caller holds, by name: `load_model` finds them before any file.
        options: what is said of models whose files leave it open (`models.options`), by the model's name.
        data: labelled images that the caller holds, by name: checks find them before any folder.
        said: topics of the notes that are given once per command; sessions made with `replace` share them.
        engines: names of the engines that ran, besides PyTorch; shared in the same way.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: Precision = "float32"
    may_halve: bool = False
    engine: EngineName = "torch"
    seed: int = 0
    home: Path = field(default_factory=lambda: default_home())
    cache: Path = field(default_factory=lambda: default_cache())
    quiet: bool = False
    out: Path | None = None
    figure_format: FigureFormat = "png"
    part: str = ""
    models: Mapping[str, object] = field(default_factory=dict[str, object], repr=False, compare=False)
    options: Mapping[str, object] = field(default_factory=dict[str, object], repr=False, compare=False)
    data: Mapping[str, object] = field(default_factory=dict[str, object], repr=False, compare=False)
    said: set[str] = field(default_factory=set[str], repr=False, compare=False)
    engines: set[str] = field(default_factory=set[str], repr=False, compare=False)

    @classmethod
    def open(
        cls,
        *,
        device: str = "auto",
        precision: str = "auto",
        engine: str = "auto",
        seed: int = 0,
        home: Path | None = None,
        cache: Path | None = None,
        quiet: bool = False,
        out: Path | None = None,
    ) -> Session:
        """A session from user settings, as the command line opens it.

        It also sets two things for the whole process: that the C library reuses freed memory (`reuse_freed_memory`),
        and on a CUDA device that PyTorch gives the same bits for the same seed (`repeatable`). A `Session(...)` made
        from Python leaves both alone.

        Args:
            device: "auto" (CUDA, then Apple's MPS, then CPU) or any PyTorch device name.
            precision: "float32", "bfloat16", or "auto": float32, and `may_halve`.
            engine: "auto", "torch", "compile", "onnxruntime" or "openvino". A `Session(...)` made from Python computes
                with PyTorch in float32, the reference, unless it names another engine.
            home: default `$DEEPSCOPE_HOME`, else the platform's data folder.
            cache: default `$DEEPSCOPE_CACHE`, else the platform's cache folder.

        Raises:
            SettingError: the device, the precision or the engine does not exist, or the seed is not a whole number.
        """
        if not isinstance(cast("object", seed), int) or isinstance(seed, bool):
            raise SettingError("seed", "must be a whole number", got=seed)
        if precision not in ("auto", *get_args(Precision)):
            raise SettingError("precision", f"must be auto, {' or '.join(get_args(Precision))}", got=precision)
        if engine not in get_args(EngineName):
            raise SettingError("engine", f"must be {', '.join(get_args(EngineName))}", got=engine)
        if precision == "bfloat16" and engine not in ("auto", "torch"):
            raise SettingError("engine", f"{engine} computes in float32: leave out {{precision}}, or choose torch")
        found = device_named(device)
        if found.type == "cuda":
            repeatable()
        reuse_freed_memory()
        return cls(
            device=found,
            precision="float32" if precision == "auto" else cast(Precision, precision),
            may_halve=precision == "auto",
            engine=cast(EngineName, engine),
            seed=seed,
            home=home or default_home(),
            cache=cache or default_cache(),
            quiet=quiet,
            out=out,
        )

    @classmethod
    def of(cls, given: Session | None, *, device: torch.device | None = None, seed: int = 0) -> Session:
        """The caller's session, or a new one with the seed, on the device; on that which `open` finds where it is None.

        Raises:
            SettingError: the caller gave something else.
        """
        if given is not None and not isinstance(cast("object", given), cls):
            raise SettingError("session", 'must come from deepscope.Session.open(device="cpu")', got=given)
        return given or (cls.open(seed=seed) if device is None else cls(device=device, seed=seed))

    def require_out(self, what: str) -> Path:
        """The folder to write to. Raises SettingError, which says that it is for `what`, where none was named."""
        if self.out is None:
            raise SettingError("out", f"must name a folder for {what}")
        return self.out

    def rng(self, *stream: str | int) -> torch.Generator:
        """A separate generator for each named stream: adding one stream never shifts another.

        It lives on the CPU, so that the same seed gives the same numbers on every device.
        """
        text = "\0".join(str(part) for part in (self.seed, *stream))
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
        return torch.Generator().manual_seed(seed)

    def some(self, items: Sequence[T], limit: int | None) -> list[T]:
        """At most `limit` of the items, drawn without replacement, in their order; all of them without a limit."""
        rows = torch.randperm(len(items), generator=self.rng("limit"))[:limit].sort().values
        return [items[row] for row in rows.tolist()]

    def note(self, text: str) -> None:
        """One line for the user, on stderr."""
        if not self.quiet:
            Console(stderr=True, soft_wrap=True).print(Text(printable(" ".join(text.splitlines()))))

    def note_once(self, topic: str, text: str) -> None:
        """As `note`, for the first text of each topic only."""
        if not self.quiet and topic not in self.said:
            self.said.add(topic)
            self.note(text)

    def track(self, items: Iterable[T], description: str, *, total: int | None = None) -> Iterator[T]:
        """Yield the items, with a progress bar on stderr once they take more than two seconds."""
        if total is None and hasattr(items, "__len__"):
            total = len(items)  # type: ignore[arg-type]
        with self.progress(description, total=total) as advance:
            for item in items:
                yield item
                advance(1, None)

    @contextmanager
    def progress(self, description: str, *, total: int | None = None) -> Iterator[Advance]:
        """A bar on stderr, from the first step after two seconds; call what it yields for each step done.

        In a process that another one of Python started there is no bar: it would write over that of its parent.
        """
        console = Console(stderr=True)
        before = f"{self.part}: " if self.part else ""
        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            transient=True,
            disable=self.quiet
            or not (sys.stderr and sys.stderr.isatty())
            or multiprocessing.parent_process() is not None,
        )
        task = bar.add_task(one_line(before + description), total=total)
        begun = time.monotonic()

        def advance(steps: float = 1, text: str | None = None) -> None:
            bar.update(task, advance=steps, description=None if text is None else one_line(before + text))
            if time.monotonic() - begun > 2:
                bar.start()

        try:
            yield advance
        finally:
            bar.stop()


def default_home() -> Path:
    """`$DEEPSCOPE_HOME`, else the platform's data folder, else the one that all users share. It need not exist.

    Raises:
        FileError: the variable names the home of a user that does not exist.
    """
    given = os.environ.get("DEEPSCOPE_HOME")
    try:
        return (Path(given) if given else platformdirs.user_data_path("deepscope")).expanduser()
    except RuntimeError:  # no HOME and no entry in passwd, as in some containers
        if given:
            raise FileError(
                f"DEEPSCOPE_HOME is {given}, and there is no such user: name a folder", path=given
            ) from None
        return platformdirs.site_data_path("deepscope")


def default_cache() -> Path:
    """`$DEEPSCOPE_CACHE`, else the platform's cache folder, else `temporary_cache`. It need not exist."""
    given = os.environ.get("DEEPSCOPE_CACHE")
    try:
        return (Path(given) if given else platformdirs.user_cache_path("deepscope")).expanduser()
    except RuntimeError:
        return temporary_cache()


@functools.cache
def temporary_cache() -> Path:
    """A cache for this process alone, for want of a better one; it is removed at the end. It need not exist."""
    try:
        folder = Path(tempfile.gettempdir()) / f"deepscope-{secrets.token_hex(8)}"
    except OSError:  # no folder for temporary files can be written
        return Path(os.devnull) / "deepscope"
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder

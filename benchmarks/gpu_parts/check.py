"""What every part of the GPU check shares: records, deadlines, clocks and differences."""

from __future__ import annotations

import signal
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from deepscope.session import Session

Verdict = Literal["pass", "fail", "error", "not measured"]
Figures: TypeAlias = "dict[str, Any]"
Outcome: TypeAlias = "tuple[Verdict, Figures, str]"
"""A verdict, figures, and a note on what they mean."""


class NotMeasured(Exception):
    """Something that a measurement needs is not installed or does not exist on this machine."""


@dataclass(frozen=True)
class Record:
    """What one check found."""

    part: str
    name: str
    verdict: Verdict
    figures: Figures = field(default_factory=dict)
    note: str = ""

    def __str__(self) -> str:
        shown = "  ".join(f"{key} {_shown(value)}" for key, value in self.figures.items())
        return f"{self.verdict:12} {self.part}/{self.name}  {shown}" + (f"  ({self.note})" if self.note else "")

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


@dataclass
class Check:
    """One run of one part.

    Attributes:
        device: what is checked against the CPU.
        small: tiny networks and few images, so that it runs anywhere.
        deadline: `time.monotonic()` after which nothing new is begun.
        part: the name of the part.
    """

    device: torch.device
    small: bool
    deadline: float
    part: str = ""

    @property
    def cuda(self) -> bool:
        """Whether the device is a CUDA GPU."""
        return self.device.type == "cuda" and torch.cuda.is_available()

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def attempt(self, name: str, run: Callable[[], Outcome]) -> Record:
        """The record of one check; an exception is its verdict, and ends nothing else."""
        if self.left <= 0:
            return Record(self.part, name, "not measured", note="no time left")
        try:
            with self._limited():
                verdict, figures, note = run()
        except NotMeasured as reason:
            return Record(self.part, name, "not measured", note=str(reason))
        except Exception as error:
            text = (str(error).splitlines() or [""])[0]
            return Record(self.part, name, "error", note=f"{type(error).__name__}: {text[:300]} [{_place(error)}]")
        finally:
            if self.cuda:
                torch.cuda.empty_cache()
        return Record(self.part, name, verdict, figures, note)

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """Raises NotMeasured at the deadline, so that one long check leaves its part's other records as they are."""
        if not self.cuda:
            yield
            return

        def stop(*_: object) -> None:
            raise NotMeasured("stopped: no time left")

        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, max(self.left, 0.1))
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.cuda:
            torch.cuda.synchronize()

    def clock(self, run: Callable[[], object]) -> float:
        """Seconds of one call, the device's work included."""
        self.synchronize()
        began = time.perf_counter()
        run()
        self.synchronize()
        return time.perf_counter() - began

    def seconds(self, run: Callable[[], object], repeats: int = 5, warm: int = 2) -> float:
        """The median of several calls after those that warm up."""
        return self.medians({"": run}, repeats, warm)[""]

    def medians(self, runs: Mapping[str, Callable[[], object]], repeats: int = 5, warm: int = 2) -> dict[str, float]:
        """The median seconds of each run, the runs taken in turns."""
        repeats, warm = (1, 0) if self.small else (repeats, warm)
        for _ in range(warm):
            if sum(self.clock(run) for run in runs.values()) > 2:  # long runs need little warming, and no more than two
                repeats = min(repeats, 2)
                break
        times = [{name: self.clock(run) for name, run in runs.items()} for _ in range(repeats)]
        return {name: statistics.median(taken[name] for taken in times) for name in runs}


def rng(seed: int = 0) -> torch.Generator:
    """A seeded CPU generator."""
    return torch.Generator().manual_seed(seed)


def relative(found: Tensor, wanted: Tensor) -> float:
    """Norm of the difference over the norm of what is wanted; infinite where only one of the two is finite."""
    found, wanted = (part.detach().cpu().double().flatten() for part in (found, wanted))
    finite = wanted.isfinite()
    if found.shape != wanted.shape or not torch.equal(found.isfinite(), finite):
        return float("inf")
    found, wanted = found[finite], wanted[finite]
    return float((found - wanted).norm() / wanted.norm().clamp_min(1e-300))


def verdict(passed: bool) -> Verdict:
    """Pass or fail."""
    return "pass" if passed else "fail"


@contextmanager
def exact() -> Iterator[None]:
    """Full float32 products, and deterministic algorithms where PyTorch has them."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    modes = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
        torch.use_deterministic_algorithms(modes[0], warn_only=modes[1])


@contextmanager
def as_commands_run(check: Check) -> Iterator[Session]:
    """A session as the command line opens it, which sets PyTorch for it; afterwards PyTorch is as it was."""
    cudnn: Any = torch.backends.cudnn
    fills: Any = torch.utils.deterministic
    modes = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    before = cudnn.deterministic, cudnn.benchmark, fills.fill_uninitialized_memory
    try:
        yield Session.open(device=str(check.device), quiet=True)
    finally:
        torch.use_deterministic_algorithms(modes[0], warn_only=modes[1])
        cudnn.deterministic, cudnn.benchmark, fills.fill_uninitialized_memory = before


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _place(error: Exception) -> str:
    """Where it was raised, and the last place in deepscope on the way there."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "deepscope" in Path(frame.filename).parts]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in (*ours[-1:], *frames[-1:]))

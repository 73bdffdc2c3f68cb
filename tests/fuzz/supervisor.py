"""Tries inputs in a child process, and outlives what they do to it: a hang, a crash of the interpreter, lost memory.

As a script it is the server that `test_fuzz.py` talks to, one JSON line a request and one an answer: what is imported
and forked here has no threads. With a target's name and a seed it tries that one input, here, and shows what happens:

    python tests/fuzz/supervisor.py image-png 17
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

_ADDRESSES = 4 * 2**30
"""Bytes of addresses that reading may add: what asks for more gets a MemoryError, and is found."""
_FAULTS = 5
"""Hangs and crashes after which a target is left: each takes its time."""

_MEMORY = Path("/proc/self")
_PREPARING = "nothing yet"


@dataclass(frozen=True)
class Finding:
    """An outcome that is not right."""

    target: str
    seed: int
    mutation: str
    what: str

    @property
    def kind(self) -> str:
        """The same for findings that look like one fault."""
        return f"{self.target}: {self.what.split(': ')[0]}"


@dataclass(frozen=True)
class Command:
    """Inputs to try: `inputs` of them from seed `first` on, as far as `seconds` reach."""

    target: str
    first: int
    inputs: int
    seconds: float
    keep: str
    """Folder that the files of findings are copied into."""
    patience: float = 10.0
    """Seconds of processor time that one input may take; six times that where the process only waits."""


def supervise(target: Any, job: Command) -> tuple[int, list[Finding]]:
    """Try a target's inputs. Returns how many were tried, and the findings."""
    findings: list[Finding] = []
    seed, end, until = job.first, job.first + job.inputs, time.monotonic() + job.seconds
    faults = 0
    while seed < end and time.monotonic() < until and faults < _FAULTS:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as work:
            seed, found, fault = _child(target, job, Path(work), seed, until)
        findings += found
        faults += fault
    return seed - job.first, findings


def _child(target: Any, job: Command, work: Path, seed: int, until: float) -> tuple[int, list[Finding], bool]:
    """Run a child from `seed` on. Returns the seed to go on with, findings, and whether the child had to be ended."""
    reads, writes = os.pipe()
    log = work / "stderr.txt"
    if (pid := os.fork()) == 0:
        os.close(reads)
        _try_all(target, job, work, range(seed, job.first + job.inputs), until, writes, log)
    os.close(writes)
    findings: list[Finding] = []
    mutation = _PREPARING
    for message in _messages(reads, pid, job.patience):
        if message is None:
            os.kill(pid, signal.SIGUSR1)  # it writes where it is
            time.sleep(0.5)
            os.kill(pid, signal.SIGKILL)
            break
        seed, mutation = message["seed"], message["mutation"]
        if message.get("what"):
            findings.append(Finding(job.target, seed, mutation, message["what"]))
        if message.get("done"):
            seed += 1
            mutation = ""
    os.close(reads)
    _, status = os.waitpid(pid, 0)
    if not mutation or os.waitstatus_to_exitcode(status) == 0:
        return seed, findings, False
    ended = os.waitstatus_to_exitcode(status)
    said = log.read_text(errors="replace") if log.exists() else ""
    place = next((line.strip() for line in said.splitlines() if "/deepscope/" in line), said.strip()[-300:])
    what = f"hang at {place}" if ended == -signal.SIGKILL else f"the process ended: {ended} at {place}"
    if mutation == _PREPARING:  # a fault of the target, not a finding
        raise RuntimeError(f"{job.target}, before seed {seed}: {what}\n{said}")
    _keep(work, job, seed)
    return seed + 1, [*findings, Finding(job.target, seed, mutation, what)], True


def _messages(reads: int, pid: int, patience: float) -> Iterator[dict[str, Any] | None]:
    """What the child says, line by line; None where it is silent for too long."""
    process, text = psutil.Process(pid), b""
    allowed = 6 * patience  # the first message comes when everything is built
    since, used = time.monotonic(), 0.0
    while True:
        if select.select([reads], [], [], 0.2)[0]:
            more = os.read(reads, 1 << 16)
            if not more:
                return
            *lines, text = (text + more).split(b"\n")
            yield from map(json.loads, lines)
            allowed, since, used = patience, time.monotonic(), _used(process)
        elif _used(process) - used > allowed or time.monotonic() - since > 6 * allowed:
            yield None
            return


def _used(process: psutil.Process) -> float:
    """Seconds of processor time."""
    try:
        return sum(process.cpu_times()[:2])
    except psutil.Error:  # it has ended: its end of the pipe will say so
        return 0.0


def _keep(work: Path, job: Command, seed: int) -> None:
    if (work / "case").is_dir():
        shutil.copytree(work / "case", Path(job.keep) / f"{job.target}-{seed}", dirs_exist_ok=True, symlinks=True)


def _try_all(target: Any, job: Command, work: Path, seeds: range, until: float, writes: int, log: Path) -> None:
    """In the child: try inputs, and never return."""
    status = 1
    try:
        errors = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(errors, 2)  # libraries in C say what they like
        os.dup2(errors, 1)
        faulthandler.enable(open(log, "a"))  # noqa: SIM115, PTH123 (as long as the process)
        faulthandler.register(signal.SIGUSR1, open(log, "a"))  # noqa: SIM115, PTH123

        def say(**message: Any) -> None:
            os.write(writes, (json.dumps(message) + "\n").encode())

        right = prepared(target, work)
        for seed in seeds:
            if time.monotonic() > until:
                break
            say(seed=seed, mutation=_PREPARING)
            mutation = _mutated(target, work, seed)
            say(seed=seed, mutation=mutation.name)
            before = _forget_peak()
            what = tried(target, mutation, work / "case", right)
            added = (_peak() - before) / 2**20
            if added > target.memory:
                what = "; ".join(filter(None, (f"takes memory: {added:.0f} MiB", what)))
            if what:
                _keep(work, job, seed)
            say(seed=seed, mutation=mutation.name, what=what, done=True)
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def prepared(target: Any, work: Path) -> Any:
    """Build the good files and read them; from then on warnings are errors, and memory is bounded."""
    import torch

    torch.set_num_threads(1)
    (work / "case").mkdir()
    target.build(work / "case")  # where it is read: a cache may go by paths
    shutil.copytree(work / "case", work / "good")
    warnings.simplefilter("error")
    right = target.read(work / "case")
    if wrong := target.sane(right):
        raise AssertionError(f"the unmutated answer is not sane: {wrong}")
    held = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (held + _ADDRESSES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    return right


def tried(target: Any, mutation: Any, folder: Path, right: Any) -> str:
    """What is wrong with the outcome; what threads and finalisers raise counts too."""
    aside: list[str] = []

    def raised(error: BaseException | None) -> None:
        aside.append(f"aside, {type(error).__name__}: {error}")

    sys.unraisablehook = lambda found: raised(found.exc_value)
    threading.excepthook = lambda found: raised(found.exc_value)
    try:
        what = target.outcome(mutation, folder, right)
    finally:
        sys.unraisablehook, threading.excepthook = sys.__unraisablehook__, threading.__excepthook__
    return "; ".join(filter(None, (*aside, what)))


def _mutated(target: Any, work: Path, seed: int) -> Any:
    shutil.rmtree(work / "case")
    shutil.copytree(work / "good", work / "case")
    return target.mutate(seed, work / "case")


def _forget_peak() -> int:
    """Bytes of memory that are held now; from here on the kernel watches for a new peak."""
    _MEMORY.joinpath("clear_refs").write_text("5")
    return psutil.Process().memory_info().rss


def _peak() -> int:
    """Bytes of memory that were held at most since `_forget_peak`."""
    status = _MEMORY.joinpath("status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def serve() -> None:
    """Answer requests until there are no more."""
    from fuzz import faulty
    from fuzz.target import targets

    known = {**targets(), **{target.name: target for target in faulty.TARGETS}}
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nobody else writes among the answers
    for line in sys.stdin:
        job = Command(**json.loads(line))
        try:
            tried_, findings = supervise(known[job.target], job)
            answer: dict[str, Any] = {"tried": tried_, "findings": [asdict(finding) for finding in findings]}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def show(name: str, seed: int) -> str:
    """Try one input in this process, with the whole traceback."""
    from fuzz.target import targets

    target = targets()[name]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        work = Path(folder)
        right = prepared(target, work)
        mutation = _mutated(target, work, seed)
        with suppress(Exception):
            try:
                target.read(work / "case")
            except Exception:
                traceback.print_exc()
                raise
        return f"{mutation.name}: {tried(target, mutation, work / 'case', right) or 'right'}"


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    sys.path.remove(str(Path(__file__).parent))
    if sys.argv[1:]:
        sys.stdout.write(show(sys.argv[1], int(sys.argv[2])) + "\n")
    else:
        serve()

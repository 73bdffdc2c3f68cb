"""Damaged and hostile files: every outcome is right, made again, or one line.

Each target tries a fixed number of inputs from seed 0 on. By hand:

    DEEPSCOPE_FUZZ_SECONDS=3600 python -m pytest tests/fuzz            # as many inputs as that time allows, in all
    DEEPSCOPE_FUZZ_SEED=1000000 python -m pytest tests/fuzz -k image   # other inputs
    python tests/fuzz/supervisor.py image-png 17                       # one input, with its traceback
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from fuzz.supervisor import Finding, Job
from fuzz.target import targets

TESTS = Path(__file__).parent.parent
TARGETS = targets()
IN_CI = 100.0
"""Seconds of all targets together."""

Answer = dict[str, Any]


@pytest.fixture(scope="session")
def ask() -> Iterator[Callable[[Job], Answer]]:
    """A process of its own that tries inputs: this one may have threads, which do not survive a fork."""
    path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, TESTS / "fuzz" / "supervisor.py"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        assert process.stdin
        assert process.stdout
        requests, answers = process.stdin, process.stdout

        def ask(job: Job) -> Answer:
            print(json.dumps(asdict(job)), file=requests, flush=True)
            return json.loads(answers.readline())

        yield ask
        requests.close()


@pytest.mark.parametrize("name", TARGETS)
def test_files_from_outside(name: str, ask: Callable[[Job], Answer], tmp_path: Path) -> None:
    seconds, first = os.environ.get("DEEPSCOPE_FUZZ_SECONDS"), int(os.environ.get("DEEPSCOPE_FUZZ_SEED", "0"))
    inputs = 10**9 if seconds else TARGETS[name].inputs
    answer = ask(Job(name, first, inputs, float(seconds or IN_CI) / len(TARGETS), str(tmp_path)))
    assert "error" not in answer, answer["error"]
    print(f"{name}: {answer['tried']} inputs")
    findings = [Finding(**finding) for finding in answer["findings"]]
    assert not findings, report(findings, tmp_path)


def report(findings: list[Finding], kept: Path) -> str:
    """One paragraph a kind of finding, with how to see it again."""
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(finding.kind, []).append(finding)
    lines = [f"{len(findings)} findings of {len(kinds)} kinds; their files are in {kept}"]
    for found in sorted(kinds.values(), key=len, reverse=True):
        first = found[0]
        lines.append(f"- {len(found)} x {first.what} ({first.mutation})")
        lines.append(f"  python tests/fuzz/supervisor.py {first.target} {first.seed}")
    return "\n".join(lines)

"""Damaged and hostile files: every outcome is right, made again, or one line.

Each target tries a fixed number of inputs from seed 0 on. By hand:

    DEEPSCOPE_FUZZ_SECONDS=3600 python -m pytest tests/fuzz            # as many inputs as that time allows, in all
    DEEPSCOPE_FUZZ_SEED=1000000 python -m pytest tests/fuzz -k image   # other inputs
    python tests/fuzz/supervisor.py image-png 17                       # one input, with its traceback
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fuzz.supervisor import Command, Finding
from fuzz.target import targets

TARGETS = targets()
IN_CI = 60.0
"""Seconds of all targets together."""
_AT_LEAST = 2.0
"""Seconds of one target, also on a machine that is too busy for all."""


class Clock:
    """Shares out the time: what one target leaves, the others get."""

    def __init__(self, seconds: float, targets: int) -> None:
        self._until, self._targets = time.monotonic() + seconds, targets

    def share(self) -> float:
        """Seconds of the next target."""
        self._targets -= 1
        return max((self._until - time.monotonic()) / (self._targets + 1), _AT_LEAST)


@pytest.fixture(scope="module")
def clock(request: pytest.FixtureRequest) -> Clock:
    chosen = sum(item.path == request.path for item in request.session.items)
    return Clock(float(os.environ.get("DEEPSCOPE_FUZZ_SECONDS", IN_CI)), chosen)


@pytest.mark.parametrize("name", TARGETS)
def test_files_from_outside(name: str, ask: Callable[[Command], dict[str, Any]], clock: Clock, tmp_path: Path) -> None:
    first = int(os.environ.get("DEEPSCOPE_FUZZ_SEED", "0"))
    inputs = 10**9 if "DEEPSCOPE_FUZZ_SECONDS" in os.environ else TARGETS[name].inputs
    answer = ask(Command(name, first, inputs, clock.share(), str(tmp_path)))
    assert "error" not in answer, answer["error"]
    sys.stdout.write(f"{name}: {answer['tried']} inputs\n")  # `pytest -rP` shows it
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

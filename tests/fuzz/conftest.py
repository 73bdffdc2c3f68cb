"""The process that tries inputs."""

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

from fuzz.supervisor import Command

TESTS = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def ask() -> Iterator[Callable[[Command], dict[str, Any]]]:
    """A process of its own that tries inputs: this one may have threads, which do not survive a fork."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("peaks of memory are measured as Linux tells them")
    path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, TESTS / "fuzz" / "supervisor.py"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        assert process.stdin
        assert process.stdout
        requests, answers = process.stdin, process.stdout

        def ask(job: Command) -> dict[str, Any]:
            print(json.dumps(asdict(job)), file=requests, flush=True)
            return json.loads(answers.readline())

        yield ask
        requests.close()

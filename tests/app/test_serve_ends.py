"""`deepscope serve` as a process of its own ends soon after SIGTERM, as job schedulers and containers send it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="serves a page: pip install 'deepscope[app]'")

SECONDS = 30
"""In which it must have ended: 2 for open connections, the rest for a machine that is busy."""
MODEL = """
import time, torch, deepscope
from torch import nn

class Slow(nn.Sequential):
    def forward(self, inputs):
        time.sleep(0.05)
        return super().forward(inputs)

def model():
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    preprocessing = deepscope.Preprocessing(16, 16, mean=(0.5,) * 3, std=(0.25,) * 3)
    return deepscope.wrap(Slow(*layers), ["ant", "bee", "cow"], preprocessing=preprocessing)
"""


@contextmanager
def serving(model: str, images: Path, errors: Path) -> Iterator[tuple[subprocess.Popen[bytes], int, str]]:
    """The process, its port and its token, once it has said them."""
    words = ["serve", str(images), "--model", model, "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DEEPSCOPE_CACHE": str(errors.parent / "cache")}
    with errors.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "deepscope", *words],
            stdout=subprocess.DEVNULL,
            stderr=file,
            env=environment,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + 120
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/\?token=([\w-]+)", errors.read_text())):
            assert process.poll() is None and time.monotonic() < end, errors.read_text()
            time.sleep(0.05)
        yield process, int(found[1]), found[2]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM")
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "while it computes"])
def test_sigterm_ends_the_server_and_everything_that_it_started(busy: bool, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODEL)
    errors = tmp_path / "errors.txt"
    with serving(f"{tmp_path / 'mine.py'}:model", folder, errors) as (process, port, token):
        page = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        page.request("GET", f"/?token={token}")  # waits in the queue of the socket until it is served
        answer = page.getresponse()
        assert (answer.status, b"<html" in answer.read()) == (200, True)
        if busy:  # a class image, which takes a quarter of a minute, and whose steps are told
            headers = {"x-deepscope-token": token, "content-type": "application/json"}
            page.request("POST", "/api/dream", '{"target": 1, "steps": 256}', headers)
            answer = page.getresponse()
            assert answer.status == 200 and answer.read(16)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 143, errors.read_text()
        with pytest.raises(ProcessLookupError):  # its group has no process left
            os.killpg(process.pid, 0)
        page.close()
    said = errors.read_text()
    assert "Traceback" not in said and "Error" not in said, said

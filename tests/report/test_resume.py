"""A report that is killed in the middle goes on where it stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from deepscope.errors import DeepscopeError
from deepscope.render import load

TESTS = Path(__file__).parent.parent


def _start(root: Path) -> subprocess.Popen[bytes]:
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    script = Path(__file__).with_name("killed_report.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen([sys.executable, script, root], env=environment)


def _ran(root: Path) -> list[str]:
    path = root / "ran.txt"
    return path.read_text().split() if path.exists() else []


def _complete(folder: Path) -> bool:
    try:
        load(folder)
    except DeepscopeError:
        return False
    return (folder / "inputs.sha256").is_file()


def test_finished_sections_survive_sigkill_and_are_not_run_again(tmp_path: Path) -> None:
    (tmp_path / "home" / "data").mkdir(parents=True)
    (tmp_path / "hang").touch()
    process = _start(tmp_path)
    while "second" not in _ran(tmp_path):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    studies = tmp_path / "out" / "studies"
    assert [_complete(studies / name) for name in ("first", "second", "third")] == [True, False, False]
    assert 'id="first"' in (tmp_path / "out" / "index.html").read_text()  # the page is there after every section

    (tmp_path / "hang").unlink()
    assert _start(tmp_path).wait() == 0
    assert _ran(tmp_path) == ["first", "second", "second", "third"]
    assert all(_complete(studies / name) for name in ("first", "second", "third"))

    (tmp_path / "home" / "data" / "new.txt").touch()  # what every section reads has changed
    assert _start(tmp_path).wait() == 0
    assert _ran(tmp_path)[4:] == ["first", "second", "third"]

"""Ctrl-C and SIGTERM that arrive where Python ignores exceptions."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator

import pytest

from deepscope.cli import program
from deepscope.interrupts import interrupt_again
from deepscope.report import process


class Dying:
    """Is told to stop in its destructor."""

    def __del__(self) -> None:
        raise KeyboardInterrupt


def _leave(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "unraisablehook", interrupt_again)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_ctrl_c_that_comes_inside_a_destructor_comes_again() -> None:
    """There Python ignores exceptions, and the command would go on."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let background jobs ignore it
    with pytest.raises(KeyboardInterrupt):
        Dying()
        for _ in range(1000):
            time.sleep(0.01)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL], ids=["ignored", "not handled"])
def test_sigterm_comes_again_where_ctrl_c_is_not_handled(handler: signal.Handlers) -> None:
    """As in a background job, which must stop before its time is up, and in a process that makes sections."""
    signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, _leave)
    with pytest.raises(KeyboardInterrupt):
        Dying()
        for _ in range(100):
            time.sleep(0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows waits for a pipe without looking for signals")
def test_it_also_ends_a_wait_for_a_pipe() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    read, write = os.pipe()
    signal.signal(signal.SIGALRM, lambda *_: os.write(write, b"too late"))
    signal.alarm(5)
    try:
        with pytest.raises(KeyboardInterrupt):
            Dying()
            os.read(read, 1)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        os.close(read)
        os.close(write)


def test_other_errors_are_reported_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    class Failing:
        def __del__(self) -> None:
            raise ValueError("of a destructor")

    Failing()
    assert "ValueError: of a destructor" in capsys.readouterr().err


def test_the_command_line_and_the_processes_of_a_report_share_it() -> None:
    assert program.interrupt_again is process.interrupt_again is interrupt_again

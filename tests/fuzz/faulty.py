"""Readers that do what no reader may, one kind of fault each: the fuzz job has to find them."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from deepscope.errors import DeepscopeError
from fuzz.target import Mutation, Target

_RIGHT = b"right"


def _hang() -> None:
    while True:
        pass


def _wait() -> None:
    time.sleep(1000)


def _end() -> None:
    os.abort()


def _hoard() -> None:
    assert bytearray(os.urandom(1 << 20)) * 100


def _ask_for_terabytes() -> None:
    try:
        bytearray(1 << 42)
    except MemoryError:
        raise DeepscopeError("file is damaged") from None


def _raise() -> None:
    raise KeyError("x")


def _warn() -> None:
    warnings.warn("odd", stacklevel=1)


def _leave_open() -> None:
    open(__file__)  # noqa: SIM115, PTH123


def _refuse(text: str) -> Callable[[], None]:
    def refuse() -> None:
        error = DeepscopeError(text)
        error.args = (text,)  # as if its text had not been escaped
        raise error

    return refuse


FAULTS: dict[str, tuple[Callable[[], None], str]] = {
    "hang": (_hang, "hang at"),
    "wait": (_wait, "hang at"),
    "end": (_end, "the process ended: -6"),
    "hoard": (_hoard, "takes memory"),
    "ask": (_ask_for_terabytes, "asked for more memory"),
    "raise": (_raise, "KeyError at"),
    "warn": (_warn, "UserWarning at"),
    "open": (_leave_open, "aside, ResourceWarning"),
    "control": (_refuse("file \x1b]0;x\x07 is damaged"), "the refusal is no printable line"),
    "long": (_refuse("file " + "x" * 5000), "the refusal has"),
    "nameless": (_refuse("it is damaged"), "the refusal names no file"),
    "other": (lambda: None, "another answer"),
    "refuse": (_refuse("file is damaged"), ""),
}
"""What happens to a changed file, and how the finding begins; empty where there is nothing to find."""


def _build(folder: Path) -> None:
    (folder / "file").write_bytes(_RIGHT)


def _target(name: str) -> Target:
    def read(folder: Path) -> Any:
        content = (folder / "file").read_bytes()
        if content != _RIGHT:
            FAULTS[name][0]()
        return content

    def change(rng: Random, folder: Path) -> None:
        (folder / "file").write_bytes(b"wrong")

    return Target(f"faulty-{name}", _build, read, (Mutation("change", change),), memory=64)


TARGETS = [_target(name) for name in FAULTS]

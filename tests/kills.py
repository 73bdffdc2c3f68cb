"""A process that dies at a chosen moment: `killed_at(n)` stops the block before its n-th change of a file's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest


class Killed(BaseException):
    """As SIGKILL: nothing that runs afterwards, `finally` blocks included, changes a file's name any more."""


@contextmanager
def killed_at(number: int) -> Iterator[list[bool]]:
    """Runs the block until it is about to replace, rename or remove its n-th file (from 0).

    Yields:
        a list that holds True once the block was stopped.
    """
    changes, stopped = 0, []

    def watched(change: Callable[..., Any]) -> Callable[..., Any]:
        def instead(path: Path, *arguments: Any, **keywords: Any) -> Any:
            nonlocal changes
            if stopped or changes == number:
                stopped.append(True)
                raise Killed
            if path.exists():
                changes += 1
            return change(path, *arguments, **keywords)

        return instead

    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "rename", "unlink", "rmdir"):
            patch.setattr(Path, name, watched(getattr(Path, name)))
        with suppress(Killed):
            yield stopped


def every_kill(work: Callable[[], object], begin: Callable[[], object], look: Callable[[], object]) -> int:
    """Kill `work` at its first change, its second one, and so on until it ends; `begin` runs before, `look` after each.

    Returns:
        at how many moments it was killed.
    """
    for number in range(1000):
        begin()
        with killed_at(number) as stopped:
            work()
        look()
        if not stopped:
            return number
    raise AssertionError("it never ends")

"""The command line of `run`, built once for all tests of a process.

Building all commands takes as long as many a test, and a command line that a person types does it at most once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from cyclopts import App

from deepscope.cli import program
from deepscope.cli.commands import add_commands
from deepscope.command import Command
from deepscope.registry import Registered


def _registered() -> set[type[Any]]:
    return {cls for family in Registered.__subclasses__() for cls in family.concrete()}


def _stays(cls: type[Any]) -> bool:
    """Whether a module defines the class; those that a test makes must not be kept alive after it."""
    return getattr(sys.modules.get(cls.__module__), cls.__qualname__, None) is cls


class CommandLine:
    """Stands for `program.app`: keeps what it built until other classes are registered."""

    def __init__(self, build: Callable[..., App]) -> None:
        self._build, self._typed = build, ""
        self._kept: tuple[set[type[Any]], App] = (set(), App())

    def __call__(self, typed: str = "", only: type[Command] | None = None) -> App:
        registered = _registered()
        if registered != self._kept[0]:
            self._kept = (set(), App())
        if only or not all(map(_stays, registered)):
            return self._build(typed, only)
        self._typed = typed
        if not self._kept[0]:
            root = program._root()
            add_commands(root, self._execute)
            self._kept = (_registered(), root)
        return self._kept[1]

    def _execute(self, command: Command, common: Any) -> None:
        program._execute(command, common, self._typed)

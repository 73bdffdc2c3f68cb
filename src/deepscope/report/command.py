"""The command line that runs a command again, from the command itself."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any

from deepscope.command import Command
from deepscope.models import ModelOptions
from deepscope.session import Session


def command_line(command: Command, session: Session) -> str:
    """What to type for this command in this session: only what differs from the defaults is said.

    Args:
        command: without a method among its fields.
        session: its seed and precision are said too, and its options for the command's model.
    """
    assert dataclasses.is_dataclass(command)
    words, flags = ["deepscope", *command.area.split(), command.name], list[str]()
    positional = [field.name for field in dataclasses.fields(command) if not field.kw_only]
    for field in dataclasses.fields(command):
        value = getattr(command, field.name)
        if value == {} and field.default_factory is not dataclasses.MISSING:
            continue
        if field.default is dataclasses.MISSING:
            words.append(str(value))
        elif isinstance(value, tuple) and field.name in positional[-1:]:
            words += [str(item) for item in value]
        elif value != field.default:
            flags += _flag(field.name, value)
    standard = Session()
    for name in ("seed", "precision"):
        if getattr(session, name) != getattr(standard, name):
            flags += _flag(name, getattr(session, name))
    said = dataclasses.asdict(ModelOptions.of(str(getattr(command, "model", "")), session))
    for name, value in said.items():
        if value:
            flags += _flag(f"model_{name}" if hasattr(command, name) else name, value)
    return shlex.join([*words, *flags])


def _flag(name: str, value: Any) -> list[str]:
    name = f"--{name.replace('_', '-')}"
    match value:
        case True:
            return [name]
        case False:
            return [f"--no-{name[2:]}"]
        case tuple():
            return [word for item in value for word in (name, str(item))]
        case _:
            return [name, str(value)]

"""From registered commands to a command line: groups, commands and methods, and what runs when one is called."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cyclopts import App
from docstring_parser import parse

from deepscope.cli.signature import OF_MODEL, Common, family_field, renamed_fields, signature_of
from deepscope.cli.usage import flag
from deepscope.command import Command
from deepscope.errors import SettingError
from deepscope.models import ModelOptions
from deepscope.registry import Registered, discover
from deepscope.session import Session
from deepscope.settings import check, check_values, overridden

Run = Callable[[Command, Common], None]


def add_commands(app: App, run: Run, only: type[Command] | None = None) -> None:
    """Give `app` one command per registered command, and one per method where it works with a family of methods.

    Args:
        app: the root.
        run: called with the finished command and the common flags.
        only: the one command that is needed; without it, the modules of all commands are imported.
    """
    for command in [only] if only else _commands(Command):
        parent = app
        if command.area:
            parent = _group(app, command.area, command)
        family = family_field(command)
        if family is None:
            _add(parent, command.name, signature_of(command), command, run)
            if command.area and command.name == "list":
                parent.default(_function(signature_of(command), command, run))
        else:
            field, base = family
            group = _group(parent, command.name, command)
            group.help = _summary(command)
            default = getattr(command, field, None)
            if isinstance(default, base):  # the command also works without a method's name
                own = signature_of(command, field, type(default))
                group.default(_function(own, command, run, field, type(default)))
            elif default is None and hasattr(command, field):  # the workflow chooses the method
                group.default(_function(signature_of(command, field), command, run))
            for method in base.members().values():
                _add(group, method.name, signature_of(command, field, method), command, run, field, method)


COMMANDS = ("deepscope.commands", "deepscope.studies", "deepscope.checks", "deepscope.report", "deepscope.app")
"""The packages that hold commands."""


def _commands(base: type[Command]) -> list[type[Command]]:
    """All commands, by area and name: two areas may each have a command of the same name."""
    for package in COMMANDS:
        discover(package)
    return sorted(base.concrete(), key=lambda command: (command.area, command.name))


def _group(parent: App, name: str, command: type[Command]) -> App:
    try:
        return parent[name]
    except KeyError:
        group = App(name=name, help=_AREAS.get(name, ""), help_epilogue=f"Example: {command.example}")
        parent.command(group)
        return group


_AREAS = {
    "models": "List models, and show their classes and layers.",
    "data": "List, download and audit data.",
    "transfer": "Train a classifier on a folder of images, for use with every other command.",
    "adapt": "Adapt a classifier to another domain without target labels.",
    "concepts": "Find the concepts that a network uses for its classes, and test whether they matter.",
    "gan": "Train generators of images, and measure them.",
    "check": "Examine your own classifier, one question per command; `deepscope report --data` runs all checks.",
    "study": "Repeat an experiment of the report (Delefosse & Vin) and answer its questions with numbers.",
}
"""Help of the groups that are not commands themselves."""


def _add(
    parent: App,
    name: str,
    signature: inspect.Signature,
    command: type[Command],
    run: Run,
    field: str = "",
    method: type[Registered] | None = None,
) -> None:
    epilogue = f"Example: {command.example if method is None else _example(command, method)}"
    old = [command.formerly] if command.formerly and method is None else []
    for called in (name, *old):
        made = App(name=called, help_epilogue=epilogue, show=called == name)
        made.default(_function(signature, command, run if called == name else _noted(run, called), field, method))
        parent.command(made)


def _noted(run: Run, old: str) -> Run:
    """`run`, which first says what the command is called now."""

    def noted(command: Command, common: Common) -> None:
        called = f"`deepscope {command.area} {old}`".replace("  ", " ")
        _note_renamed(called, f"`deepscope {command.command_path()}`", quiet=common.quiet)
        run(command, common)

    return noted


def _note_renamed(old: str, new: str, *, quiet: bool) -> None:
    Session(quiet=quiet).note(f"{old} is now called {new}; the old name will go in the next release")


def _example(command: type[Command], method: type[Registered]) -> str:
    """The command's example with this method: in place of the one that it names, if it names one."""
    words = command.example.split(" ")
    place = words.index(command.name) + 1
    field = family_field(command)
    names = field[1].members() if field else {}
    words[place : place + (words[place] in names)] = [method.name]
    return " ".join([*words, method.example_flags]).rstrip()


def _function(
    signature: inspect.Signature,
    command: type[Command],
    run: Run,
    field: str = "",
    method: type[Registered] | None = None,
) -> Callable[..., None]:
    renamed = {old: new for cls in _classes(command, method) for old, new in renamed_fields(cls).items()}

    def call(*arguments: Any, **flags: Any) -> None:
        bound = signature.bind(*arguments, **flags)
        typed = dict(bound.arguments)
        bound.apply_defaults()
        with _flags_named(bound.arguments):
            given = _under_new_names(typed, renamed)
            values = {**bound.arguments, **given}
            common = Common(**_taken(Common, values), of_model=ModelOptions(**_of_model(values)))
            check(common)
            settings = _taken(command, values)
            for name, nested in overridden(command).items():
                settings[name] = _taken(nested, given)
                check_values(nested, settings[name])
            if method is not None:
                settings[field] = method(**_taken(method, values))
            run(command(**settings), common)

    call.__module__, call.__name__, call.__qualname__ = command.__module__, command.__name__, command.__qualname__
    call.__wrapped__ = method or command  # type: ignore[attr-defined]
    call.__doc__ = _summary(command if method is None else method)
    call.__signature__ = signature  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return call


def _of_model(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(OF_MODEL): value for name, value in values.items() if name.startswith(OF_MODEL)}


def _taken(cls: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are fields of a dataclass."""
    return {field.name: values[field.name] for field in dataclasses.fields(cls) if field.name in values}


def _under_new_names(given: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """What was given, with flags of an earlier release under their new names.

    Raises:
        SettingError: a flag was given under both names.
    """
    found = {name: value for name, value in given.items() if name not in renamed}
    for old, new in renamed.items():
        if old in given:
            if new in found:
                raise SettingError(old, f"is the old name of {{{new}}}: give that one alone")
            _note_renamed(flag(old), flag(new), quiet=bool(given.get("quiet")))
            found[new] = given[old]
    return found


def _classes(command: type[Command], method: type[Registered] | None) -> list[type[Any]]:
    """The dataclasses whose fields a command takes as flags, besides `Common`."""
    return [command, *overridden(command).values(), *([method] if method else [])]


@contextmanager
def _flags_named(flags: Container[str]) -> Iterator[None]:
    """A setting that is refused in the block is named as its flag, where the command has one."""

    def spell(name: str) -> str:
        if OF_MODEL + name in flags:
            return flag(f"model_{name}" if name in flags else name)
        return flag(name) if name in flags else name

    try:
        yield
    except SettingError as error:
        raise error.spelled(spell) from None


def _summary(cls: type[Any]) -> str:
    parsed = parse(inspect.getdoc(cls) or "")
    return "\n\n".join(part for part in (parsed.short_description, parsed.long_description) if part)

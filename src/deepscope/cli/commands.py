"""From registered commands to a command line: fields become arguments and flags, docstrings become help."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from cyclopts import App, Parameter
from docstring_parser import parse

from deepscope.cli.reading import holds, reader
from deepscope.cli.usage import flag
from deepscope.command import Command
from deepscope.errors import SettingError
from deepscope.models import ModelOptions
from deepscope.registry import Registered, discover
from deepscope.session import EngineName, Session
from deepscope.settings import Range, check, check_values, field_types, overridden

Run = Callable[[Command, "Common"], None]


@dataclass(frozen=True, kw_only=True)
class Common:
    """The flags that every command takes.

    Attributes:
        out: folder to write the result to: result.json, arrays as .npz, figures as PNG, animations as GIF, WebP, MP4.
        json: print the result as JSON on stdout, and nothing else there.
        device: auto, cpu, cuda, cuda:1, mps.
        precision: precision of passes that need no gradient; auto is float32; with --engine auto, bfloat16
            computes features where it is measured to be faster and to agree.
        engine: what runs passes without a gradient: auto measures which is the quickest on this machine.
        seed: random seed; the same seed gives the same result.
        quiet: print no progress and no notes.
        of_model: what is said of the command's model; its fields are flags of the commands that take a model.
    """

    out: Path | None = None
    json: Annotated[bool, Parameter(negative=())] = False
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    engine: EngineName = "torch"
    seed: Annotated[int, Range(-(2**63), 2**63 - 1)] = 0
    quiet: Annotated[bool, Parameter(negative=())] = False
    of_model: ModelOptions = ModelOptions()


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
        family = _family_field(command)
        if family is None:
            _add(parent, command.name, _signature(command), command, run)
            if command.area and command.name == "list":
                parent.default(_function(_signature(command), command, run))
        else:
            field, base = family
            group = _group(parent, command.name, command)
            group.help = _summary(command)
            default = getattr(command, field, None)
            if isinstance(default, base):  # the command also works without a method's name
                own = _signature(command, field, type(default))
                group.default(_function(own, command, run, field, type(default)))
            for method in base.members().values():
                _add(group, method.name, _signature(command, field, method), command, run, field, method)


COMMANDS = ("deepscope.commands", "deepscope.studies", "deepscope.checks", "deepscope.report")
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
    field = _family_field(command)
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
    renamed = {old: new for cls in _classes(command, method) for old, new in _renamed(cls).items()}

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


_OF_MODEL = "of_model_"
"""Before the names of the parameters that are said of a model: commands have arguments of their own named "classes"."""


def _of_model(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(_OF_MODEL): value for name, value in values.items() if name.startswith(_OF_MODEL)}


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


def _renamed(cls: type[Any]) -> Mapping[str, str]:
    """Old names of a dataclass's fields, which the command line still takes, and their new ones."""
    return getattr(cls, "renamed", {})


@contextmanager
def _flags_named(flags: Container[str]) -> Iterator[None]:
    """A setting that is refused in the block is named as its flag, where the command has one."""

    def spell(name: str) -> str:
        if _OF_MODEL + name in flags:
            return flag(f"model_{name}" if name in flags else name)
        return flag(name) if name in flags else name

    try:
        yield
    except SettingError as error:
        raise error.spelled(spell) from None


def _signature(
    command: type[Command], family_field: str = "", method: type[Registered] | None = None
) -> inspect.Signature:
    """Positional fields of the command first, then its flags, the method's flags, and the common ones.

    Raises:
        TypeError: two of them share a name; a flag must mean one thing.
    """
    parameters = [p for p in _parameters(command, "") if p.name != family_field]
    if method is not None:
        parameters += [p.replace(kind=p.KEYWORD_ONLY) for p in _parameters(method, "Method")]
    if any(parameter.name == "model" for parameter in parameters):
        taken = [parameter.name for parameter in parameters]
        parameters += [_said_of_model(p, taken) for p in _parameters(ModelOptions, "Model")]
    common = (p for p in _parameters(Common, "Common") if p.name != "of_model")
    parameters += [p.replace(kind=p.KEYWORD_ONLY) for p in common]
    names = [parameter.name for parameter in parameters]
    if twice := {name for name in names if names.count(name) > 1}:
        raise TypeError(f"{command.__name__} with {method and method.__name__}: {sorted(twice)} would be defined twice")
    return inspect.Signature(sorted(parameters, key=lambda p: p.kind))


def _said_of_model(parameter: inspect.Parameter, taken: Container[str]) -> inspect.Parameter:
    """A flag for a field of `ModelOptions`: `--classes`, or `--model-classes` beside an argument of that name."""
    name = flag(f"model_{parameter.name}" if parameter.name in taken else parameter.name)
    # an empty word, which a shell makes of an unset variable, is refused
    annotation = Annotated[parameter.annotation, Parameter(name=name, converter=reader(parameter.name))]
    return parameter.replace(name=_OF_MODEL + parameter.name, kind=parameter.KEYWORD_ONLY, annotation=annotation)


def _parameters(cls: type[Any], group: str) -> Iterator[inspect.Parameter]:
    hints = field_types(cls)
    about = {p.arg_name: p.description for p in parse(inspect.getdoc(cls) or "").params}
    positional = [f for f in dataclasses.fields(cls) if not f.kw_only]
    nested = overridden(cls)
    for field in dataclasses.fields(cls):
        if field.name in nested:
            of = nested[field.name]
            flags = [p for p in _parameters(of, of.__name__) if not _is_family(p.annotation)]
            yield from (p.replace(kind=p.KEYWORD_ONLY) for p in flags)
            continue
        kind, default, hint = _kind_and_default(field, field in positional[-1:], hints[field.name])
        extra: dict[str, Any] = {"group": group} if group else {}
        if default != "" and any(holds(hint, kind) for kind in (int, float, str, Path)):
            extra["converter"] = reader(field.name)
        shown = _written if default not in (None, ()) else False
        annotation = Annotated[hint, Parameter(help=about.get(field.name), show_default=shown, **extra)]
        yield inspect.Parameter(field.name, kind, default=default, annotation=annotation)
        for old in [old for old, new in _renamed(cls).items() if new == field.name]:
            hidden = Annotated[hint, Parameter(show=False, **extra)]
            yield inspect.Parameter(old, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hidden)


def _kind_and_default(field: dataclasses.Field[Any], last: bool, hint: Any) -> tuple[Any, Any, Any]:
    empty = inspect.Parameter.empty
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    default = empty if default is dataclasses.MISSING else default
    if field.kw_only:
        return inspect.Parameter.KEYWORD_ONLY, default, hint
    if last and get_origin(hint) is tuple and get_args(hint)[1:] == (...,):
        return inspect.Parameter.VAR_POSITIONAL, empty, get_args(hint)[0]
    return inspect.Parameter.POSITIONAL_OR_KEYWORD, default, hint


def _written(default: Any) -> str:
    """A default as a person types it: several values without brackets, grey levels as fractions of 255."""
    if isinstance(default, tuple):
        return ", ".join(map(_written, default))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(default, float):
        levels = round(default * 255)
        return f"{levels}/255" if 0 < default < 1 and levels and default == levels / 255 else f"{default:g}"
    return str(default)


def _family_field(command: type[Command]) -> tuple[str, type[Registered]] | None:
    for name, hint in field_types(command).items():
        if _is_family(hint):
            return name, hint
    return None


def _is_family(hint: Any) -> bool:
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    plain = isinstance(kind, type) and not get_origin(kind)  # in Python 3.10 `tuple[int, ...]` is a type too
    return plain and issubclass(kind, Registered) and inspect.isabstract(kind)


def _summary(cls: type[Any]) -> str:
    parsed = parse(inspect.getdoc(cls) or "")
    return "\n\n".join(part for part in (parsed.short_description, parsed.long_description) if part)

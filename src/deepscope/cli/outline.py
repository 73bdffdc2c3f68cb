"""The outline of the command line: names, help texts, flags and defaults of all commands, as plain data.

A help page needs no more than this, while the commands themselves need PyTorch. `tools/outline_commands.py` writes the
outline of the registered commands to `outline.json`, and a test compares the two. The file stands for the commands only
where no method was registered before and the package has the modules that it was written for: a method that was added
appears at once, because the commands are then built from the registered classes.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args, get_origin

from cyclopts import App, Parameter

FILE = Path(__file__).with_name("outline.json")
SHARED = ("Common", "Model")
"""Groups of flags that many commands have: each of these flags is written once."""

_TYPES = {"int": int, "float": float, "str": str, "bool": bool, "Path": Path, "tuple": tuple, "Literal": Literal}


def outline(root: App) -> dict[str, Any]:
    """The outline of a command line that was built from registered commands."""
    shared: dict[str, Any] = {}
    tree = _node(root, "", shared)
    packages = sorted({module.split(".")[1] for module in _modules(tree)})
    return {"packages": packages, "modules": modules(packages), "flags": shared, "commands": tree["commands"]}


def stored() -> dict[str, Any] | None:
    """The outline in `outline.json`; None where it may not be that of the commands that would be built."""
    if "deepscope.registry" in sys.modules:  # somebody may have registered more
        return None
    found = json.loads(FILE.read_text(encoding="utf-8"))
    return found if found["modules"] == modules(found["packages"]) else None


def modules(packages: Sequence[str]) -> int:
    """A checksum of the names of all modules of some packages."""
    root = FILE.parent.parent
    names = (path.relative_to(root).as_posix() for package in packages for path in (root / package).rglob("*.py"))
    return zlib.crc32("\n".join(sorted(names)).encode())


def add_outlined(root: App, kept: dict[str, Any]) -> None:
    """Give `root` the commands of an outline, for help pages; they cannot be run."""
    _add(root, kept["commands"], kept["flags"])


def runs(kept: dict[str, Any], chain: Sequence[str]) -> str:
    """MODULE:CLASS of the command that words name; empty for a group that is none."""
    node = kept
    for word in chain:
        node = node.get("commands", {}).get(word, {})
    return node.get("runs", "")


def command(kept: dict[str, Any], chain: Sequence[str]) -> type[Any] | None:
    """The class of that command, imported with nothing but what it needs; None for a group."""
    module, _, name = runs(kept, chain).partition(":")
    return getattr(importlib.import_module(module), name) if module else None


def _node(app: App, name: str, shared: dict[str, Any]) -> dict[str, Any]:
    """A command or group, with what is below it."""
    function = app.default_command
    found: dict[str, Any] = {"help": app.help, "epilogue": app.help_epilogue if name else None, "hidden": not app.show}
    if function is not None:
        found["runs"] = f"{function.__module__}:{function.__qualname__}"
        found["of"] = function.__wrapped__.__module__  # pyright: ignore[reportFunctionMemberAccess]
        parameters = inspect.signature(function).parameters.values()
        found["arguments"] = [_shared(_argument(parameter), shared) for parameter in parameters]
    below = [word for word in app if not word.startswith("-")]
    if below:
        found["commands"] = {word: _node(app[word], word, shared) for word in sorted(below)}
    return {key: value for key, value in found.items() if value}


def _modules(node: dict[str, Any]) -> set[str]:
    """The modules that define the commands and methods of an outline."""
    own = {node["runs"].partition(":")[0], node["of"]} if "runs" in node else set()
    return own.union(*map(_modules, node.get("commands", {}).values()))


def _argument(parameter: inspect.Parameter) -> dict[str, Any]:
    """What the help says of an argument or flag."""
    hint, *marks = get_args(parameter.annotation)
    about = Parameter.combine(*(mark for mark in marks if isinstance(mark, Parameter)))
    show = about.show_default
    required = parameter.default is inspect.Parameter.empty
    found = {
        "name": parameter.name,
        "type": _text(hint),
        "kind": parameter.kind.name,
        "help": about.help,
        "required": required,
        "default": show(parameter.default) if callable(show) and not required else None,
        "group": next((str(group) for group in cast("tuple[Any, ...]", about.group or ())), None),
        "flag": next(iter(about.name or ()), None),
        "hidden": about.show is False,
        "positive_only": about.negative == (),
    }
    return {key: value for key, value in found.items() if value not in (None, False)}


def _shared(argument: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any] | str:
    """The argument, or its name where it is the same for many commands."""
    name = argument["name"]
    if argument.get("group") in SHARED and shared.setdefault(name, argument) == argument:
        return name
    return argument


def _text(hint: Any) -> str:
    """A type as it is written in code, without what `Annotated` adds."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _text(inner[0])
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, inner))}]"
    if origin is tuple:
        return f"tuple[{', '.join(map(_text, inner))}]"
    if inner:  # a union
        return " | ".join(map(_text, inner))
    return "..." if hint is ... else "None" if hint is type(None) else hint.__name__


def _add(parent: App, commands: dict[str, Any], flags: dict[str, Any]) -> None:
    for name, node in commands.items():
        app = App(name=name, help=node.get("help", ""), help_epilogue=node.get("epilogue"), show="hidden" not in node)
        if "arguments" in node:
            app.default(_function([flags[a] if isinstance(a, str) else a for a in node["arguments"]]))
        _add(app, node.get("commands", {}), flags)
        parent.command(app)


def _function(arguments: Sequence[dict[str, Any]]) -> Callable[..., None]:
    def call(*_: Any, **__: Any) -> None:
        raise AssertionError("an outline is not run")

    parameters = [_parameter(argument) for argument in arguments]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _parameter(argument: dict[str, Any]) -> inspect.Parameter:
    default = argument.get("default")
    given: dict[str, Any] = {name: argument[name] for name in ("help", "group") if name in argument}
    if "flag" in argument:
        given["name"] = argument["flag"]
    if "positive_only" in argument:
        given["negative"] = ()
    about = Parameter(show=False if "hidden" in argument else None, show_default=partial(_default, default), **given)
    hint = eval(argument["type"], _TYPES)  # what `_text` wrote into a file of the package
    kind = getattr(inspect.Parameter, argument["kind"])
    empty = inspect.Parameter.empty
    return inspect.Parameter(
        argument["name"], kind, default=empty if "required" in argument else default, annotation=Annotated[hint, about]
    )


def _default(text: str | None, _: Any) -> str | None:
    return text

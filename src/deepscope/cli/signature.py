"""The parameters of a command: fields of dataclasses become arguments and flags, their documentation becomes help."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

from cyclopts import Parameter
from docstring_parser import parse

from deepscope.cli.reading import holds, reader
from deepscope.cli.usage import flag
from deepscope.command import Command
from deepscope.models import ModelOptions
from deepscope.registry import Registered
from deepscope.session import EngineName
from deepscope.settings import FigureFormat, Range, field_types, overridden


@dataclass(frozen=True, kw_only=True)
class Common:
    """The flags that every command takes.

    Attributes:
        out: folder to write the result to: result.json, arrays as .npz, figures as PNG, animations as GIF, WebP, MP4.
        figure_format: svg or pdf writes each figure to {out} in this format too, beside the PNG: as vector graphics in
            which only photographs and maps are bitmaps.
        json: print the result as JSON on stdout, and nothing else there.
        device: auto, cpu, cuda, cuda:1, mps.
        precision: auto uses bfloat16 for features and for training where it is measured to be faster on this machine
            and to agree with float32, and float32 for everything else.
        engine: what runs passes without a gradient; auto measures which engine is fastest on this machine, and uses
            PyTorch for short jobs.
        seed: random seed; the same seed gives the same result.
        quiet: print no progress and no notes.
        of_model: what is said of the command's model; its fields are flags of the commands that take a model.
    """

    out: Path | None = None
    figure_format: FigureFormat = "png"
    json: Annotated[bool, Parameter(negative=())] = False
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    engine: EngineName = "auto"
    seed: Annotated[int, Range(-(2**63), 2**63 - 1)] = 0
    quiet: Annotated[bool, Parameter(negative=())] = False
    of_model: ModelOptions = ModelOptions()


OF_MODEL = "of_model_"
"""Before the names of the parameters that are said of a model: commands have arguments of their own named "classes"."""


def signature_of(
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
    return parameter.replace(name=OF_MODEL + parameter.name, kind=parameter.KEYWORD_ONLY, annotation=annotation)


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
        for old in [old for old, new in renamed_fields(cls).items() if new == field.name]:
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


def family_field(command: type[Command]) -> tuple[str, type[Registered]] | None:
    """The field that holds a method, and the family of methods; None where the command has none."""
    for name, hint in field_types(command).items():
        for kind in (hint, *(get_args(hint) if isinstance(hint, UnionType) else ())):  # "family | None" leaves it open
            if _is_family(kind):
                return name, kind
    return None


def _is_family(hint: Any) -> bool:
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    plain = isinstance(kind, type) and not get_origin(kind)  # in Python 3.10 `tuple[int, ...]` is a type too
    return plain and issubclass(kind, Registered) and inspect.isabstract(kind)


def renamed_fields(cls: type[Any]) -> Mapping[str, str]:
    """Old names of a dataclass's fields, which the command line still takes, and their new ones."""
    return getattr(cls, "renamed", {})

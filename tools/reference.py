"""Reference pages generated from the code; `mkdocs.yml` lists this file under `hooks`.

The public API comes from the exports of `deepscope`, commands from the command line, methods and measures from the
registered families. No name is written by hand here.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Annotated, Any, get_args, get_origin

from cyclopts import App
from docstring_parser import parse
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import deepscope
from declared import declared_page
from deepscope.adaptation.validators import Validator
from deepscope.attributions.faithfulness import Measure
from deepscope.cli.program import app
from deepscope.command import Command
from deepscope.data.dataset import Dataset
from deepscope.models.capabilities import Capabilities, UsesModel
from deepscope.models.source import ModelSource
from deepscope.registry import Registered, discover
from deepscope.settings import Range, declared, field_types
from metric_names import MetricName, metric_names, recorded_names

_EVALUATIONS = (Measure, Validator)
"""Families that the page of metrics describes."""
_ELSEWHERE = (Command, Dataset, ModelSource, *_EVALUATIONS)
"""Families that are no methods."""
_KEPT = Path(__file__).parent.parent / "docs" / "experiments" / "kept"
_ADDRESS = re.compile(r"arXiv:([0-9]{4}\.[0-9]{4,5})")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by MkDocs: add the generated pages to the site."""
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def pages() -> Mapping[str, str]:
    """Every generated page: its path below docs/, and its Markdown."""
    for module in _public_modules():
        discover(module.__name__)
    root = app()
    found = {
        "reference/api.md": api(),
        "reference/methods.md": methods(),
        "reference/support.md": declared_page(_families()),
        "reference/models.md": models(),
        "reference/measures.md": measures(),
        "reference/metric-names.md": names_of_metrics(),
    }
    commands = sorted(name for name in root if not name.startswith("-"))
    for name in commands:
        found[f"reference/commands/{name}.md"] = command(root, name)
    found["reference/commands/index.md"] = command_index(root, commands)
    return MappingProxyType(found)


def api() -> str:
    """The public functions and classes of `deepscope`, for mkdocstrings."""
    values = [getattr(deepscope, name) for name in deepscope.__all__]
    errors = [value for value in values if inspect.isclass(value) and issubclass(value, Exception)]
    classes = [value for value in values if inspect.isclass(value) and value not in errors]
    parts = ["# Python API\n\nEverything here is an attribute of `deepscope`, imported as `ds` in the examples.\n"]
    for title, members in (
        ("Functions", filter(inspect.isfunction, values)),
        ("Classes", classes),
        ("Errors", errors),
    ):
        parts += [f"## {title}\n", *(f"::: {value.__module__}.{value.__qualname__}\n" for value in members)]
    packages = [f"- `ds.{_last(module)}`: {_first_line(module.__doc__ or '')}\n" for module in _public_modules()]
    return "\n".join([*parts, "## Packages\n\n" + "".join(packages)])


def _public_modules() -> list[ModuleType]:
    return [value for name in deepscope.__all__ if inspect.ismodule(value := getattr(deepscope, name))]


def _last(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def command_index(root: App, names: list[str]) -> str:
    """The page that lists all commands."""
    rows = "".join(f"| [`deepscope {name}`]({name}.md) | {_first_line(_help(root[name]))} |\n" for name in names)
    return f"# Commands\n\n| command | |\n| --- | --- |\n{rows}"


def command(root: App, name: str) -> str:
    """The page of one command with all of its subcommands."""
    page = root[name].generate_docs(output_format="markdown", recursive=True, usage_name=f"deepscope {name}")
    page = re.sub(r"^## Table of Contents\n.*?(?=^#|\Z)", "", page, flags=re.M | re.S)
    return re.sub(r"^# .*", f"# deepscope {name}", page, count=1)


def methods() -> str:
    """Every family of methods: each method with its source and its settings."""
    introduction = (
        "# Methods\n\nEvery registered method with its settings. The name is that of the command line; the class is "
        "that of Python.\n"
    )
    return "\n".join([introduction, *map(_family, _families())])


def _families() -> list[type[Registered]]:
    """The families of methods."""
    return [
        family
        for family in sorted(Registered.__subclasses__(), key=lambda one: one.__module__)
        if family not in _ELSEWHERE and inspect.isabstract(family)
    ]


def names_of_metrics() -> str:
    """The names that commands and checks give to metrics, from the code; those of studies, from their kept results."""
    parts = [
        "# Names of metrics\n\nWords in capitals stand for names: of a method, a class, a model, a measure; those in "
        "brackets may be empty. Where an interval is marked, `NAME/low` and `NAME/high` exist too. Audits and reports "
        "put the section's name in front: `accuracy/brier`. See [metrics](metrics.md) for what they mean.\n"
    ]
    by_title: dict[str, set[MetricName]] = {}
    for module, names in metric_names().items():
        if module.partition("/")[0] not in ("studies", "statistics"):
            by_title.setdefault(_makers(module), set()).update(names)
    parts += [_names(title, sorted(by_title[title])) for title in sorted(by_title)]
    documents = sorted(_KEPT.glob("*/result.json"))
    parts += [_names(f"`deepscope study {path.parent.name}`", recorded_names(path)) for path in documents]
    return "\n".join(parts)


def _makers(module: str) -> str:
    """The commands whose results a module makes; else what the module is."""
    package, _, stem = module.rpartition("/")
    packages = ("commands", "presenters") if package == "presenters" else (package,)
    commands = [one for one in Command.concrete() if one.__module__ in {f"deepscope.{p}.{stem}" for p in packages}]
    if commands:
        return ", ".join(f"`deepscope {one.command_path()}`" for one in commands)
    return _first_line(sys.modules[f"deepscope.{module.replace('/', '.')}"].__doc__ or "").rstrip(".")


def _names(title: str, names: Sequence[MetricName]) -> str:
    rows = "".join(f"| `{name.text}` | {'yes' if name.interval else ''} |\n" for name in names)
    return f"## {title}\n\n| metric | interval |\n| --- | --- |\n{rows}"


def models() -> str:
    """Where models come from, and which methods work on which of them."""
    sources = sorted(ModelSource.members().values(), key=lambda source: source.rank)
    listed = "".join(f"| {source.name} | {_cell(inspect.getdoc(source) or '')} |\n" for source in sources)
    kinds = {
        "network": Capabilities(),
        "function with gradients, TorchScript": Capabilities(activations=False),
        "black box": Capabilities(gradients=False, activations=False),
        "features only": Capabilities(probabilities=False),
    }
    families = [family for family in Registered.__subclasses__() if issubclass(family, UsesModel)]
    rows = ""
    for family in sorted(families, key=lambda one: one.__name__):
        for method in family.members().values():
            works = ("no" if kind.missing(method.needs) else "yes" for kind in kinds.values())
            rows += f"| {_title(family)} | {method.name} | {' | '.join(works)} |\n"
    columns = ("family", "method", *kinds)
    return (
        "# Models and what works on them\n\nSources are asked in this order. See [how to load a model]"
        f"(../how-to/models.md).\n\n| source | opens |\n| --- | --- |\n{listed}\n## Methods\n\nA method is matched "
        "with the model before anything runs. A black box is an ONNX file, or a function without gradients.\n\n"
        f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}\n{rows}"
    )


def measures() -> str:
    """The registered measures of explanations and validators of adaptation."""
    introduction = "# Measures\n\nHow maps and adapted networks are scored. See [metrics](metrics.md) for all names.\n"
    return "\n".join([introduction, *map(_family, _EVALUATIONS)])


def _family(family: type[Registered]) -> str:
    about = inspect.cleandoc(family.__doc__ or "").partition("\n\n")[0]
    return "\n".join([f"## {_title(family)}\n\n{about}\n", *map(_method, family.members().values())])


def _title(family: type[Registered]) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", family.__name__).capitalize()


def _method(method: type[Registered]) -> str:
    parsed = parse(inspect.getdoc(method) or "")
    text = "\n\n".join(part for part in (parsed.short_description, parsed.long_description) if part)
    text = _ADDRESS.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", text)
    meanings = {one.arg_name: one.description or "" for one in parsed.params}
    rows = "".join(f"| {' | '.join(_cell(part) for part in row)} |\n" for row in _settings(method, meanings))
    head = "| setting | type | default | range | meaning |\n| --- | --- | --- | --- | --- |\n"
    heading = f"### {method.name}\n\n`{method.__module__}.{method.__qualname__}`\n\n{text}\n"
    return f"{heading}\n{head}{rows}" if rows else heading


def _settings(method: type[Registered], meanings: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    assert dataclasses.is_dataclass(method)
    for field in dataclasses.fields(method):
        hint = field_types(method)[field.name]
        numeric = any(kind in (int, float) for kind in _kinds(hint))
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        yield (
            f"`{field.name}`",
            f"`{_type(hint)}`",
            "" if default is dataclasses.MISSING else f"`{_number(default)}`",
            _range(declared(hint)) if numeric else "",
            meanings.get(field.name, ""),
        )


def _range(one: Range) -> str:
    if one.most < Range().most:
        return str(one)
    return f"above {one.least:g}" if one.above else f"at least {one.least:g}"


def _kinds(hint: Any) -> Iterator[Any]:
    yield hint
    for inner in get_args(hint):
        yield from _kinds(inner)


def _type(hint: Any) -> str:
    """A type as it is written, without what `Annotated` adds."""
    if get_origin(hint) is Annotated:
        return _type(get_args(hint)[0])
    if hint is type(None):
        return "None"
    if isinstance(hint, type) and not get_args(hint):
        return hint.__name__
    return re.sub(r"typing\.|deepscope\.[\w.]*\.", "", re.sub(r"Annotated\[([\w.]+), .*?\)\]", r"\1", str(hint)))


def _number(value: object) -> str:
    """A default as a person writes it: 4/255 rather than 0.01568627450980392."""
    if isinstance(value, float) and len(str(value)) > 8:
        fraction = Fraction(value).limit_denominator(255)
        return str(fraction) if float(fraction) == value else str(value)
    return value.name if isinstance(value, Registered) else str(value)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _help(one: App) -> str:
    default = one.default_command
    return str(one.help or (default.__doc__ if default else "") or "")


def _first_line(text: str) -> str:
    return text.partition("\n")[0]

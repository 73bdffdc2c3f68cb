"""Rules of the house that hold for every module and every registered class."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import math
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args, get_origin

import numpy as np
import pytest

import deepscope
from deepscope.adaptation import Adaptation, Tuning
from deepscope.attacks import Attack
from deepscope.attributions import Attribution
from deepscope.attributions.faithfulness import Measure
from deepscope.cli.commands import _commands
from deepscope.cli.signature import OF_MODEL, Common, family_field, signature_of
from deepscope.command import Command
from deepscope.data.corruptions import Corruption
from deepscope.errors import SettingError
from deepscope.gans import Objective
from deepscope.registry import EVERY_COMMAND, Registered
from deepscope.settings import declared, field_types

SOURCE = Path(deepscope.__file__).parent
CHECKOUT = Path(__file__).parent.parent.parent
MODULES = [module.name for module in pkgutil.walk_packages([str(SOURCE)], prefix="deepscope.")]

for _name in MODULES:
    if not _name.endswith("__main__"):
        importlib.import_module(_name)

_commands(Command)  # imports all of them
CLASSES = sorted(
    (cls for family in Registered.__subclasses__() for cls in family.concrete()),
    key=lambda cls: (cls.__module__, cls.__name__),  # the same in every process: names alone are not unique
)


def test_imports_run_one_way() -> None:
    linter = shutil.which("lint-imports", path=Path(sys.executable).parent)
    if linter is None:
        pytest.skip("checks the layers: pip install 'deepscope[dev]'")
    done = subprocess.run([linter, "--no-cache"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_module_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "helpers", "common", "misc", "tools"}
    assert [module for module in MODULES if module.rpartition(".")[2] in drawers] == []


def test_only_render_imports_matplotlib() -> None:
    guilty = [
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if "matplotlib" in path.read_text() and path.relative_to(SOURCE).parts[0] != "render"
    ]
    assert guilty == []


def test_nothing_unpickles_what_it_was_given() -> None:
    for path in SOURCE.rglob("*.py"):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            name, settings = ast.unparse(call.func), {word.arg: ast.unparse(word.value) for word in call.keywords}
            assert name not in {"pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load"}, path
            assert name != "torch.load" or settings.get("weights_only") == "True", path
            assert settings.get("allow_pickle", "False") == "False", path


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_a_registered_class_is_a_final_frozen_dataclass_with_every_field_explained(cls: type[Registered]) -> None:
    assert dataclasses.is_dataclass(cls)
    assert cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert cls.__subclasses__() == [], "no method subclasses a method"
    documentation = inspect.getdoc(cls) or ""
    assert documentation
    for field in dataclasses.fields(cls):
        assert field.name in documentation, f"the docstring does not say what {field.name} is"


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_a_number_beyond_its_range_is_refused_at_construction(cls: type[Registered]) -> None:
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    required = {
        name: None
        for name, field in fields.items()
        if field.default is field.default_factory is dataclasses.MISSING  # ranges are checked first
    }
    for name in fields:
        hint = field_types(cls)[name]
        if _holds_a_number(hint):
            allowed = declared(hint)
            low = allowed.least if allowed.above else allowed.least - 1
            for bad in (low, 2 * allowed.most, math.nan, math.inf, np.float64(low), np.int64(allowed.least - 1)):
                said = "at most 1,000,000,000" if allowed.most == 1e9 < bad else str(allowed)
                with pytest.raises(SettingError, match=rf"^{name} \S+ is out of .*{re.escape(said)}"):
                    cls(**{**required, name: (bad,) if get_origin(hint) is tuple else bad})


def _holds_a_number(hint: Any) -> bool:
    return hint in (int, float) or any(map(_holds_a_number, get_args(hint)))


@pytest.mark.parametrize("family", Registered.__subclasses__(), ids=lambda family: family.__name__)
def test_names_within_a_family_differ(family: type[Registered]) -> None:
    names = [(getattr(cls, "area", ""), cls.name) for cls in family.concrete()]
    assert len(set(names)) == len(names)


def _package(cls: type[Any]) -> str:
    return cls.__module__.rpartition(".")[0]


FAMILIES = [family for family in Registered.__subclasses__() if family.__module__.startswith("deepscope.")]
_METHODS = sorted(
    {
        (_package(cls), family)
        for family in FAMILIES
        for cls in family.concrete()
        if _package(cls).startswith("deepscope")
    },
    key=str,
)
_EXPORTING = {
    "deepscope.adaptation": (Adaptation, Tuning),
    "deepscope.attacks": (Attack,),
    "deepscope.attributions": (Attribution,),
    "deepscope.attributions.faithfulness": (Measure,),
    "deepscope.data.corruptions": (Corruption,),
    "deepscope.gans": (Objective,),
}
"""Packages whose methods are constructed in Python; methods of the other families go by name."""


@pytest.mark.parametrize(
    ("package", "family"), _METHODS, ids=[f"{name}-{family.__name__}" for name, family in _METHODS]
)
def test_a_package_exports_all_of_its_methods_or_none(package: str, family: type[Registered]) -> None:
    here = {cls.__name__ for cls in family.concrete() if _package(cls) == package}
    module = importlib.import_module(package)
    exported = here & set(getattr(module, "__all__", ()))
    if package.endswith(".report"):
        assert exported == here, "the one command of its package"
    else:
        assert exported == (here if family in _EXPORTING.get(package, ()) else set())
    assert all(getattr(module, name) in family.concrete() for name in exported)


def test_a_family_reserves_the_settings_of_its_commands() -> None:
    every = {field.name for field in dataclasses.fields(Common)} - {"of_model"}  # which is no flag itself
    assert every == EVERY_COMMAND == Command.reserved
    commands = [cls for cls in _commands(Command) if cls.__module__.startswith("deepscope.")]
    taking = {found[1]: (cls, found[0]) for cls in commands if (found := family_field(cls))}
    assert taking
    for family in FAMILIES:
        if family is not Command:
            names = signature_of(*taking[family]).parameters if family in taking else ()
            taken = {name for name in names if not name.startswith(OF_MODEL)}  # whose flags never clash
            assert family.reserved == taken, f"{family.__name__}.reserved differs in {family.reserved ^ taken}"

"""Families find their members, and members know their settings."""

from __future__ import annotations

import json
import subprocess
import sys
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from deepscope.errors import DeepscopeError
from deepscope.registry import EVERY_COMMAND, Registered, ReservedFieldError, discover, kebab_case


class Polish(Registered):
    @abstractmethod
    def __call__(self) -> str: ...


class Gradual(Polish):
    """Between the family and its methods; still abstract, so no member."""


@dataclass(frozen=True)
class SlowWax(Gradual):
    layers: int = 3
    where: Path = Path("a/b")

    def __call__(self) -> str:
        return "wax"


@dataclass(frozen=True)
class BNV(Polish):
    base: Polish = SlowWax(layers=1)
    grades: tuple[float, ...] = (0.5, 1.0)
    note: str | None = None

    def __call__(self) -> str:
        return "bnv"


@dataclass(frozen=True)
class Named(Polish):
    name = "another-name"

    def __call__(self) -> str:
        return "named"


class Other(Registered):
    @abstractmethod
    def __call__(self) -> str: ...


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("SmoothGrad", "smooth-grad"),
        ("FGSM", "fgsm"),
        ("GradCAM", "grad-cam"),
        ("IntegratedGradients", "integrated-gradients"),
        ("PGDAttack", "pgd-attack"),
        ("OnePixel", "one-pixel"),
        ("VGG16", "vgg16"),
        ("Saliency", "saliency"),
        ("DeepFool2Step", "deep-fool2-step"),
    ],
)
def test_kebab_case(written: str, name: str) -> None:
    assert kebab_case(written) == name


def test_members_are_the_concrete_classes_of_the_family_in_alphabetical_order() -> None:
    assert Polish.members() == {"another-name": Named, "bnv": BNV, "slow-wax": SlowWax}
    assert list(Polish.members()) == ["another-name", "bnv", "slow-wax"]
    assert Gradual.members() == {"slow-wax": SlowWax}
    assert Other.members() == {}


@pytest.mark.parametrize("text", ["slow-wax", "slow_wax", "SlowWax", "SLOWWAX"])
def test_a_member_is_found_however_it_is_written(text: str) -> None:
    assert Polish.member(text) is SlowWax


def test_an_unknown_member_is_answered_with_the_nearest() -> None:
    with pytest.raises(DeepscopeError, match=r"no polish is named 'slow-vax': did you mean 'slow-wax'"):
        Polish.member("slow-vax")


def test_settings_are_json_with_methods_inside() -> None:
    settings = BNV(note="x").settings()
    assert settings == {
        "base": {"method": "slow-wax", "layers": 1, "where": "a/b"},
        "grades": [0.5, 1.0],
        "note": "x",
    }
    assert json.loads(json.dumps(settings)) == settings


def test_discover_imports_every_module_below(tmp_path: Path) -> None:
    """In a process of its own: the package it imports stays out of this one."""
    package = tmp_path / "found_by_walking"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "one.py").write_text("print('one')")
    (package / "inner" / "__init__.py").touch()
    (package / "inner" / "two.py").write_text("print('two')")
    code = "from deepscope.registry import discover; discover('found_by_walking')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert sorted(done.stdout.split()) == ["one", "two"]
    with pytest.raises(ModuleNotFoundError):
        discover("deepscope_has_no_such_package")


class Sander(Registered):
    reserved: ClassVar[frozenset[str]] = EVERY_COMMAND | {"model"}

    @abstractmethod
    def __call__(self) -> str: ...


@pytest.mark.parametrize(("field", "whose"), [("seed", "every command"), ("model", "methods of its family")])
def test_a_reserved_field_is_refused_where_the_class_is_defined(field: str, whose: str) -> None:
    with pytest.raises(ReservedFieldError, match=rf"^Belt\.{field}: .*{whose} has a setting of that name; rename"):
        type("Belt", (Sander,), {"__annotations__": {"grit": int, field: "int"}, field: 1})
    assert Sander.members() == {}, "what was refused is no member, even while Python still holds the class"


def test_a_class_variable_may_have_any_name() -> None:
    @dataclass(frozen=True)
    class Orbital(Sander):
        seed: ClassVar[int] = 1
        grit: int = 80

        def __call__(self) -> str:
            return "orbital"

    assert Sander.members() == {"orbital": Orbital}
    assert Orbital(grit=120).settings() == {"grit": 120}


def test_a_module_with_a_reserved_field_breaks_nothing_else(tmp_path: Path) -> None:
    """The rest of its package is still found, and the family's commands run."""
    package = tmp_path / "two_methods"
    package.mkdir()
    (package / "__init__.py").touch()
    method = """
from dataclasses import dataclass
from deepscope.attributions import Attribution

@dataclass(frozen=True)
class {name}(Attribution):
    "A map of nothing."
    {field}: int = 1

    def __call__(self, model, pixels, target, *, rng=None):
        return pixels.mean(1)
"""
    (package / "bad.py").write_text(method.format(name="Bad", field="target"))
    (package / "good.py").write_text(method.format(name="Good", field="width"))
    code = (
        "from deepscope.registry import discover; discover('two_methods')\n"
        "from deepscope.cli.program import app\n"
        "print(*sorted(app()['explain']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "two_methods.bad is left out: Bad.target: " in done.stderr
    assert {"good", "saliency"} <= set(done.stdout.split())
    assert "bad" not in done.stdout.split()

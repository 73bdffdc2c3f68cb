"""Families of methods, discovered by importing their package.

A family is an abstract class that lists `Registered` among its bases. Its methods are the concrete classes below it,
each a frozen dataclass whose fields are its whole configuration: they give the command line's
flags, the help, the repr, the figure's caption and the JSON. Nothing is listed by hand. A number outside the
range that its field declares (`settings`) is refused when the class is constructed, before its own `__post_init__`. A
field whose name the family's commands take themselves is refused when the class is defined.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import pkgutil
import re
import sys
import warnings
from abc import ABC
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeVar, cast, get_origin
from weakref import WeakSet

from deepscope.errors import SettingError, unknown
from deepscope.names import plain
from deepscope.settings import check

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

T = TypeVar("T", bound="Registered")

EVERY_COMMAND = frozenset({"device", "engine", "figure_format", "json", "out", "precision", "quiet", "seed"})
"""Settings that every command takes, whatever it runs."""
ON_IMAGES = frozenset({"batch_size", "figures", "limit", "model", "paths", "target"})
"""Settings of the commands that run an attack or an attribution method on images."""


class ReservedFieldError(TypeError):
    """A class of a family has a field of a name that the family's commands take themselves."""


_REFUSED: WeakSet[type[Any]] = WeakSet()
"""Classes whose definition failed. Python may keep them for a while."""


class Registered(ABC):
    """Base of every family. A concrete class is final: no method subclasses another method."""

    name: ClassVar[str]
    example_flags: ClassVar[str] = ""
    """Flags that a command's example needs with this method."""
    reserved: ClassVar[frozenset[str]] = frozenset()
    """Settings of the commands that take a method of this family: no field of a method may have one of these names."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if taken := sorted(cls.reserved & _own_fields(cls)):
            _REFUSED.add(cls)
            whose = "every command" if taken[0] in EVERY_COMMAND else "a command that runs methods of its family"
            raise ReservedFieldError(f"{cls.__name__}.{taken[0]}: {whose} has a setting of that name; rename the field")
        if "name" not in cls.__dict__:
            cls.name = kebab_case(cls.__name__)
        if "__post_init__" in cls.__dict__:
            cls.__post_init__ = _checked_before(cls.__dict__["__post_init__"])

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def members(cls: type[T]) -> dict[str, type[T]]:
        """The family's concrete classes by name, in alphabetical order."""
        return {member.name: member for member in cls.concrete()}

    @classmethod
    def concrete(cls: type[T]) -> list[type[T]]:
        """The family's concrete classes, sorted by name."""
        return sorted(set(_concrete(cls)), key=lambda member: (member.name, member.__module__))

    @classmethod
    def member(cls: type[T], name: str) -> type[T]:
        """The member of that name; hyphens, underscores and case do not count.

        Raises:
            UnknownNameError: no member has that name; the message gives the nearest ones.
        """
        members = cls.members()
        for candidate, member in members.items():
            if plain(candidate).replace(" ", "") == plain(name).replace(" ", ""):
                return member
        raise unknown(kebab_case(cls.__name__).replace("-", " "), name, members)

    @classmethod
    def named(cls: type[T], name: str) -> T:
        """The member of that name with its default settings. Raises UnknownNameError as `member` does."""
        return cls.member(name)()

    @classmethod
    def of(cls: type[T], given: T | str) -> T:
        """A member itself, or the one of that name with its default settings.

        Raises:
            UnknownNameError: no member has that name.
            SettingError: it is neither a name nor a member: a class in place of an instance, say.
        """
        if isinstance(given, str):
            return cls.named(given)
        if not isinstance(cast("object", given), cls):
            kind = kebab_case(cls.__name__).replace("-", " ")
            hint = f": write {given.__name__}()" if isinstance(given, type) else ""
            raise SettingError(
                "method", f"must be the name of a method ({kind}) or an instance of one{hint}", got=given
            )
        return given

    def settings(self) -> dict[str, Any]:
        """The fields and their values, ready for JSON."""
        assert dataclasses.is_dataclass(self)
        return {field.name: plain_value(getattr(self, field.name)) for field in dataclasses.fields(self)}


def kebab_case(name: str) -> str:
    """`SmoothGrad` -> `smooth-grad`, `FGSM` -> `fgsm`, `GradCAM` -> `grad-cam`."""
    return _WORD_START.sub("-", name).lower()


def discover(package: str) -> None:
    """Import every module below `package`, so that its members exist.

    A module whose class has a reserved field is left out with a warning: all else works without it.
    """
    root = importlib.import_module(package)
    for module in pkgutil.walk_packages(root.__path__, prefix=f"{package}."):
        try:
            importlib.import_module(module.name)
        except ReservedFieldError as error:
            warnings.warn(f"{module.name} is left out: {error}", stacklevel=2)


def import_public() -> None:
    """Import all that `deepscope` exports, so that every family has its methods. Only messages need this."""
    face = importlib.import_module("deepscope")
    for name in face.__all__:
        getattr(face, name)


def plain_value(value: Any) -> Any:
    """A setting as JSON can hold it: a method becomes its name and settings, a path its text."""
    if isinstance(value, Registered):
        return {"method": value.name, **value.settings()}
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, (list, tuple)):
        return [plain_value(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {str(key): plain_value(item) for key, item in cast("dict[Any, Any]", value).items()}
    return str(value)


def _own_fields(cls: type[Any]) -> set[str]:
    """The fields that a class is about to declare: `dataclass` has not run yet."""
    if sys.version_info >= (3, 14):  # annotations are evaluated when asked for, and may name what does not exist yet
        import annotationlib

        hints = annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    else:
        hints = inspect.get_annotations(cls)
    return {name for name, hint in hints.items() if not _is_class_variable(hint)}


def _is_class_variable(hint: Any) -> bool:
    if isinstance(hint, str):
        return hint.removeprefix("typing.").startswith("ClassVar")
    return hint is ClassVar or get_origin(hint) is ClassVar


def _checked_before(own: Callable[[Any], None]) -> Any:
    """A class's own `__post_init__`, which then sees numbers in range."""

    @functools.wraps(own)
    def checked(self: Any) -> None:
        check(self)
        own(self)

    return checked


def _concrete(cls: type[T]) -> Iterator[type[T]]:
    for child in cls.__subclasses__():
        if child in _REFUSED:
            continue
        if not inspect.isabstract(child):
            yield child
        yield from _concrete(child)

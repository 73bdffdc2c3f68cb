"""Methods and measures by name or as objects, several names per text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from deepscope.attributions.attribution import Attribution
from deepscope.attributions.faithfulness import Measure
from deepscope.errors import SettingError


def as_method(method: Attribution | str) -> Attribution:
    """A method itself, or the one of that name with its default settings.

    Raises:
        UnknownNameError: no method has that name.
        SettingError: it is something else.
    """
    return Attribution.of(method)


def as_methods(methods: Iterable[Attribution | str] | Attribution | str) -> list[Attribution]:
    """Methods by name, several in one text too, or as objects; "all" means all of them. None is listed twice.

    Where none is given, those that work on any architecture and need fewer than 100 passes per image.

    Raises:
        UnknownNameError: no method has that name.
        SettingError: one is neither a method nor a name.
    """
    wanted = _separate(methods, "methods", Attribution)
    if not wanted:
        wanted = [
            name for name, method in Attribution.members().items() if not (method.costly or method.of_transformers)
        ]
    elif "all" in wanted:
        wanted = list(Attribution.members())
    return list(dict.fromkeys(map(as_method, wanted)))


def as_measures(measures: Iterable[Measure | str] | Measure | str) -> list[Measure]:
    """Measures by name, several in one text too, or as objects; all of them where none is given.

    Raises:
        UnknownNameError: no measure has that name.
        SettingError: one is neither a measure nor a name.
    """
    wanted = _separate(measures, "measures", Measure) or list(Measure.members())
    return list(dict.fromkeys(map(Measure.of, wanted)))


def labels(methods: Sequence[Attribution | Measure]) -> list[str]:
    """A different label for each: its name, with the settings where several have the same name.

    Example:
        >>> from deepscope.attributions import Saliency, SmoothGrad
        >>> labels([Saliency(), SmoothGrad(samples=8), SmoothGrad(samples=64)])
        ['saliency', 'smooth-grad(samples=8)', 'smooth-grad(samples=64)']
    """
    names = [method.name for method in methods]
    return [
        method.name if names.count(method.name) == 1 else f"{method.name}({_differing(method, methods)})"
        for method in methods
    ]


def _differing(method: Attribution | Measure, methods: Sequence[Attribution | Measure]) -> str:
    """The settings in which it differs from others of its name."""
    others = [other.settings() for other in methods if other.name == method.name]
    own = method.settings()
    return ", ".join(f"{name}={value}" for name, value in own.items() if any(other[name] != value for other in others))


def _separate(given: Any, setting: str, family: type[Attribution | Measure]) -> list[Any]:
    """The names in a text, and the objects; raises SettingError for anything else."""
    found: list[Any] = []
    for one in [given] if isinstance(given, (family, str)) or not isinstance(given, Iterable) else given:
        if not isinstance(one, (family, str)):
            what = "attribution methods" if family is Attribution else "measures"
            raise SettingError(setting, f"must be {what} or their names", got=one)
        found += one.replace(",", " ").split() if isinstance(one, str) else [one]
    return found

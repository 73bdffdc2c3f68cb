"""What the methods of a family declare of themselves, one column per class variable; `reference.py` makes a page of it.

The columns are the class variables that a family (or a class above it) documents, such as `Attack.norm`.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deepscope.registry import Registered


def declared_page(families: Sequence[type[Registered]]) -> str:
    """A table per family: each method, and what its class variables say."""
    parts = [
        "# Support matrix\n\nWhat each method declares: what it keeps small, what it asks of a model. "
        "A method that does not apply to a model is refused in one line.\n"
    ]
    return "\n".join([*parts, *(_table(family, columns) for family in families if (columns := _columns(family)))])


def _table(family: type[Registered], columns: Mapping[str, str]) -> str:
    head = f"| method | {' | '.join(columns)} |\n| --- |{' --- |' * len(columns)}\n"
    rows = "".join(
        f"| `{name}` | {' | '.join(_said(getattr(method, column, '')) for column in columns)} |\n"
        for name, method in family.members().items()
    )
    meanings = "".join(f"- **{column}**: {about}\n" for column, about in columns.items())
    return f"## {family.__name__}\n\n{meanings}\n{head}{rows}"


def _columns(family: type[Registered]) -> dict[str, str]:
    """Class variable -> its documentation, of the family and the classes between it and `Registered`."""
    above = [cls for cls in family.__mro__ if cls.__module__.startswith("deepscope.") and cls is not Registered]
    columns = {name: about for cls in reversed(above) for name, about in _documented(cls)}
    known = set(vars(Registered)) | set(inspect.get_annotations(Registered))
    return {name: about for name, about in columns.items() if name not in known}


def _documented(cls: type[Any]) -> Iterator[tuple[str, str]]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    for field, about in zip(tree.body, tree.body[1:]):
        if not isinstance(field, ast.AnnAssign) or not ast.unparse(field.annotation).startswith("ClassVar"):
            continue
        if isinstance(about, ast.Expr) and isinstance(about.value, ast.Constant):
            yield ast.unparse(field.target), " ".join(str(about.value.value).split())


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, (set, frozenset)):
        return ", ".join(sorted(map(str, value)))
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value))
    return str(value)

"""The names of all metrics, read from the code that makes them; `reference.py` puts them on a page.

A name is a text in a dictionary of metrics: the argument `metrics=` of a `Result`, a variable that becomes one, what a
function that returns `dict[str, float]` returns, or the argument of `Estimate.metrics`, which adds the ends of an
interval. What stands in braces in an f-string becomes a word in capitals, in brackets where it may be empty.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import deepscope

_SOURCE = Path(deepscope.__file__).parent
_NAMED = {"name", "label", "key", "value", "__name__"}
"""Attributes that say nothing: `method.name` is a METHOD."""
_MAYBE = {"PREFIX", "SUFFIX"}
"""Placeholders that may be empty."""


@dataclass(frozen=True, order=True)
class MetricName:
    """A name, or a pattern of names.

    Attributes:
        text: with placeholders in capitals: "accuracy/METHOD"; those in brackets may be empty.
        interval: whether `text/low` and `text/high` exist too.
    """

    text: str
    interval: bool = False

    def matches(self, metric: str) -> bool:
        """Whether a metric of a result has this name."""
        parts = re.split(r"(\[?[A-Z][A-Z-]+\]?)", self.text)
        pattern = "".join(
            (".*" if part[0] == "[" else ".+") if part.isupper() else re.escape(part) for part in parts if part
        )
        return bool(re.fullmatch(pattern + ("(/low|/high)?" if self.interval else ""), metric))


def metric_names() -> Mapping[str, list[MetricName]]:
    """Module, relative to the package and without `.py` -> the names that it makes, sorted."""
    found = {}
    for path in sorted(_SOURCE.rglob("*.py")):
        if names := sorted(set(names_in(ast.parse(path.read_text(encoding="utf-8"))))):
            found[path.relative_to(_SOURCE).with_suffix("").as_posix()] = names
    return found


def recorded_names(document: Path) -> list[MetricName]:
    """The names in a kept `result.json`: the first word of each, and the rest where all names of that word share it."""
    metrics = json.loads(document.read_text(encoding="utf-8"))["metrics"]
    words: dict[str, set[str]] = {}
    intervals: set[str] = set()
    for name in metrics:
        plain = name.removesuffix("/low").removesuffix("/high")
        first, _, rest = plain.partition("/")
        words.setdefault(first, set()).add(rest)
        intervals |= {first} if plain != name else set()
    found: list[MetricName] = []
    for first, rests in sorted(words.items()):
        if "" in rests:
            found.append(MetricName(first, first in intervals))
        if further := sorted(rests - {""}):
            rest = further[0] if len(further) == 1 else "NAME"
            found.append(MetricName(f"{first}/{rest}", first in intervals))
    return found


def names_in(tree: ast.AST) -> Iterator[MetricName]:
    """The names that a module or class makes, function by function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            loops = _literal_loops(node)
            yield from (name for pattern in _of_function(node) for name in _expanded(pattern, loops))
        else:
            yield from names_in(node)


def _of_function(function: ast.FunctionDef) -> Iterator[MetricName]:
    nodes = list(ast.walk(function))
    results = [node.value for node in nodes if isinstance(node, ast.keyword) and node.arg == "metrics"]
    if function.returns and re.match(r"(tuple\[)?(dict|Mapping)\[str, float\]", ast.unparse(function.returns)):
        results += [node.value for node in nodes if isinstance(node, ast.Return) and node.value is not None]
    parts = [part for value in results for part in _parts(value)]
    variables = {"metrics"} | {part.id for part in parts if isinstance(part, ast.Name)}
    for value in results:
        yield from _keys(value)
    for node in nodes:
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from _assigned(target, node.value, variables)
        elif isinstance(node, ast.Call):
            yield from _of_call(node)


def _assigned(target: ast.expr, value: ast.expr, variables: set[str]) -> Iterator[MetricName]:
    if isinstance(target, ast.Tuple):
        for part in target.elts:
            yield from _assigned(part, value, variables)
    elif isinstance(target, ast.Name) and target.id in variables:
        yield from _keys(value)
    elif isinstance(target, ast.Subscript) and getattr(target.value, "id", "") in variables:
        yield from _text(target.slice)


def _literal_loops(function: ast.FunctionDef) -> Mapping[str, list[str]]:
    """Placeholder -> the texts that a loop over a literal gives it: `for norm in ("l0", "l2")`."""
    found: dict[str, list[str]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.For) and isinstance(node.target, ast.Name):
            texts = [one.value for one in getattr(node.iter, "elts", []) if isinstance(one, ast.Constant)]
            if texts and all(isinstance(text, str) for text in texts):
                found.setdefault(_placeholder(node.target), []).extend(map(str, texts))
    return found


def _expanded(name: MetricName, loops: Mapping[str, list[str]]) -> Iterator[MetricName]:
    """The name, once for each text that a loop gives its placeholder."""
    for placeholder, texts in loops.items():
        if placeholder in re.split(r"[^A-Z-]+", name.text):
            for text in texts:
                yield MetricName(name.text.replace(placeholder, text), name.interval)
            return
    yield name


def _of_call(call: ast.Call) -> Iterator[MetricName]:
    """The names of an `Estimate`, and of `top_shares`."""
    if isinstance(call.func, ast.Attribute) and call.func.attr == "metrics" and call.args:
        yield from (MetricName(name.text, True) for name in _text(call.args[0]))
    elif isinstance(call.func, ast.Name) and call.func.id == "top_shares":
        for name in _text(call.args[-1]):
            yield from (MetricName(f"{name.text}/top{most}", True) for most in (1, 5))


def _keys(value: ast.expr) -> Iterator[MetricName]:
    """The keys of the dictionaries that an expression is made of."""
    for part in _parts(value):
        if isinstance(part, ast.Dict):
            yield from (name for key in part.keys if key is not None for name in _text(key))
        elif isinstance(part, ast.DictComp) and not isinstance(part.key, ast.Name):  # whose names stand elsewhere
            yield from _text(part.key)


def _parts(value: ast.expr) -> Iterator[ast.expr]:
    """A dictionary, and those that it is merged from: with `**`, `|`, `if`; of a tuple, its first item."""
    yield value
    match value:
        case ast.Dict():
            merged = [inner for key, inner in zip(value.keys, value.values, strict=True) if key is None]
        case ast.BinOp():
            merged = [value.left, value.right]
        case ast.IfExp():
            merged = [value.body, value.orelse]
        case ast.Tuple():
            merged = value.elts[:1]
        case _:
            merged = []
    for part in merged:
        yield from _parts(part)


def _text(value: ast.expr) -> Iterator[MetricName]:
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield MetricName(value.value)
    elif isinstance(value, ast.Name):
        yield MetricName(_placeholder(value))
    elif isinstance(value, ast.JoinedStr):
        yield MetricName("".join(map(_part, value.values)))


def _part(value: ast.expr) -> str:
    if isinstance(value, ast.Constant):
        return str(value.value)
    return _placeholder(value.value) if isinstance(value, ast.FormattedValue) else ""


def _placeholder(value: ast.expr) -> str:
    word = _word(value).upper().strip("_").replace("_", "-")
    return f"[{word}]" if word in _MAYBE else word


def _word(value: ast.expr) -> str:
    """What an expression is about, in a word."""
    match value:
        case ast.Name():
            return value.id
        case ast.Attribute() if value.attr in _NAMED:
            return _word(value.value)
        case ast.Attribute():
            return value.attr
        case ast.Call():
            return _word(value.args[0] if value.args else value.func)
        case ast.Subscript():
            return _word(value.value)
        case _:
            return "value"

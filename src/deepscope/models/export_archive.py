"""What an archive of `torch.export` may hold to be opened: arithmetic on tensors, and nothing that Python runs.

`torch.export.load` unpickles constants, evaluates expressions of sizes and looks operators up by name, so an archive
could run any code. What stands in it is therefore compared with what `torch.export.save` writes of a network that is
made of PyTorch's own operators.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch

from deepscope.errors import FileError

_MOST_JSON = 2**28
_OPERATOR = re.compile(r"torch\.ops\.(aten|prims)\.(?!.*(file|save|load))\w+\.\w+")
_ARITHMETIC = {
    f"_operator.{name}"
    for name in (
        "getitem",
        "add",
        "sub",
        "mul",
        "floordiv",
        "truediv",
        "mod",
        "neg",
        "eq",
        "ne",
        "ge",
        "gt",
        "le",
        "lt",
    )
}
_SYMBOLIC = {"Symbol", "Integer", "Add", "Mul", "Max", "Min", "Mod", "PythonMod", "FloorDiv", "CleanDiv", "CeilDiv"}
_NODES = (ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.BinOp, ast.UnaryOp)
_SIGNS = (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.USub)
_LONGEST = 500


def require_harmless(path: Path) -> None:
    """Raises FileError where opening the archive could run code, or allocate more than the file holds."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        for name in names:
            inner = name.partition("/")[2].lower()  # PyTorch's reader ignores case
            if inner.startswith(("data/weights/", "data/constants/")):
                _require_tensors(archive, name, path)
            elif inner.startswith("data/sample_inputs/"):
                _require_plain(archive.read(name), path)
            elif inner.startswith("models/"):
                _require_arithmetic(_json(archive, name, path), path)
            elif inner.startswith("data/"):  # compiled libraries, say
                raise _refused(path, name)


def _require_tensors(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    """Weights and constants are plain numbers, described in JSON, of no more bytes than the file."""
    place, _, last = name.rpartition("/")
    if not last.endswith(".json"):
        if not re.fullmatch(r"(weight|tensor)_\d+", last):
            raise _refused(path, last)
        return
    size = path.stat().st_size
    config = _json(archive, name, path).get("config", {})
    for key, about in config.items():
        if about["use_pickle"] or not re.fullmatch(r"(weight|tensor)_\d+", about["path_name"]):
            raise _refused(path, key)
        shape = [side.get("as_int", size) for side in about["tensor_meta"]["sizes"]]
        if prod(shape) > size or f"{place}/{about['path_name']}" not in archive.namelist():
            raise FileError(f"{path}: {key!r} is said to have the shape {shape}, and the file is smaller", path=path)


def _require_plain(content: bytes, path: Path) -> None:
    """The example inputs hold tensors alone: where they hold more, PyTorch would unpickle it."""
    try:
        torch.load(io.BytesIO(content), weights_only=True, map_location="meta")
    except Exception as error:  # any kind, of a file that may be anything
        raise _refused(path, "its example inputs") from error


def _require_arithmetic(model: Any, path: Path) -> None:
    for key, value in _values(model):
        if key == "target" and isinstance(value, str):
            if not _OPERATOR.fullmatch(value) and value not in _ARITHMETIC and not _is_argument(value):
                raise _refused(path, f"the operator {value[:60]}")
        elif key == "expr_str" and not _is_symbolic(value):
            raise _refused(path, f"the size {str(value)[:60]}")
        elif isinstance(value, str) and "__enum__" in value:
            raise _refused(path, "a Python constant")


def _values(node: Any) -> Iterator[tuple[str, Any]]:
    """Every value with its key, at any depth."""
    waiting = [("", node)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [(str(name), inner) for name, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(key, inner) for inner in value]
        else:
            yield key, value


def _is_argument(target: str) -> bool:
    """Whether a target is the name of a weight or buffer, such as in the signature, and no operator."""
    return not target.startswith(("torch", "_operator", "math", "#"))


def _is_symbolic(text: Any) -> bool:
    """Whether an expression is a size such as `Symbol('s77', positive=True, integer=True)`."""
    if not isinstance(text, str) or len(text) > _LONGEST:
        return False
    try:
        parsed = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in ast.walk(parsed):
        if not isinstance(node, (*_NODES, *_SIGNS)):
            return False
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in _SYMBOLIC):
            return False
        if isinstance(node, ast.Name) and node.id not in _SYMBOLIC and not re.fullmatch(r"[su]\d+", node.id):
            return False
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not re.fullmatch(r"\w+", node.value):
            return False
    return True


def _json(archive: zipfile.ZipFile, name: str, path: Path) -> Any:
    if archive.getinfo(name).file_size > _MOST_JSON:
        raise FileError(f"{path}: {name} is larger than {_MOST_JSON >> 20} MB", path=path)
    try:
        return json.loads(archive.read(name))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: {name} is no JSON ({error})", path=path) from None


def _refused(path: Path, what: str) -> FileError:
    return FileError(
        f"{path} holds {what}, which Python would run or unpickle: export the network again from PyTorch's own "
        "operators, or save its state_dict()",
        path=path,
    )

"""What deepscope says: typed errors, settings instead of flags below the command line, and plain English."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import deepscope

ROOT = Path(deepscope.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

_FLAG = re.compile(r"(?<![\w-])--[a-z]")
_COMMAND_LINE = re.compile(r"`deepscope [^`]*`")
_WRITES_FLAGS = {
    "render/terminal.py": "what it prints is read by those who use the command line",
    "report/command.py": "writes the command line that repeats a section",
}


def _tree(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


def _name(module: Path) -> str:
    return module.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_an_error_says_by_its_type_what_it_concerns(module: Path) -> None:
    calls = (node for node in ast.walk(_tree(module)) if isinstance(node, ast.Call))
    plain = [node.lineno for node in calls if ast.unparse(node.func).endswith("DeepscopeError")]
    assert not plain, f"{_name(module)}: raise a subclass of DeepscopeError in lines {plain}"


@pytest.mark.parametrize("module", [path for path in MODULES if not _name(path).startswith("cli/")], ids=_name)
def test_no_message_below_the_command_line_writes_a_flag(module: Path) -> None:
    """A message names the setting, `{setting}` in a SettingError, or quotes a whole command line in backticks."""
    if _name(module) in _WRITES_FLAGS:
        return
    flags = [text for text in _texts(_tree(module)) if _FLAG.search(_COMMAND_LINE.sub("", text))]
    assert not flags, f"{_name(module)} writes flags: {flags}"


def _texts(tree: ast.AST) -> Iterator[str]:
    """The texts of a module's code, docstrings and examples left out; `{}` for the values in an f-string."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and _assigns_example(node):
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        else:
            yield from _texts(node)


def _assigns_example(node: ast.Assign | ast.AnnAssign) -> bool:
    """Whether it sets a command's or method's `example` or `example_flags`, which are command lines."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(ast.unparse(target).split(".")[-1] in {"example", "example_flags"} for target in targets)

"""A digest of the code that a result depends on, so that stored results survive changes elsewhere."""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path

_BY_MODULE = {"command", "commands", "presenters", "studies", "checks"}
"""Packages whose modules do not depend on each other unless they say so. Any other package counts as a whole."""
_DRAWING = "render"
"""The package that only presents results: workflows return data that show themselves."""


def code_digest(module: str, root: Path | None = None) -> str:
    """A digest of a module's source and of all of deepscope that it imports, directly or not, without what only draws.

    Args:
        module: its full name; one outside deepscope gives the digest of nothing.
        root: the folder of the package.
    """
    root = root or Path(__file__).parent
    packages = _packages(root)
    found, waiting, seen = set[Path](), {module}, set[str]()
    while waiting:
        seen.add(name := waiting.pop())
        for path in _files(name, root, packages) - found:
            found.add(path)
            waiting |= _imports(path) - seen
    digest = hashlib.sha256()
    for path in sorted(found):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _packages(root: Path) -> dict[str, set[Path]]:
    """The files of each package, and those beside them by an empty name."""
    packages: dict[str, set[Path]] = {"": set()}
    for path in root.rglob("*.py"):
        package, *below = path.relative_to(root).parts
        packages.setdefault(package if below else "", set()).add(path)
    return packages


def _files(module: str, root: Path, packages: dict[str, set[Path]]) -> set[Path]:
    """The files that a name stands for: a module's, or every file of the package that counts as a whole."""
    package, *below = module.split(".")
    if package != "deepscope" or not below or below[0] == _DRAWING:
        return set()
    files = packages.get(below[0], packages[""])
    if below[0] not in _BY_MODULE and below[0] in packages:
        return files
    path = root.joinpath(*below)
    return {path.with_suffix(".py"), path / "__init__.py"} & files


@functools.cache
def _imports(path: Path) -> frozenset[str]:
    """What a file imports, a name within a module counted as a module too: `_files` drops what is none."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)

"""The names that `import deepscope` offers: listed alike in three places, imported when first used, and documented."""

from __future__ import annotations

import ast
import doctest
import inspect
import subprocess
import sys
import types
from pathlib import Path

import pytest

import deepscope

_TREE = ast.parse(Path(deepscope.__file__).read_text(encoding="utf-8"))


def _type_checking_imports() -> dict[str, set[str]]:
    """Module -> names imported from it for type checkers."""
    (block,) = [node for node in _TREE.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    found: dict[str, set[str]] = {}
    for node in block.body:
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert all(alias.asname is None for alias in node.names)
            found.setdefault(node.module, set()).update(alias.name for alias in node.names)
    return found


def test_the_three_lists_agree() -> None:
    for_types = _type_checking_imports()
    assert for_types.pop("deepscope") == set(deepscope._PACKAGES)
    assert for_types == {module: set(names) for module, names in deepscope._HOMES.items()}
    names = {name for names in deepscope._HOMES.values() for name in names}
    assert set(deepscope.__all__) == names | set(deepscope._PACKAGES) | {"__version__"}
    assert len(deepscope.__all__) == len(set(deepscope.__all__))
    assert deepscope.__dir__() == deepscope.__all__


@pytest.mark.parametrize("name", deepscope.__all__)
def test_every_name_is_there(name: str) -> None:
    value = getattr(deepscope, name)
    assert value is not None
    if name in deepscope._PACKAGES:
        assert isinstance(value, types.ModuleType) and value.__name__ == f"deepscope.{name}"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'explode'"):
        _ = deepscope.explode


def test_importing_deepscope_imports_nothing_heavy() -> None:
    code = "import sys, deepscope; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "deepscope" in imported
    assert not imported & {"torch", "rich", "numpy", "PIL", "matplotlib", "torchvision", "timm", "sklearn", "cyclopts"}


@pytest.mark.parametrize("name", [name for name in deepscope.__all__ if inspect.isfunction(getattr(deepscope, name))])
def test_the_example_of_every_public_function_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEPSCOPE_CACHE", str(tmp_path / "cache"))
    function = getattr(deepscope, name)
    assert "Example:" in (inspect.getdoc(function) or "")
    (found,) = doctest.DocTestFinder(recurse=False).find(function, name, globs={})
    assert found.examples
    failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(found)
    assert not failed, capsys.readouterr().out

"""Help pages come from the outline of the commands: it says what the commands say, and nothing heavy loads for it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from deepscope.cli import outline
from deepscope.cli.program import run

STORED = json.loads(outline.FILE.read_text(encoding="utf-8"))
HEAVY = {"torch", "torchvision", "timm", "sklearn", "matplotlib", "scipy", "skimage", "numpy", "PIL"}
CLASS = '''
from dataclasses import dataclass
from deepscope.attributions import Attribution

@dataclass(frozen=True)
class Ironing(Attribution):
    """A map of nothing."""

    def __call__(self, model, pixels, target, *, rng=None):
        return pixels.mean(1)
'''


def _python(code: str) -> Any:
    """What the code prints as JSON in a process of its own, in which nothing is registered yet."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


PAGES = """
import contextlib, io, json, sys
from deepscope.cli import outline, program
from deepscope.cli.program import app, run

def chains(node, before=()):
    yield before
    for word, below in node.get("commands", {}).items():
        yield from chains(below, (*before, word))

def pages(wanted):
    for chain in wanted:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert run([*chain, "--help"]) == 0, chain
        yield " ".join(chain), printed.getvalue()

def shown(root, chain):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        root([*chain, "--help"], exit_on_error=False, print_error=False, result_action="return_value")
    return printed.getvalue()

kept = outline.stored()
every = list(chains(kept))
whole = dict(pages(every[::40]))  # each reads and builds the outline
outline.add_outlined(root := program._root(), kept)
some = [chain for chain in every if len(chain) < 2 or chain == ("explain", "grad-cam")] + every[::40] + every[1::3]
outlined = {" ".join(chain): shown(root, chain) for chain in some}
assert whole.items() <= outlined.items()
loaded = sorted({name.partition(".")[0] for name in sys.modules})
real = outline.outline(root := app())
assert outline.stored() is None  # the commands are registered now, and are asked themselves
live = {" ".join(chain): shown(root, chain) for chain in some}
live |= dict(pages(some[1::30]))  # each builds the commands
print(json.dumps([kept == real, loaded, len(every), outlined, live]))
"""


def test_the_outline_is_that_of_the_commands_and_its_pages_need_no_library_of_theirs() -> None:
    same, loaded, count, outlined, live = _python(PAGES)
    assert same, "outdated: run `python tools/outline_commands.py`"
    assert not HEAVY & set(loaded)
    assert count > 100 and len(outlined) > count / 3
    assert live == outlined
    assert "deepscope explain grad-cam" in outlined["explain grad-cam"]


def test_a_command_imports_no_other_command() -> None:
    code = """
import json, sys
from deepscope.cli import outline
kept = outline.stored()
found = outline.command(kept, ["classify"])
print(json.dumps([found.__name__, outline.command(kept, ["transfer"]), sorted(sys.modules)]))
"""
    name, group, loaded = _python(code)
    assert (name, group) == ("Classify", None)
    assert not {"deepscope.gans", "deepscope.adaptation", "deepscope.commands.explain", "deepscope.checks"} & set(
        loaded
    )


@pytest.mark.parametrize(
    "line",
    [
        "clasify",
        "classify --tpo 3",
        "explain grad-kam x.png",
        "gan judge",
        "models lst",
        "classify -- --help",
        pytest.param(
            "gan x -h",
            marks=pytest.mark.skipif(int(version("cyclopts").split(".")[0]) < 5, reason="cyclopts 4 shows the help"),
        ),
    ],
)
def test_mistakes_are_answered_as_if_all_commands_had_been_built(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line.split()) == 2
    asked = capsys.readouterr().err
    monkeypatch.setattr(outline, "stored", lambda: STORED)
    assert run(line.split()) == 2
    assert capsys.readouterr().err == asked and asked.count("\n") == 1


def test_a_method_that_was_registered_before_appears() -> None:
    code = f"""
import contextlib, io, json
{CLASS}
from deepscope.cli.program import run
with contextlib.redirect_stdout(io.StringIO()) as printed:
    assert run(["explain", "--help"]) == 0
print(json.dumps(printed.getvalue()))
"""
    assert "ironing" in _python(code)


def test_the_outline_does_not_stand_for_a_package_with_another_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "deepscope.registry")
    package = tmp_path / "deepscope"
    for name in STORED["packages"]:
        for path in (outline.FILE.parents[1] / name).rglob("*.py"):
            copy = package / path.relative_to(outline.FILE.parents[1])
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.touch()
    (package / "cli").mkdir()
    (package / "cli" / "outline.json").write_bytes(outline.FILE.read_bytes())
    monkeypatch.setattr(outline, "FILE", package / "cli" / "outline.json")
    assert outline.stored() == STORED
    (package / "attributions" / "ironing.py").write_text(CLASS)
    assert outline.stored() is None


def test_the_files_of_commands_that_are_not_loaded_are_protected(tmp_path: Path) -> None:
    folder = tmp_path / "generator"
    folder.mkdir()
    (folder / "generator.json").write_text("{}")
    image = Path(__file__).parents[2] / "docs" / "images" / "classify.png"
    code = f"""
import json
from deepscope.cli.program import run
print(json.dumps(run(["classify", {str(image)!r}, "--quiet", "--out", {str(folder)!r}])))
"""
    assert _python(code) == 2
    assert [path.name for path in folder.iterdir()] == ["generator.json"]

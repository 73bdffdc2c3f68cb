"""Write docs/reference/architectures.md: which attribution method works on which architecture, and which layer it uses.

Runs every registered method on every network of tests/architectures.py, which takes a minute. The contract tests run
the same and compare: run `python tools/architecture_support.py` when a method or a network is added.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.progress import track

from deepscope.attributions import Attribution
from deepscope.errors import UnsupportedError
from deepscope.models.feature_map import feature_layer
from deepscope.models.layouts import Layout, layout

_CHECKOUT = Path(__file__).parent.parent
PAGE = _CHECKOUT / "docs" / "reference" / "architectures.md"
_YES, _NO = "yes", "no"
_FIRST = ("architecture", "feature map", "layout")

_HEAD = """# Architectures

Which attribution methods work on which architectures. Where one does not, it refuses the network in one line that names
methods that work, and `deepscope explain compare` leaves its column empty. The feature map is the layer that
class activation maps use unless `--layer` names another: the last one where the class score
still rests on several positions. In a network that reads a class token, that is the input of the last attention.

Attacks and class images work on all of them; networks with a single input size get views of that size.

`python tools/architecture_support.py` writes this page; every network is a small one with random weights.

"""


def main() -> None:
    """Run the methods and write the page."""
    began = time.monotonic()
    names = list(Attribution.members())
    tests = _tests_list()
    classifiers = [one for one in tests.ARCHITECTURES if one.classes]
    if missing := {one.library for one in classifiers if one.library and find_spec(one.library) is None}:
        sys.exit(f"install {', '.join(sorted(missing))} first: the page lists all architectures")
    rows = [_row(one, tests.quick) for one in track(classifiers, "methods x architectures")]
    lines = [" | ".join((*_FIRST, *names)), " | ".join(["---"] * (len(_FIRST) + len(names))), *map(" | ".join, rows)]
    PAGE.write_text(_HEAD + "".join(f"| {line} |\n" for line in lines), encoding="utf-8")
    print(f"{len(rows)} architectures x {len(names)} methods in {time.monotonic() - began:.0f} s: {PAGE}")


def read() -> Mapping[str, Mapping[str, bool]]:
    """What the page says: architecture -> method -> whether it works."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    head, _, *rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return {row[0]: {name: cell == _YES for name, cell in zip(head[len(_FIRST) :], row[len(_FIRST) :])} for row in rows}


def _tests_list() -> ModuleType:
    """The list of networks, which the tests run too."""
    spec = spec_from_file_location("architectures", _CHECKOUT / "tests" / "architectures.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["architectures"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _row(architecture: Any, quick: Callable[[type[Attribution]], Attribution]) -> list[str]:
    model, pixels = architecture.model(), architecture.pixels(count=1)
    target = model(pixels).argmax(1)
    cells = []
    for method in Attribution.members().values():
        try:
            quick(method)(model, pixels, target)
            cells.append(_YES)
        except UnsupportedError:
            cells.append(_NO)
    layer = feature_layer(model, pixels)
    return [architecture.name, f"`{layer}`", _in_words(layout(model, layer, pixels)), *cells]


def _in_words(found: Layout | None) -> str:
    if found is None or found.grid is None:
        return "vectors"
    if found.channels == 1:
        return "(N, C, h, w)"
    if found.channels == 3:
        return "(N, h, w, C)"
    return f"tokens, {found.prefix} prefix" if found.prefix else "tokens"


if __name__ == "__main__":
    main()

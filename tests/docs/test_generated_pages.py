"""The generated pages: the names on them are those that results carry, and no method is left out."""

from __future__ import annotations

import ast
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import deepscope
from deepscope.attributions import evaluate
from deepscope.session import Session
from networks import tiny_model

CHECKOUT = Path(__file__).parent.parent.parent
KEPT = sorted((CHECKOUT / "docs" / "experiments" / "kept").glob("*/result.json"))
MODEL = tiny_model()
RNG = np.random.default_rng(0)
PAIRS = [(RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8), row % 4) for row in range(8)]


@pytest.fixture(scope="module")
def names() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(CHECKOUT / "tools")
        yield importlib.import_module("metric_names")
        for name in ("metric_names", "declared"):
            sys.modules.pop(name, None)


def test_names_are_read_from_the_code(names: ModuleType) -> None:
    code = """
def present(found):
    known = {"images": 1}
    for norm in ("l0", "l2"):
        known |= found.of(norm).metrics(f"{norm}/{found.method.name}")
    known["worst"] = 2
    return Result(metrics=known | _more(found), blocks=("no name",))

def _more(found) -> dict[str, float]:
    return {f"{prefix}mean": 1, **({"last": 2} if found else {})}
"""
    found = {(one.text, one.interval) for one in names.names_in(ast.parse(code))}
    assert found == {
        *(("images", False), ("worst", False), ("[PREFIX]mean", False), ("last", False)),
        *(("l0/METHOD", True), ("l2/METHOD", True)),
    }
    prefixed, interval = names.MetricName("[PREFIX]mean"), names.MetricName("l0/METHOD", True)
    assert prefixed.matches("mean") and prefixed.matches("other/mean") and not prefixed.matches("mean/low")
    assert interval.matches("l0/pgd") and interval.matches("l0/pgd/high") and not interval.matches("l0")


def _results(cache: Path) -> dict[str, Any]:
    """The modules that name its metrics -> a tiny result."""
    session = Session(cache=cache, quiet=True)
    images = [image for image, _ in PAIRS[:2]]
    audit = deepscope.audit(MODEL, PAIRS, checks=["accuracy", "leaks", "corruptions"], session=session)
    by_check = {outcome.section.name: outcome.result for outcome in audit.outcomes}
    return {
        "presenters/classify": deepscope.classify(MODEL, PAIRS, session=session).result(),
        "presenters/activations": deepscope.activations(MODEL, images, session=session).result(),
        "presenters/explain": deepscope.explain(MODEL, images, session=session).result(),
        "presenters/explain_evaluate": evaluate(MODEL, images, ["saliency"], sanity=0, session=session).result(),
        "presenters/attack": deepscope.attack(MODEL, images, "fgsm", session=session).result(),
        "checks/accuracy checks/confidences": by_check["accuracy"],
        "checks/corruptions": by_check["corruptions"],
        "presenters/data": by_check["leaks"],
    }


def test_what_results_carry_has_a_name(names: ModuleType, tmp_path: Path) -> None:
    known = names.metric_names()
    for modules, result in _results(tmp_path).items():
        names_of = [one for module in modules.split() for one in known[module]]
        assert result.metrics
        strange = [metric for metric in result.metrics if not any(one.matches(metric) for one in names_of)]
        assert not strange, f"{modules}: {strange}"


@pytest.mark.parametrize("document", KEPT, ids=lambda path: path.parent.name)
def test_what_a_study_recorded_has_a_name(names: ModuleType, document: Path) -> None:
    recorded = names.recorded_names(document)
    metrics = json.loads(document.read_text(encoding="utf-8"))["metrics"]
    assert metrics
    assert not [metric for metric in metrics if not any(one.matches(metric) for one in recorded)]
    assert not [one for one in recorded if not any(one.matches(metric) for metric in metrics)]


def test_every_method_is_on_the_pages(names: ModuleType) -> None:
    pytest.importorskip("mkdocs", reason="generates the pages: pip install 'deepscope[docs]'")
    reference = importlib.import_module("reference")
    pages = reference.pages()
    sys.modules.pop("reference")
    support = pages["reference/support.md"]
    for family in (deepscope.attacks.Attack, deepscope.attributions.Attribution):
        for name in family.members():
            assert f"| `{name}` |" in support
    assert "| `pgd` | gradients, probabilities | rgb | yes | linf |" in support
    assert "| `boundary` | probabilities | rgb |  | l2 | yes" in support
    listed = pages["reference/metric-names.md"]
    for name in ("`accuracy/top5` | yes", "`duplicates/near-across-splits` | ", "`success` | yes", "`modes/real` | "):
        assert name in listed

"""A section is made again when its code changes, and not when other code does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import deepscope
from deepscope.code import code_digest


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(
        Path(deepscope.__file__).parent,
        tmp_path_factory.mktemp("copy") / "deepscope",
        ignore=shutil.ignore_patterns("*.npz", "*.json", "__pycache__"),
    )


@pytest.mark.parametrize(
    ("changed", "matters"),
    [
        ("studies/saliency.py", True),
        ("presenters/explained.py", True),
        ("attributions/measuring.py", True),
        ("attributions/smooth_grad.py", True),
        ("models/bundled.py", True),
        ("statistics.py", True),
        ("studies/generation.py", False),
        ("presenters/attack_evaluate.py", False),
        ("commands/attack.py", False),
        ("gans/networks.py", False),
        ("checks/accuracy.py", False),
        ("report/page.py", False),
        ("render/html.py", False),
        ("cli/program.py", False),
    ],
)
def test_what_a_study_imports_counts_and_nothing_else(package: Path, changed: str, matters: bool) -> None:
    before = code_digest("deepscope.studies.saliency", package)
    path = package / changed
    original = path.read_bytes()
    try:
        path.write_bytes(original + b"\n# changed\n")
        assert (code_digest("deepscope.studies.saliency", package) != before) == matters
    finally:
        path.write_bytes(original)
    assert code_digest("deepscope.studies.saliency", package) == before


def test_the_digest_is_that_of_the_installed_package(package: Path) -> None:
    assert code_digest("deepscope.studies.architecture") == code_digest("deepscope.studies.architecture", package)
    assert code_digest("deepscope.studies.architecture") != code_digest("deepscope.studies.predictions")
    assert code_digest("somewhere.else") == code_digest("nowhere")

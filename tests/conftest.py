"""Real data and weights, where the machine has them."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

from command_line import CommandLine
from deepscope.cli import program

hypothesis.settings.register_profile("deepscope", deadline=None)  # a busy machine is no defect
hypothesis.settings.load_profile("deepscope")
torch.set_num_threads(min(torch.get_num_threads(), 2))

_REPEATING = {"contracts", "fuzz"}
"""Folders whose tests run the same code over every method, network or damaged file."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Coverage counts what the tests of each package reach: measuring the others too would take them a fifth longer."""
    for item in items:
        if item.path.parent.name in _REPEATING:
            item.add_marker("no_cover")


@pytest.fixture(scope="session", autouse=True)
def _one_command_line() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "app", CommandLine(program.app))
        yield


@pytest.fixture
def only_new_objects() -> Iterator[None]:
    """The garbage collector leaves out all that is alive before the test: libraries alone are a million objects."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def home() -> Path:
    """DEEPSCOPE_HOME with real data and weights. Skips where there is none; fails where DEEPSCOPE_REAL=1."""
    folder = Path(os.environ.get("DEEPSCOPE_HOME", ""))
    if os.environ.get("DEEPSCOPE_HOME") and (folder / "data" / "imagenet-sample").is_dir():
        return folder
    if os.environ.get("DEEPSCOPE_REAL") == "1":
        pytest.fail("DEEPSCOPE_REAL=1, but DEEPSCOPE_HOME holds no real data")
    pytest.skip("no real data: set DEEPSCOPE_HOME to a folder with data/ and weights/")

"""The versions that results and caches record."""

from __future__ import annotations

import importlib.metadata
import sys
from types import ModuleType

import pytest

import deepscope
from deepscope.machine import version_of


def test_an_installed_package_has_its_version() -> None:
    assert version_of("torch") == importlib.metadata.version("torch")


def test_a_package_without_a_record_says_its_own_version(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("never_installed")
    monkeypatch.setitem(sys.modules, "never_installed", module)
    assert version_of("never_installed") == "unknown"
    vars(module)["__version__"] = "1.2"
    assert version_of("never_installed") == "1.2"


def test_deepscope_runs_without_a_record_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr("deepscope.machine.version", missing)
    assert deepscope.__version__ == "unknown"


@pytest.mark.parametrize("nothing", [None, ""])
def test_an_empty_record_counts_as_none(nothing: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepscope.machine.version", lambda package: nothing)
    assert version_of("never_installed") == "unknown"
    assert version_of("never_installed", otherwise="") == ""


def test_a_package_that_is_not_there_has_no_version() -> None:
    assert version_of("never_installed") == "unknown"

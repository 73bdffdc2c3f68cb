"""The versions that results and caches record."""

from __future__ import annotations

import importlib.metadata
import sys
from types import ModuleType

import pytest

from deepscope.machine import version_of


def test_an_installed_package_has_its_version() -> None:
    assert version_of("torch") == importlib.metadata.version("torch")


def test_a_package_without_a_record_says_its_own_version(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("never_installed")
    monkeypatch.setitem(sys.modules, "never_installed", module)
    assert version_of("never_installed") == "unknown"
    vars(module)["__version__"] = "1.2"
    assert version_of("never_installed") == "1.2"


def test_a_package_that_is_not_there_has_no_version() -> None:
    assert version_of("never_installed") == "unknown"

"""A session whose cache is thrown away."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepscope.session import Session


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session.open(device="cpu", cache=tmp_path / "cache", home=tmp_path / "home", quiet=True)

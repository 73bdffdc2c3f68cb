"""A server with tiny networks, whose answers are known from the library itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from deepscope.app.pictures import choices
from deepscope.app.studio import Studio
from deepscope.session import Session
from image_files import photograph
from networks import tiny_model, tiny_transformer

pytest.importorskip("starlette", reason="serves a page: pip install 'deepscope[app]'")
pytest.importorskip("httpx2", reason="asks a server in this process: pip install 'deepscope[test]'")

from starlette.testclient import TestClient

from app_server import HOST, HOSTILE, TOKEN
from deepscope.app.web import application


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images, one of them in a sub-folder, one with a hostile name; a link leads to a file outside."""
    outside = tmp_path_factory.mktemp("outside")
    made = tmp_path_factory.mktemp("images")
    (made / "more").mkdir()
    for name, shape in (("a.png", (48, 64)), ("more/b.jpg", (64, 48)), (HOSTILE, (32, 32))):
        Image.fromarray(photograph(*shape)).save(made / name)
    Image.fromarray(photograph(32, 32)).save(outside / "secret.png")
    (made / "link.png").symlink_to(outside / "secret.png")
    return made


@pytest.fixture(scope="session")
def studio(folder: Path) -> Studio:
    """A convolutional network, and a transformer to compare it with."""
    first = replace(tiny_model(size=32), categories=("bee eater", "wombat", "hay", "</script><b>snail"))
    return Studio((first, tiny_transformer(size=16)), choices(folder, ()), Session())


@pytest.fixture
def client(studio: Studio) -> Iterator[TestClient]:
    """A browser's place: it knows the token."""
    with TestClient(
        application(studio, TOKEN, "127.0.0.1"),
        base_url=HOST,
        headers={"x-deepscope-token": TOKEN},
        raise_server_exceptions=False,
    ) as made:
        yield made

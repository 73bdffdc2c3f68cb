"""`deepscope serve`: what it offers, what it says, and what it refuses."""

from __future__ import annotations

import importlib.util
import re
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deepscope.app import web
from deepscope.app.command import Serve
from deepscope.app.pictures import Shelf, choices
from deepscope.errors import DataError, FileError, MissingExtraError, SettingError
from deepscope.gans import GAN, Architecture, Generator, save
from deepscope.session import Session
from image_files import encoded, photograph
from networks import tiny_model


class _Server:
    def run(self, sockets: list[socket.socket]) -> None:
        raise KeyboardInterrupt


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    """Knows the model "tiny"; what it serves is ended at once."""
    monkeypatch.setattr(web, "server", lambda application: _Server())
    return Session(
        models={"tiny": tiny_model(size=32), "other": replace(tiny_model(size=32), name="other")}, quiet=True
    )


def test_the_address_is_said_with_its_token_and_ctrl_c_ends_it(
    session: Session, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = Serve(folder, model="tiny", compare="other", port=0).run(session)
    said = capsys.readouterr().err
    found = re.search(r"http://127\.0\.0\.1:(\d+)/\?token=([\w-]{32,})", said)
    assert found and int(found[1]) > 0
    assert list(result.provenance.models) == ["tiny", "other"]
    Serve(folder, model="tiny", port=0).run(session)
    assert found[2] not in capsys.readouterr().err, "each start has a token of its own"


def test_a_generator_has_a_page_of_its_own(
    session: Session, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    architecture = Architecture(side=16, latent=4, width=2)
    save(tmp_path, GAN(Generator(architecture, 1, 0), architecture, channels=1, classes=(), data="none"))
    result = Serve(folder, model="tiny", gan=tmp_path, port=0).run(session)
    said = capsys.readouterr().err
    pages = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w*)\?token=([\w-]{32,})", said)
    assert [path for _, path, _ in pages] == ["/directions", "/"] and len({pair[::2] for pair in pages}) == 1
    assert list(result.provenance.models) == ["tiny", str(tmp_path)]
    with pytest.raises(FileError, match="`deepscope gan train` writes one"):
        Serve(folder, model="tiny", gan=folder, port=0).run(session)


def test_a_host_that_others_reach_is_said(session: Session, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Serve(folder, model="tiny", host="0.0.0.0", port=0).run(session)
    assert "other machines" in capsys.readouterr().err


def test_a_port_that_is_taken(session: Session, folder: Path) -> None:
    with web.listening("127.0.0.1", 0) as taken, pytest.raises(SettingError, match=r"^port cannot be listened on"):
        Serve(folder, model="tiny", port=taken.getsockname()[1]).run(session)


def test_without_the_extra(session: Session, monkeypatch: Any) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None if name == "uvicorn" else real(name))
    with pytest.raises(MissingExtraError, match=r"deepscope\[app\]"):
        Serve(model="tiny").run(session)


def test_choices_are_the_images_inside_the_folder(folder: Path, tmp_path: Path) -> None:
    assert {"a.png", "more/b.jpg"} < set(choices(folder, ())) and "link.png" not in choices(folder, ())
    with pytest.raises(DataError, match="holds no image"):
        choices(tmp_path, ())
    assert choices(None, (folder / "a.png",)) == {"a.png": folder / "a.png"}


def test_the_shelf_gives_up_its_oldest_images() -> None:
    shelf = Shelf(at_least=64)
    held = [shelf.add(encoded(Image.fromarray(photograph(32, 32, seed)), "PNG"), f"{seed}.png") for seed in range(30)]
    assert shelf.get(held[-1].key).name == "29.png"
    with pytest.raises(DataError, match="no longer"):
        shelf.get(held[0].key)

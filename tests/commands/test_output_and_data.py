"""--out among the images that a command reads: refused, but for a folder of the result alone, which is not read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deepscope import images
from deepscope.errors import DeepscopeError
from toy_job import Shown, execute


@dataclass(frozen=True)
class Reading(Shown):
    """Stands for any command that reads images: by text, from a folder, from several."""

    data: str | None = None
    folder: Path | None = None
    paths: tuple[Path, ...] = ()
    head: str = "photos"


WAYS = [lambda path: {"data": str(path)}, lambda path: {"folder": path}, lambda path: {"paths": (Path("x"), path)}]
INSIDE = ("photos", "photos/red", "sub/in/red", "elsewhere/deeper")
NEW = ("photos/new/er", "sub/x/../in/new")


@pytest.mark.parametrize(("way", "inside"), [(WAYS[0], INSIDE + NEW), (WAYS[1], INSIDE), (WAYS[2], INSIDE)])
def test_no_result_is_written_among_the_images_it_is_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Callable[[Path], dict[str, Any]], inside: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("elsewhere/deeper").mkdir(parents=True)
    Path("photos/red").mkdir(parents=True)
    Path("photos/red/link").symlink_to(tmp_path / "elsewhere")
    Path("sub").mkdir()
    Path("sub/in").symlink_to(tmp_path / "photos")
    before = sorted(tmp_path.rglob("*"))
    command = Reading(**way(Path("photos")))
    for out in inside:
        with pytest.raises(DeepscopeError, match="is inside the data"):
            execute(command, out=Path(out))
    assert sorted(tmp_path.rglob("*")) == before
    for out in (".", "photos-2", "sub/new", "sub/in/x/../../out"):
        execute(command, out=Path(out))
    assert not Path("photos/x").exists() and Path("out/result.json").exists()


@pytest.mark.parametrize("way", WAYS[1:])
def test_a_folder_for_the_result_alone_may_lie_below_photographs_and_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Callable[[Path], dict[str, Any]]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("cat.png")
    Path("mine").mkdir()
    Image.new("RGB", (8, 8)).save("mine/dog.png")
    for _ in range(2):  # new, and then its own
        execute(Reading(**way(Path())), out=Path("out"))
        assert list(Path("out").glob("*.png"))
        found = images.find([Path()])
        assert [path.name for path in found.paths] == ["cat.png", "dog.png"]
        assert [skipped.path for skipped in found.skipped] == ["out"]
    assert images.find([Path("out")]).paths  # a folder that is named is read
    for out in (".", "mine"):
        with pytest.raises(DeepscopeError, match="is inside the data"):
            execute(Reading(**way(Path())), out=Path(out))
    with pytest.raises(DeepscopeError, match="is inside the data"):
        execute(Reading(**way(Path("out"))), out=Path("out"))


def test_a_file_beside_the_result_a_model_and_a_setting_are_no_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cat.jpg").touch()
    Path("photos").mkdir()
    Path("model").mkdir()
    Path("model/model.json").touch()
    execute(Reading(paths=(Path("cat.jpg"),)), out=Path())
    execute(Reading(), out=Path("photos"))
    execute(Reading(folder=Path("model")), out=Path("model/samples"))

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepscope.commands.data import DataAudit, DataGet, DataList
from deepscope.data import mnist
from deepscope.data.audit import audit
from deepscope.data.download import Source
from deepscope.errors import DeepscopeError, SettingError
from deepscope.results import ImageGrid, Note, Table
from deepscope.session import Session
from loopback import serving


def test_list_says_what_is_here_and_how_to_get_the_rest(tmp_path: Path) -> None:
    (tmp_path / "data" / "bsds500").mkdir(parents=True)
    result = DataList().run(Session(home=tmp_path))
    table = result.blocks[0]
    assert isinstance(table, Table)
    here = {row[0]: row[3] for row in table.rows}
    assert {name for name, there in here.items() if there == "yes"} == {
        "bsds500",
        "bundled-photographs",
        "mnist-extract",
        "mnist-m-extract",
    }
    assert result.metrics["here"] == 4
    notes = [block.text for block in result.blocks if isinstance(block, Note) and block.title == "Not installed"]
    assert [note.split(":")[0] for note in notes] == ["15scene", "imagenet-sample", "mnist", "mnist-m", "svhn", "usps"]
    assert all("deepscope data get" in note for note in notes)


def test_get_refuses_what_does_not_exist_or_is_bundled(tmp_path: Path) -> None:
    session = Session(home=tmp_path)
    with pytest.raises(DeepscopeError, match="'mnist'"):
        DataGet("mnits").run(session)
    with pytest.raises(DeepscopeError, match="comes with deepscope"):
        DataGet("mnist-extract").run(session)


def test_get_puts_every_file_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(b"some content", "whole") as server:
        sources = tuple(Source(urls=(server.url,), to=f"mnist/{name}", most=100) for name in ("one", "two"))
        monkeypatch.setattr(mnist.Mnist, "sources", sources)
        result = DataGet("mnist").run(Session(home=tmp_path, quiet=True))
    assert result.metrics == {"files": 2}
    assert (tmp_path / "data" / "mnist" / "two").read_bytes() == b"some content"


def test_audit_reports_pairs_pictures_and_what_to_do(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for label in "ab":
            (tmp_path / part / label).mkdir(parents=True)
            pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((300, 280)).save(tmp_path / part / label / "x.png")
    (tmp_path / "test" / "b" / "leak.png").write_bytes((tmp_path / "train" / "a" / "x.png").read_bytes())
    Image.open(tmp_path / "train" / "b" / "x.png").resize((150, 140)).save(tmp_path / "train" / "b" / "small.png")
    (tmp_path / "train" / "a" / "broken.png").write_bytes(b"")
    result = DataAudit(tmp_path).run(Session(quiet=True))
    assert result.metrics == {
        "images": 6,
        "corrupt": 1,
        "duplicates/exact": 1,
        "duplicates/exact-across-splits": 1,
        "duplicates/exact-across-classes": 1,
        "duplicates/near": 1,
        "duplicates/near-across-splits": 0,
        "duplicates/near-across-classes": 0,
    }
    warnings = [block.title for block in result.blocks if isinstance(block, Note) and block.level == "warning"]
    assert warnings == ["One image, two classes", "Train and test share images", "Skipped"]
    exact, near = [block for block in result.blocks if isinstance(block, Table)][:2]
    assert exact.rows == (("train/a/x.png", "test/b/leak.png", "classes, splits", "bytes"),)
    assert near.rows[0][:2] == ("train/b/small.png", "train/b/x.png")
    (grid,) = [block for block in result.blocks if isinstance(block, ImageGrid)]
    assert [[cell.caption for cell in row] for row in grid.rows] == [list(exact.rows[0][:2]), list(near.rows[0][:2])]


def test_audit_from_python(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(tmp_path / "one.png")
    shutil.copy(tmp_path / "one.png", tmp_path / "two.png")
    found = audit(tmp_path, Session(quiet=True), figures=1)
    assert found.to_pandas()[["first", "second", "same"]].to_numpy().tolist() == [["one.png", "two.png", "bytes"]]
    assert found.result().metrics == DataAudit(tmp_path, figures=1).run(Session(quiet=True)).metrics
    (tmp_path / "two.png").unlink()
    (grid,) = (block for block in found.result().blocks if isinstance(block, ImageGrid))  # nothing is opened again
    assert [cell.caption for cell in grid.rows[0]] == ["one.png", "two.png"]
    with pytest.raises(SettingError) as caught:
        audit(tmp_path, near=256)
    assert caught.value.setting == "near"


def test_audit_of_a_clean_folder_says_so(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "one.png")
    result = DataAudit(tmp_path).run(Session(quiet=True))
    assert [block.level for block in result.blocks if isinstance(block, Note)] == ["verdict"]
    assert result.metrics["duplicates/exact"] == 0


@pytest.mark.real
def test_audit_of_15_scene(home: Path) -> None:
    result = DataAudit(home / "data" / "15scene", figures=1).run(Session(quiet=True))
    metrics = result.metrics
    assert metrics["duplicates/exact"] == 18
    assert metrics["duplicates/exact-across-splits"] == 11
    assert metrics["duplicates/exact-across-classes"] == 1
    assert metrics["duplicates/near"] == 12
    assert metrics["corrupt"] == 0
    assert metrics["images"] == 4485
    mislabelled, leaked = result.blocks[:2]
    assert isinstance(mislabelled, Note)
    assert isinstance(leaked, Note)
    crossing = "train/insidecity/image_0305.jpg and test/tallbuilding/image_0300.jpg are the same image"
    assert mislabelled.text.startswith(crossing)
    assert leaked.text.startswith("11 held-out images are in the training folder too")

"""Images and parts at addresses of fsspec: the same rows, the same parts, and nothing outside their folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from deepscope import addresses
from deepscope.batch import Sharding, Summary, parts, run
from deepscope.classification.job import ClassifyJob
from deepscope.errors import DeepscopeError, FileError, MissingExtraError
from deepscope.session import Session
from deepscope.transfer.parts import FeatureParts

fsspec = pytest.importorskip("fsspec", reason="addresses need the extra remote")


@pytest.fixture
def memory() -> Iterator[Any]:
    """fsspec's storage in memory, empty."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()


def computed(model: str, named: str | Path, out: Path, folder: str | None = None) -> Summary:
    sharding = Sharding(shard_size=5, parts_folder=folder)
    return run(ClassifyJob(model), [named], Session(quiet=True, out=out), sharding=sharding)


def test_parts_at_an_address_are_those_in_a_folder_and_resume(
    memory: Any, model_file: str, photos: Path, tmp_path: Path
) -> None:
    wanted = computed(model_file, photos, tmp_path / "out")
    for number, address in enumerate(("memory://bucket/job", f"file://{tmp_path / 'other'}")):
        found = computed(model_file, photos, tmp_path / str(number), address)
        assert found.files == wanted.files
        assert computed(model_file, photos, tmp_path / str(number), address).computed == 0
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == sorted([*wanted.files, parts.ABOUT])
    memory.pipe_file(f"/bucket/job/{wanted.files[1]}", b"damaged")
    memory.pipe_file("/bucket/job/.part-000001-half.parquet.0123", b"half")
    assert computed(model_file, photos, tmp_path / "0", "memory://bucket/job").computed == 1
    assert not [name for name in memory.ls("/bucket/job", detail=False) if "/." in name]
    with pytest.raises(DeepscopeError, match="name the same images"):
        computed(model_file, photos / "hay", tmp_path / "0", "memory://bucket/job")


def test_images_below_an_address_give_the_rows_of_a_folder(
    memory: Any, model_file: str, photos: Path, tmp_path: Path
) -> None:
    for file in [*photos.rglob("*.png")]:
        memory.pipe_file(f"/bucket/photos/{file.parent.name}/{file.name}", file.read_bytes())
    memory.pipe_file("/bucket/photos/.hidden/1.png", b"")
    memory.pipe_file("/bucket/photos/notes.md", b"")
    memory.pipe_file("/bucket/photos-of-others/1.png", b"")
    plain, found = (
        [row for file in one.files for row in parquet.read_table(one.folder / file).to_pylist()]
        for one in (
            computed(model_file, photos, tmp_path / "plain"),
            computed(model_file, Path("memory://bucket/photos"), tmp_path / "out"),
        )
    )
    assert [{**row, "path": Path(row["path"]).name} for row in found] == [
        {**row, "path": Path(row["path"]).name} for row in plain
    ]
    assert {row["right"] for row in found} == {True, False}
    with pytest.raises(DeepscopeError, match="no image files below this address"):
        computed(model_file, Path("memory://bucket/nothing"), tmp_path / "nothing")


def test_features_at_an_address_are_read_again(memory: Any, model_file: str, photos: Path, tmp_path: Path) -> None:
    from deepscope.features.job import FeaturesJob

    sharding = Sharding(shard_size=5, parts_folder="memory://features")
    run(FeaturesJob(model_file), [photos], Session(quiet=True, out=tmp_path), sharding=sharding)
    found = FeatureParts.of("memory://features")
    assert (len(found), found.classes) == (16, ("hay", "snail"))
    assert sum(len(block) for block in found.read(found.labels == 1)) == 8


def test_what_cannot_be_opened_is_one_line(
    model_file: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address, said in (
        ("memory://bucket/../secret", r"memory://bucket/\.\./secret leaves its folder"),
        ("nonsense://bucket", r"nonsense://bucket cannot be opened: .*nonsense"),
    ):
        for named, folder in ((Path(address), None), (photos, address)):
            with pytest.raises(FileError, match=said) as error:
                computed(model_file, named, tmp_path, folder)
            assert "\n" not in str(error.value)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingExtraError, match=r"deepscope\[remote\]"):
        computed(model_file, photos, tmp_path, "s3://bucket/job")


def test_a_drive_and_a_path_are_no_addresses() -> None:
    assert not any(map(addresses.is_address, ("c:/photos", "photos/a:b", "/a/s3:/b", "photos", "C:\\x")))
    assert all(map(addresses.is_address, ("s3://bucket/a", Path("s3://bucket/a"), "memory://x")))

"""Many images by name: folders, lists, tar files and tables give the same images, or one clear refusal."""

from __future__ import annotations

import io
import json
import tarfile
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepscope.errors import DataError, DeepscopeError, FileError
from deepscope.images import Exhausted, Skipped
from deepscope.inputs import containers
from deepscope.inputs.listing import listed
from deepscope.inputs.places import Place, opened, packed, unpacked


def png(seed: int) -> bytes:
    levels = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG")
    return buffer.getvalue()


def tar(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return path


def places(*named: Path) -> list[Place]:
    skipped: list[Skipped] = []
    found = list(listed(named, skipped))
    assert not skipped
    return unpacked(packed(found))


def contents(found: Sequence[Place]) -> list[bytes]:
    return [Path(source).read_bytes() if isinstance(source, str) else source for source, _ in opened(found)]


def test_a_folder_holds_images_and_tar_files(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.png").write_bytes(png(0))
    (tmp_path / "b" / "notes.md").write_text("no image")
    tar(tmp_path / "a.tar", [("k/1.png", png(1)), ("k/1.cls", b"7\n"), ("k/2.json", b"{}"), ("k/2.png", png(2))])
    found = places(tmp_path)
    assert [place.path.relative_to(tmp_path).as_posix() for place in found] == [
        "a.tar/k/1.png",
        "a.tar/k/2.png",
        "b/x.png",
    ]
    assert [place.label for place in found] == [7, None, None]
    assert contents(found) == [png(1), png(2), png(0)]
    assert contents(found[1:]) == [png(2), png(0)]


def test_a_list_names_files_from_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for seed in range(3):
        (tmp_path / "in" / f"{seed}.png").write_bytes(png(seed))
    (tmp_path / "list.txt").write_text("in/2.png\n\nin/0.png\n./in/2.png\n")
    assert contents(places(tmp_path / "list.txt")) == [png(2), png(0)]
    (tmp_path / "list.txt").write_text("in/2.png\n", encoding="utf-8-sig")  # as Windows writes it
    assert contents(places(tmp_path / "list.txt")) == [png(2)]
    (tmp_path / "list.txt").write_text("in\nmissing.png\n")
    skipped: list[Skipped] = []
    assert len(list(listed([tmp_path / "list.txt"], skipped))) == 3
    assert [one.reason for one in skipped] == ["there is no such file or folder"]


def test_a_list_of_windows_names_its_first_file_and_odd_names_stay_whole(tmp_path: Path) -> None:
    odd = "a\u0085b\u2028c.png"
    for seed, name in enumerate(("first.png", odd)):
        (tmp_path / name).write_bytes(png(seed))
    (tmp_path / "list.txt").write_bytes(f"\ufefffirst.png\r\n{odd}\r\n".encode())
    assert contents(places(tmp_path / "list.txt")) == [png(0), png(1)]


def test_an_absolute_name_in_a_tar_file_is_below_that_file(tmp_path: Path) -> None:
    found = places(tar(tmp_path / "a.tar", [("/etc/1.png", png(1))]))
    assert [place.path for place in found] == [tmp_path / "a.tar" / "etc" / "1.png"]
    assert contents(found) == [png(1)]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (["1.png", "2.png", "1.cls"], "'1' comes back after other samples: sort the files"),
        (["1.png", "1.png"], "holds '1.png' twice"),
        (["1.png", "1.jpg"], "sample '1' has 2 images"),
        (["1.png", "1.cls"], "1.cls holds no class number"),
    ],
)
def test_samples_that_cannot_be_told_apart_are_refused(members: list[str], said: str, tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", [(name, b"not a number") for name in members])
    with pytest.raises(DataError, match=said):
        places(path)


def test_links_in_a_tar_file_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(0))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        about = tarfile.TarInfo("1.png")
        about.type, about.linkname = tarfile.SYMTYPE, str(tmp_path / "secret.png")
        archive.addfile(about)
    assert places(tmp_path / "a.tar") == []


def test_a_hard_link_in_a_tar_file_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(png(0))
    (tmp_path / "2.png").hardlink_to(tmp_path / "1.png")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in ("1.png", "2.png"):
            archive.add(tmp_path / name, name)
    with pytest.raises(DataError, match=r"'2.png' is a hard link: make the file again without hard links"):
        places(tmp_path / "a.tar")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.REGTYPE])
@pytest.mark.parametrize("size", [2**33, 2**62, 2**80])
def test_a_header_that_asks_for_all_memory_is_refused(kind: bytes, size: int, tmp_path: Path) -> None:
    about = tarfile.TarInfo("1.png")
    about.type, about.size = kind, size
    (tmp_path / "a.tar").write_bytes(about.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    tracemalloc.start()
    with pytest.raises(FileError, match=r"a.tar is no whole tar file"):
        places(tmp_path / "a.tar")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 0.6, 0.9])
def test_a_truncated_tar_file_is_refused(share: float, tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", [(f"{seed}.png", png(seed)) for seed in range(4)])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole.rstrip(b"\0")))])
    with pytest.raises(FileError, match=r"a.tar is no whole tar file \(.*\): make it again"):
        places(path)


def test_a_tar_file_that_ends_between_two_members_is_refused(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", [("1.png", png(1))])
    path.write_bytes(path.read_bytes()[: 512 + (len(png(1)) + 511) // 512 * 512])
    with pytest.raises(FileError, match="its end is missing"):
        places(path)


def test_a_tar_file_that_shrank_since_is_refused(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", [(f"{seed}.png", png(seed)) for seed in range(2)])
    found = places(path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(FileError, match="it was changed while it was read"):
        contents(found)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_tables_of_hugging_face_hold_images_and_labels(suffix: str, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet, ipc = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow.ipc")
    about = {"info": {"features": {"label": {"names": ["hay", "snail"], "_type": "ClassLabel"}}}}
    columns = {"label": [0, 1] * 50, "image": [{"bytes": png(seed), "path": None} for seed in range(100)]}
    table = pyarrow.table(columns).replace_schema_metadata({"huggingface": json.dumps(about)})
    path = tmp_path / f"data.{suffix}"
    if suffix == "parquet":
        parquet.write_table(table, path, row_group_size=30)
    else:
        (tmp_path / "cache-1.arrow").write_bytes(b"not data")
        with ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=30)
    found = places(tmp_path)
    assert len(found) == 100
    items = list(opened([found[row] for row in (5, 29, 30, 31, 97)]))
    assert [content for content, _ in items] == [png(seed) for seed in (5, 29, 30, 31, 97)]
    assert [label for _, label in items] == ["snail", "snail", "hay", "snail", "snail"]


def test_labels_that_pandas_made_floats_are_numbers(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"image": [png(0)] * 4, "label": [1.0, None, float("nan"), 3.0]})
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "a.parquet")
    assert [label for _, label in opened(places(tmp_path / "a.parquet"))] == [1, None, None, 3]


def test_lists_of_labels_are_all_that_an_image_shows(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    names = {"info": {"features": {"label": {"feature": {"names": ["hay", "snail"]}, "_type": "Sequence"}}}}
    for number, (labels, metadata, wanted) in enumerate(
        [
            ([["hay", "snail"], [], None], {}, [("hay", "snail"), (), None]),
            ([[0, 1], [1], [None]], {"huggingface": json.dumps(names)}, [("hay", "snail"), ("snail",), None]),
            ([[True, False, True], [False] * 3, None], {}, [(0, 2), (), None]),
        ]
    ):
        table = pyarrow.table({"image": [png(0)] * 3, "label": labels}).replace_schema_metadata(metadata)
        parquet.write_table(table, tmp_path / f"{number}.parquet")
        assert [label for _, label in opened(places(tmp_path / f"{number}.parquet"))] == wanted


def test_shards_of_a_row_group_decode_each_row_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"image": [png(seed) for seed in range(200)]}), tmp_path / "a.parquet")
    own, decoded = parquet.ParquetFile.iter_batches, list[int]()

    def counted(*given: object, **settings: object) -> Iterator[object]:
        for batch in own(*given, **settings):
            decoded.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", counted)
    found = places(tmp_path / "a.parquet")
    shards = [contents(found[start : start + 10]) for start in range(0, 200, 10)]
    assert [content for shard in shards for content in shard] == [png(seed) for seed in range(200)]
    assert sum(decoded) == 200
    assert contents(found[5:7]) == [png(5), png(6)]  # rows before the last ones are found again


def test_a_column_that_decodes_to_more_than_memory_is_refused_or_read_row_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(containers, "_HELD", 2**21)
    one = bytes(2**20)  # 32 rows name it, and take 32 MB together
    parquet.write_table(pyarrow.table({"image": [one] * 64}), tmp_path / "repeated.parquet", compression="zstd")
    sizes = list[int]()
    own = parquet.ParquetFile.iter_batches
    monkeypatch.setattr(
        parquet.ParquetFile, "iter_batches", lambda file, rows, **more: sizes.append(rows) or own(file, rows, **more)
    )
    assert (tmp_path / "repeated.parquet").stat().st_size < 4096
    assert contents(places(tmp_path / "repeated.parquet")) == [one] * 64
    assert sizes == [1]  # its page also has a length and a header: no two fit into the limit
    parquet.write_table(pyarrow.table({"image": [bytes(2**22)]}), tmp_path / "large.parquet", compression="zstd")
    with pytest.raises(FileError, match="row group 0 have more than 2,097,152 bytes each, the limit of an image"):
        contents(places(tmp_path / "large.parquet"))
    assert sizes == [1]


def test_a_shortage_of_memory_is_not_called_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"image": [png(0)]}), tmp_path / "a.parquet")
    found = places(tmp_path / "a.parquet")

    def exhausted(*given: object, **settings: object) -> None:
        raise pyarrow.lib.ArrowMemoryError("malloc of size 64 failed")

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", exhausted)
    with pytest.raises(Exhausted, match=r"memory ran out while .*a\.parquet was read: close other programs"):
        contents(found)


@pytest.mark.parametrize("name", ["image", "label"])
def test_a_table_with_two_columns_of_a_name_is_refused(name: str, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table([pyarrow.array([png(0)])] * 2 + [pyarrow.array([1])], ["image", name, "label"])
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=f"several columns '{name}': give each a name of its own"):
        places(tmp_path / "a.parquet")


def test_tables_without_images_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"name": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="no column of images as bytes"):
        places(tmp_path / "a.parquet")
    parquet.write_table(pyarrow.table({"one": [b"x"], "other": [b"y"]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"several columns of bytes \(one, other\): name the one"):
        places(tmp_path / "b.parquet")
    for name in ("c.parquet", "d.arrow"):
        (tmp_path / name).write_bytes(b"PAR1 nonsense")
        with pytest.raises(FileError, match="cannot be read"):
            places(tmp_path / name)


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    import os

    for name in ("a.tar", "list.txt"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(DeepscopeError, match="device, pipe or socket"):
            places(tmp_path / name)

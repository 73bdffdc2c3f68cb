from __future__ import annotations

import bz2
import contextlib
import errno
import gc
import gzip
import io
import lzma
import os
import secrets
import shutil
import socket
import tarfile
import threading
import tracemalloc
import zipfile
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from damage import Damage, damages
from deepscope.data import fifteen_scene
from deepscope.data.dataset import Dataset
from deepscope.data.download import Got, Source, get
from deepscope.data.fetch import Patience
from deepscope.data.unpack import Damaged, unpack
from deepscope.errors import DeepscopeError
from deepscope.session import Session
from loopback import serving

CONTENT = np.random.default_rng(0).bytes(300_000)
QUICK = Patience(attempts=3, timeout=0.3, pause=0.01)


def source(*urls: str, to: str = "thing/file.bin", content: bytes = CONTENT) -> Source:
    return Source(urls=urls, to=to, most=400_000, sha256=sha256(content).hexdigest())


def fetch(wanted: Source, home: Path) -> Got:
    return get(wanted, Session(home=home, quiet=True), patience=QUICK)


def left(home: Path) -> list[str]:
    return sorted(path.name for path in home.rglob("*") if path.is_file())


def test_whole_file_and_nothing_beside_it(tmp_path: Path) -> None:
    with serving(CONTENT, "whole") as server:
        got = fetch(source(server.url), tmp_path)
        assert got.path == tmp_path / "data" / "thing" / "file.bin"
        assert got.path.read_bytes() == CONTENT
        assert got.sha256 == sha256(CONTENT).hexdigest()
        assert left(tmp_path) == ["file.bin"]
        again = fetch(source(server.url), tmp_path)
        assert again.checked == "was installed before, agrees with the published file"
        assert len(server.asked) == 1


@pytest.mark.parametrize("trouble", ["truncate", "stall", "500", "503", "429"])
def test_trouble_is_tried_again(tmp_path: Path, trouble: str) -> None:
    with serving(CONTENT, trouble, "whole") as server:
        assert fetch(source(server.url), tmp_path).path.read_bytes() == CONTENT
        resumed = f"bytes={len(CONTENT) // 2}-" if trouble in ("truncate", "stall") else ""
        assert server.asked == ["", resumed]


def test_goes_on_after_breaking_off_for_good(tmp_path: Path) -> None:
    with serving(CONTENT, "truncate", "500", "500", "whole") as server:
        with pytest.raises(DeepscopeError, match="answers 500"):
            fetch(source(server.url), tmp_path)
        assert left(tmp_path) == ["file.bin.part", "file.bin.part.version"]
        assert fetch(source(server.url), tmp_path).path.read_bytes() == CONTENT
        assert server.asked[-1] == f"bytes={len(CONTENT) // 2}-"
        assert left(tmp_path) == ["file.bin"]


@pytest.mark.parametrize(("ranges", "version"), [(False, '"v1"'), (True, ""), (True, 'W/"weak"')])
def test_server_that_cannot_resume_starts_again(tmp_path: Path, ranges: bool, version: str) -> None:
    with serving(CONTENT, "truncate", "whole", ranges=ranges, version=version) as server:
        assert fetch(source(server.url), tmp_path).path.read_bytes() == CONTENT


def test_file_that_changed_meanwhile_is_not_mixed(tmp_path: Path) -> None:
    old = bytes(len(CONTENT))
    with serving(old, "truncate", "500", "500", "500") as server, pytest.raises(DeepscopeError):
        fetch(source(server.url), tmp_path)
    with serving(CONTENT, "whole", version='"v2"') as server:
        assert fetch(source(server.url), tmp_path).path.read_bytes() == CONTENT


def test_complete_part_is_not_downloaded_again(tmp_path: Path) -> None:
    part = tmp_path / "data" / "thing" / "file.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT)
    part.with_name("file.bin.part.version").write_text('"v1"')
    with serving(CONTENT, "whole") as server:
        assert fetch(source(server.url), tmp_path).path.read_bytes() == CONTENT
        assert server.asked == [f"bytes={len(CONTENT)}-"]
    assert left(tmp_path) == ["file.bin"]


def test_part_longer_than_the_file_is_dropped(tmp_path: Path) -> None:
    part = tmp_path / "data" / "thing" / "file.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT + b"more")
    part.with_name("file.bin.part.version").write_text('"v1"')
    with serving(CONTENT, "whole") as server:
        assert fetch(source(server.url), tmp_path).path.read_bytes() == CONTENT


def test_another_range_than_asked_is_refused(tmp_path: Path) -> None:
    with serving(CONTENT, "truncate", "elsewhere") as server, pytest.raises(DeepscopeError, match="another part"):
        fetch(source(server.url), tmp_path)


def test_corrupt_once_is_downloaded_again(tmp_path: Path) -> None:
    with serving(CONTENT, "corrupt", "whole") as server:
        assert fetch(source(server.url), tmp_path).path.read_bytes() == CONTENT


def test_corrupt_always_keeps_nothing(tmp_path: Path) -> None:
    with serving(CONTENT, "corrupt") as server:
        with pytest.raises(DeepscopeError, match="its SHA-256 is"):
            fetch(source(server.url), tmp_path)
        assert len(server.asked) == 2
    assert left(tmp_path) == []


def test_cut_short_without_a_length_is_caught_by_the_digest(tmp_path: Path) -> None:
    with serving(CONTENT[:1000], "lengthless") as server, pytest.raises(DeepscopeError, match="its SHA-256 is"):
        fetch(source(server.url), tmp_path)


@pytest.mark.parametrize("status", ["403", "404", "410"])
def test_no_is_not_asked_twice_and_the_next_url_is_tried(tmp_path: Path, status: str) -> None:
    with serving(CONTENT, status) as wrong, serving(CONTENT, "whole") as right:
        assert fetch(source(wrong.url, right.url), tmp_path).path.read_bytes() == CONTENT
        assert len(wrong.asked) == 1


def test_message_says_which_file_to_put_where(tmp_path: Path) -> None:
    with serving(CONTENT, "404") as server, pytest.raises(DeepscopeError) as caught:
        fetch(source(server.url), tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert "404" in message
    assert f"put the file {server.url} at {tmp_path / 'data' / 'thing' / 'file.bin'}" in message


def test_no_server_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file"
        with pytest.raises(DeepscopeError, match="refused"):
            fetch(source(url), tmp_path)

    def no_name(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_name)
    with pytest.raises(DeepscopeError, match=r"is there a network\?.*put the file http://example.invalid/x at"):
        fetch(source("http://example.invalid/x"), tmp_path)


@pytest.mark.parametrize("word", ["whole", "lengthless"])
def test_too_large_is_refused(tmp_path: Path, word: str) -> None:
    with serving(CONTENT, word) as server, pytest.raises(DeepscopeError, match="more than 1000 bytes"):
        fetch(replace(source(server.url), most=1000), tmp_path)
    assert left(tmp_path) == []


def test_gzip_file_is_checked_by_its_content(tmp_path: Path) -> None:
    with serving(gzip.compress(CONTENT, compresslevel=1), "whole") as server:
        got = fetch(source(server.url, to="thing/file.gz"), tmp_path)
    assert gzip.decompress(got.path.read_bytes()) == CONTENT
    with serving(gzip.compress(CONTENT)[:-100], "lengthless") as server, pytest.raises(DeepscopeError, match="damaged"):
        fetch(source(server.url, to="thing/other.gz"), tmp_path)


def test_damaged_file_that_is_here_is_reported(tmp_path: Path) -> None:
    target = tmp_path / "data" / "thing" / "file.bin"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"wrong")
    with pytest.raises(DeepscopeError, match="remove it, then get it again"):
        fetch(source("http://unused"), tmp_path)


def test_first_download_without_published_digest_is_recorded_and_binds_later_ones(tmp_path: Path) -> None:
    first = replace(source(), sha256="")
    with serving(CONTENT, "whole") as server:
        got = fetch(replace(first, urls=(server.url,)), tmp_path)
        assert "recorded in file.bin.sha256" in got.checked
        record = got.path.with_name("file.bin.sha256").read_text()
        assert record == f"{sha256(CONTENT).hexdigest()}  {server.url}\n"
        got.path.unlink()
        assert fetch(replace(first, urls=(server.url,)), tmp_path).checked == "agrees with the first download"
    got.path.unlink()
    with serving(CONTENT, "corrupt") as server, pytest.raises(DeepscopeError, match="its SHA-256 is"):
        fetch(replace(first, urls=(server.url,)), tmp_path)


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return file.getvalue()


def tarred(*infos: tuple[tarfile.TarInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for info, content in infos:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info, b""


def everything(member: str) -> str:
    return member


def unpacked(content: bytes, home: Path, files: int, most: int = 400_000) -> Got:
    with serving(content, "whole") as server:
        return fetch(Source(urls=(server.url,), to="folder", most=most, place=everything, files=files), home)


def test_archives_are_unpacked(tmp_path: Path) -> None:
    got = unpacked(zipped(a__x=b"1", b__y=b"22"), tmp_path / "zip", 2)
    assert (got.path / "a" / "x").read_bytes() == b"1"
    members = [(tarfile.TarInfo("a/x"), b"1"), link("a/link", "/etc/passwd")]
    got = unpacked(tarred(*members), tmp_path / "tar", 1)
    assert left(tmp_path / "tar") == ["folder.sha256", "x"]


@pytest.mark.parametrize(
    ("content", "files", "message"),
    [
        (zipped(**{"../climbs": b"1"}), 1, "is outside"),
        (zipped(**{"/tmp/climbs": b"1"}), 1, "is outside"),
        (tarred((tarfile.TarInfo("../climbs"), b"1")), 1, "is outside"),
        (tarred((tarfile.TarInfo("twice"), b"1"), (tarfile.TarInfo("twice"), b"2")), 2, "exists"),
        (zipped(bomb=bytes(10_000_000)), 1, "more than 3200000 bytes"),
        (zipped(bomb=bytes(1_000_000)), 1, "more than 800000 bytes"),
        (zipped(a=b"1"), 2, "holds 1 of the files that are wanted, not 2"),
        (zipped(a=CONTENT)[:-50], 1, "could not be opened|truncated|not a"),
        (b"<html>sign in</html>", 1, "could not be opened"),
    ],
    ids=[
        "zip-climbs",
        "zip-absolute",
        "tar-climbs",
        "twice",
        "bomb",
        "small-bomb",
        "one-of-two",
        "truncated",
        "no-archive",
    ],  # archives hold the time: pytest-xdist wants the same names in each process
)
def test_hostile_archive_leaves_nothing(tmp_path: Path, content: bytes, files: int, message: str) -> None:
    with pytest.raises(DeepscopeError, match=message):
        unpacked(content, tmp_path / "home", files)
    assert left(tmp_path) == []
    assert list((tmp_path / "home" / "data").iterdir()) == []


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(DeepscopeError, match="DEEPSCOPE_HOME"):
        fetch(source("http://unused"), tmp_path)


def test_every_source_is_complete() -> None:
    for dataset in Dataset.members().values():
        assert bool(dataset.sources) == bool(dataset.needs)
        for wanted in dataset.sources:
            assert all(url.startswith(("https://", "http://")) for url in wanted.urls)
            assert any(need.split("/")[0] == wanted.to.split("/")[0] for need in dataset.needs)
            assert bool(wanted.place) == bool(wanted.files)


def test_15_scene_archive_is_put_into_the_official_split() -> None:
    assert fifteen_scene.place("scene_categories/MITcoast/image_0360.jpg") in (
        "train/coast/image_0360.jpg",
        "test/coast/image_0360.jpg",
    )
    assert fifteen_scene.place("CALsuburb/image_0001.jpg") is not None
    assert fifteen_scene.place("coast/Thumbs.db") is None
    assert fifteen_scene.place("coast/../image_0001.jpg") is None
    assert fifteen_scene.place("mars/image_0001.jpg") is None


@pytest.mark.real
def test_published_digests_and_split_are_those_of_the_real_files(home: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(home / "data")
    for wanted in Dataset.member("mnist").sources:
        assert get(wanted, Session(home=tmp_path)).checked == "was installed before, agrees with the published file"
    root = home / "data" / "15scene"
    for path in root.glob("*/*/*.jpg"):
        assert fifteen_scene.place(f"MIT{path.parent.name}/{path.name}") == str(path.relative_to(root))


PHOTOGRAPHS = {f"{name}.jpg": np.random.default_rng(place).bytes(3000) for place, name in enumerate("abc")}
PACKED = {
    "tgz": tarred(*((tarfile.TarInfo(name), content) for name, content in PHOTOGRAPHS.items())),
    "zip": zipped(**PHOTOGRAPHS),
}
PACKED["tar"] = gzip.decompress(PACKED["tgz"])
PACKED["bz2"], PACKED["xz"] = bz2.compress(PACKED["tar"]), lzma.compress(PACKED["tar"])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(PACKED)), damages)
def test_what_is_unpacked_from_a_damaged_archive_is_whole(tmp_path: Path, kind: str, damage: Damage) -> None:
    """Plain tar has no check sum of contents: there, only the sizes can be compared."""
    archive, folder = tmp_path / "archive", tmp_path / secrets.token_hex(4)
    archive.write_bytes(damage(PACKED[kind]))
    folder.mkdir()
    try:
        count = unpack(archive, folder, everything, most=100_000)
    except Damaged as error:
        assert str(error)
        return
    found = sorted(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert count == len(found)
    if kind != "tar" and count == len(PHOTOGRAPHS):  # `get` refuses any other number
        assert found == sorted(PHOTOGRAPHS.values())
    assert all(len(content) == 3000 for content in found)


@pytest.mark.parametrize("kind", ["tgz", "zip", "bz2", "xz"])
def test_files_that_are_not_wanted_are_verified_too(tmp_path: Path, kind: str) -> None:
    (tmp_path / "whole").write_bytes(PACKED[kind])
    assert unpack(tmp_path / "whole", tmp_path, lambda name: name if name == "a.jpg" else None, most=100_000) == 1
    middle = len(PACKED[kind]) // 2
    (tmp_path / "bad").write_bytes(PACKED[kind][:middle] + bytes(40) + PACKED[kind][middle + 40 :])
    with pytest.raises(Damaged):
        unpack(tmp_path / "bad", tmp_path, lambda name: None, most=100_000)


def _header(name: str, kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def _sparse(size: int) -> bytes:
    block = bytearray(_header("a", tarfile.GNUTYPE_SPARSE, 0))
    block[483:495] = b"\x80" + size.to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@cache
def _many_files() -> bytes:
    """Made where a test wants it: it takes seconds, and each process of the tests reads all parameters."""
    return zipped(**{f"{number}": b"" for number in range(100_001)})


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize(
    "content",
    [
        _header("a", tarfile.XHDTYPE, 1 << 40),
        _header("a", tarfile.GNUTYPE_LONGNAME, 1 << 40),
        _header("a", tarfile.REGTYPE, 1 << 60),
        _sparse(1 << 60),
        gzip.compress(_header("a", tarfile.XHDTYPE, 1 << 30) + bytes(1 << 25)),
        gzip.compress(_header("b", tarfile.REGTYPE, 1 << 25) + bytes(1 << 25)),
        None,
        _header("link", tarfile.SYMTYPE, 0) * 100_001,
    ],
    ids=["header", "name", "file", "sparse", "packed header", "packed file", "many files", "many links"],
)
def test_what_an_archive_claims_is_not_allocated(tmp_path: Path, content: bytes | None, wanted: bool) -> None:
    (tmp_path / "archive").write_bytes(_many_files() if content is None else content)
    (tmp_path / "folder").mkdir()
    names = (f"{number}" for number in range(1 << 20))
    tracemalloc.start()
    with pytest.raises(Damaged):
        unpack(tmp_path / "archive", tmp_path / "folder", lambda name: next(names) if wanted else None, most=100_000)
    assert tracemalloc.get_traced_memory()[1] < 300 << 20
    tracemalloc.stop()


def test_a_directory_of_a_zip_file_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    whole = bytearray(zipped(a=b"1"))
    end = whole.rfind(b"PK\5\6")
    (tmp_path / "zip64").write_bytes(whole[:end] + b"PK\6\7" + bytes(16) + whole[end:])
    whole[end + 12 : end + 16] = (1 << 30).to_bytes(4, "little")
    (tmp_path / "long").write_bytes(whole)
    for name in ("long", "zip64"):
        with pytest.raises(Damaged):
            unpack(tmp_path / name, tmp_path, everything, most=1000)


def test_a_file_in_a_zip_archive_may_hold_the_marks_of_its_records(tmp_path: Path) -> None:
    content = b"PK\6\7" + bytes(20) + b"PK\5\6" + b"\xff" * 20
    with zipfile.ZipFile(tmp_path / "stored", "w", zipfile.ZIP_STORED) as packed:
        packed.writestr("a", content)
        packed.comment = b"with a comment"
    (tmp_path / "folder").mkdir()
    assert unpack(tmp_path / "stored", tmp_path / "folder", everything, most=1000) == 1
    assert (tmp_path / "folder" / "a").read_bytes() == content


def test_a_long_directory_cannot_hide_behind_a_mark_within_the_last_record(tmp_path: Path) -> None:
    whole = bytearray(zipped(a=b"1"))
    end = len(whole) - 22
    whole[end + 12 : end + 20] = (1 << 30).to_bytes(4, "little") + b"PK\5\6"  # where the directory begins
    (tmp_path / "long").write_bytes(whole)
    with pytest.raises(Damaged, match="its directory is longer"):
        unpack(tmp_path / "long", tmp_path, everything, most=1000)


def test_devices_pipes_and_links_are_left_out(tmp_path: Path) -> None:
    kinds = (tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE)
    (tmp_path / "archive").write_bytes(b"".join(_header(f"m{kind!r}", kind, 0) for kind in kinds) + bytes(1024))
    (tmp_path / "folder").mkdir()
    assert unpack(tmp_path / "archive", tmp_path / "folder", everything, most=1000) == 0
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_full_disk_is_no_damaged_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "archive").write_bytes(PACKED["zip"])

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(tmp_path / "archive", tmp_path, everything, most=100_000)


@pytest.mark.parametrize("what", ["link", "dangling", "folder", "pipe"])
@pytest.mark.parametrize("name", ["set.part", "set.part.version", "set.sha256"])
def test_leftovers_of_another_kind_are_not_written_to(tmp_path: Path, what: str, name: str) -> None:
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    path, elsewhere = home / "data" / name, tmp_path / "elsewhere"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(elsewhere)
        if what == "link":
            elsewhere.write_bytes(b"mine")
    with pytest.raises(DeepscopeError, match="is in the way"):
        get(Source(("http://unused",), "set", 1000, "", everything, 1), Session(home=home, quiet=True), patience=QUICK)
    assert not elsewhere.exists() or elsewhere.read_bytes() == b"mine"


def test_a_target_of_another_kind_is_refused_and_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "folder").write_bytes(b"")
    with pytest.raises(DeepscopeError, match="is a file, not a folder"):
        unpacked(PACKED["zip"], tmp_path, 3)
    (tmp_path / "data" / "folder").unlink()
    (tmp_path / "data" / "folder").mkdir()
    assert len(list(unpacked(PACKED["zip"], tmp_path, 3).path.iterdir())) == 3
    (tmp_path / "data" / "thing" / "file.bin").mkdir(parents=True)
    (tmp_path / "data" / "thing" / "file.bin" / "x").touch()
    with pytest.raises(DeepscopeError, match="is a folder, not a file"):
        fetch(source("http://unused"), tmp_path)
    (tmp_path / "data" / "thing" / "file.gz").write_bytes(gzip.compress(CONTENT)[:-9])
    with pytest.raises(DeepscopeError, match="remove it, then get it again"):
        fetch(source("http://unused", to="thing/file.gz"), tmp_path)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from(["file.bin.part", "file.bin.part.version", "file.bin.sha256"]))
def test_leftovers_of_any_content_cost_nothing(tmp_path: Path, left: bytes, name: str) -> None:
    shutil.rmtree(tmp_path / "data", ignore_errors=True)
    (tmp_path / "data" / "thing").mkdir(parents=True)
    (tmp_path / "data" / "thing" / "file.bin.part").write_bytes(CONTENT[:100])
    (tmp_path / "data" / "thing" / name).write_bytes(left)
    with serving(CONTENT, "whole") as server:
        published = "" if name.endswith("sha256") else sha256(CONTENT).hexdigest()
        got = fetch(replace(source(server.url), sha256=published), tmp_path)
    assert got.path.read_bytes() == CONTENT


def test_a_first_download_can_be_forgotten(tmp_path: Path) -> None:
    (tmp_path / "data" / "thing").mkdir(parents=True)
    record = tmp_path / "data" / "thing" / "file.bin.sha256"
    record.write_text(f"{'0' * 64}  http://elsewhere\n")
    with serving(CONTENT, "whole") as server, pytest.raises(DeepscopeError, match="remove that file"):
        fetch(replace(source(server.url), sha256=""), tmp_path)
    record.unlink()
    with serving(CONTENT, "whole") as server:
        assert "recorded" in fetch(replace(source(server.url), sha256=""), tmp_path).checked


def _answering(answer: bytes) -> tuple[str, socket.socket]:
    """A server whose every answer is these bytes; close the socket to end it."""
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/file"

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(4096)
                    connection.sendall(answer.replace(b"URL", url.encode()))

    threading.Thread(target=serve, daemon=True).start()
    return url, listening


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "head",
    [
        b"200 OK\r\nContent-Length: \xb2",
        b"200 OK\r\nContent-Length: " + b"9" * 5000,
        b"200 OK\r\nContent-Length: 1, 2",
        b"200 OK\r\nContent-Length: -1",
        b"200 OK\r\nTransfer-Encoding: chunked",
        b"200 OK\r\nContent-Encoding: gzip",
        b"206 Partial\r\nContent-Range: bytes " + b"0" * 5000 + b"-1/2",
        b"206 Partial",
        b"206 Partial\r\nContent-Type: multipart/byteranges; boundary=x",
        b"204 Nothing",
        b"301 Moved\r\nLocation: URL",
        b"302 Found\r\nLocation: file:///etc/passwd",
        b"302 Found\r\nLocation: http://[bad",
        b"302 Found\r\nLocation: http://127.0.0.1:99999999/",
        b"302 Found\r\nLocation: \xff\xfe",
        b"302 Found",
        b"999 " + b"\x1b]0;title\x07",
        b"",
        b"\0" * 100,
        b"200 OK\r\n" + b"X: y\r\n" * 1000,
        b"200 OK\r\nX: " + b"y" * 100_000,
    ],
    ids=range(21),
)
def test_any_answer_ends_in_one_line(tmp_path: Path, head: bytes) -> None:
    url, listening = _answering(b"HTTP/1.1 " + head + b"\r\n\r\nxx")
    with listening, pytest.raises(DeepscopeError) as caught:
        get(source(url), Session(home=tmp_path, quiet=True), patience=Patience(attempts=2, timeout=0.3, pause=0))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data" / "thing" / "file.bin").exists()
    gc.collect()  # urllib leaves a socket open where it cannot follow

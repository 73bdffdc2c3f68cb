from __future__ import annotations

import gzip
import io
import socket
import tarfile
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from deepscope.data import fifteen_scene
from deepscope.data.dataset import Dataset
from deepscope.data.download import Got, Source, get
from deepscope.data.fetch import Patience
from deepscope.errors import InputError
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
        assert again.checked == "was here before, agrees with the published file"
        assert len(server.asked) == 1


@pytest.mark.parametrize("trouble", ["truncate", "stall", "500", "503", "429"])
def test_trouble_is_tried_again(tmp_path: Path, trouble: str) -> None:
    with serving(CONTENT, trouble, "whole") as server:
        assert fetch(source(server.url), tmp_path).path.read_bytes() == CONTENT
        resumed = f"bytes={len(CONTENT) // 2}-" if trouble in ("truncate", "stall") else ""
        assert server.asked == ["", resumed]


def test_goes_on_after_breaking_off_for_good(tmp_path: Path) -> None:
    with serving(CONTENT, "truncate", "500", "500", "whole") as server:
        with pytest.raises(InputError, match="answers 500"):
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
    with serving(old, "truncate", "500", "500", "500") as server, pytest.raises(InputError):
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
    with serving(CONTENT, "truncate", "elsewhere") as server, pytest.raises(InputError, match="another part"):
        fetch(source(server.url), tmp_path)


def test_corrupt_once_is_downloaded_again(tmp_path: Path) -> None:
    with serving(CONTENT, "corrupt", "whole") as server:
        assert fetch(source(server.url), tmp_path).path.read_bytes() == CONTENT


def test_corrupt_always_keeps_nothing(tmp_path: Path) -> None:
    with serving(CONTENT, "corrupt") as server:
        with pytest.raises(InputError, match="its SHA-256 is"):
            fetch(source(server.url), tmp_path)
        assert len(server.asked) == 2
    assert left(tmp_path) == []


def test_cut_short_without_a_length_is_caught_by_the_digest(tmp_path: Path) -> None:
    with serving(CONTENT[:1000], "lengthless") as server, pytest.raises(InputError, match="its SHA-256 is"):
        fetch(source(server.url), tmp_path)


@pytest.mark.parametrize("status", ["403", "404", "410"])
def test_no_is_not_asked_twice_and_the_next_url_is_tried(tmp_path: Path, status: str) -> None:
    with serving(CONTENT, status) as wrong, serving(CONTENT, "whole") as right:
        assert fetch(source(wrong.url, right.url), tmp_path).path.read_bytes() == CONTENT
        assert len(wrong.asked) == 1


def test_message_says_which_file_to_put_where(tmp_path: Path) -> None:
    with serving(CONTENT, "404") as server, pytest.raises(InputError) as caught:
        fetch(source(server.url), tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert "404" in message
    assert f"put the file {server.url} at {tmp_path / 'data' / 'thing' / 'file.bin'}" in message


def test_no_server_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file"
        with pytest.raises(InputError, match="refused"):
            fetch(source(url), tmp_path)

    def no_name(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_name)
    with pytest.raises(InputError, match=r"is there a network\?.*put the file http://example.invalid/x at"):
        fetch(source("http://example.invalid/x"), tmp_path)


@pytest.mark.parametrize("word", ["whole", "lengthless"])
def test_too_large_is_refused(tmp_path: Path, word: str) -> None:
    with serving(CONTENT, word) as server, pytest.raises(InputError, match="more than 1000 bytes"):
        fetch(replace(source(server.url), most=1000), tmp_path)
    assert left(tmp_path) == []


def test_gzip_file_is_checked_by_its_content(tmp_path: Path) -> None:
    with serving(gzip.compress(CONTENT, compresslevel=1), "whole") as server:
        got = fetch(source(server.url, to="thing/file.gz"), tmp_path)
    assert gzip.decompress(got.path.read_bytes()) == CONTENT
    with serving(gzip.compress(CONTENT)[:-100], "lengthless") as server, pytest.raises(InputError, match="damaged"):
        fetch(source(server.url, to="thing/other.gz"), tmp_path)


def test_damaged_file_that_is_here_is_reported(tmp_path: Path) -> None:
    target = tmp_path / "data" / "thing" / "file.bin"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"wrong")
    with pytest.raises(InputError, match="remove it, then get it again"):
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
    with serving(CONTENT, "corrupt") as server, pytest.raises(InputError, match="its SHA-256 is"):
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
        (zipped(**{"../climbs": b"1"}), 1, "lies outside"),
        (zipped(**{"/tmp/climbs": b"1"}), 1, "lies outside"),
        (tarred((tarfile.TarInfo("../climbs"), b"1")), 1, "lies outside"),
        (tarred((tarfile.TarInfo("twice"), b"1"), (tarfile.TarInfo("twice"), b"2")), 2, "exists"),
        (zipped(bomb=bytes(10_000_000)), 1, "more than 3200000 bytes"),
        (zipped(bomb=bytes(1_000_000)), 1, "more than 800000 bytes"),
        (zipped(a=b"1"), 2, "holds 1 of the files that are wanted, not 2"),
        (zipped(a=CONTENT)[:-50], 1, "could not be opened|truncated|not a"),
        (b"<html>sign in</html>", 1, "could not be opened"),
    ],
)
def test_hostile_archive_leaves_nothing(tmp_path: Path, content: bytes, files: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        unpacked(content, tmp_path / "home", files)
    assert left(tmp_path) == []
    assert list((tmp_path / "home" / "data").iterdir()) == []


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(InputError, match="DEEPSCOPE_HOME"):
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
        assert get(wanted, Session(home=tmp_path)).checked == "was here before, agrees with the published file"
    root = home / "data" / "15scene"
    for path in root.glob("*/*/*.jpg"):
        assert fifteen_scene.place(f"MIT{path.parent.name}/{path.name}") == str(path.relative_to(root))

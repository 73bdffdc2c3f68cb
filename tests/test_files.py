"""Files appear whole or not at all, and names from outside stay in their folder."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepscope.errors import InputError
from deepscope.files import atomic, inside, sha256


def test_atomic_writes_the_whole_file_into_a_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "result.json"
    with atomic(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".json"
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert [file.name for file in path.parent.iterdir()] == ["result.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_atomic_leaves_the_old_file_and_nothing_else_behind_an_error(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("old")
    with pytest.raises(error), atomic(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_atomic_allows_a_writer_to_remove_its_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "a.bin") as temporary:
        temporary.unlink()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_atomic_gives_an_ordinary_file_and_keeps_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with atomic(tmp_path / "a.txt") as temporary:
            temporary.write_text("x")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~umask


def test_atomic_from_many_threads_is_one_of_the_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "shared.txt"
    seen: set[str] = set()

    def write(letter: str) -> None:
        for _ in range(10):
            with atomic(path) as temporary:
                temporary.write_text(letter * 10_000)
            seen.add(path.read_text())

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen <= {letter * 10_000 for letter in "abcd"}
    assert [file.name for file in tmp_path.iterdir()] == ["shared.txt"]


@given(data=st.binary(max_size=5000))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sha256_is_hashlibs(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "data").write_bytes(data)
    assert sha256(tmp_path / "data") == hashlib.sha256(data).hexdigest()


def test_sha256_of_more_than_one_chunk(tmp_path: Path) -> None:
    data = os.urandom(2**20 + 17)
    (tmp_path / "data").write_bytes(data)
    assert sha256(tmp_path / "data") == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("name", ["a.txt", "sub/a.txt", "sub/../a.txt", "./a.txt", "..a", "new/not-there.txt"])
def test_inside_allows_what_stays_in_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    assert inside(tmp_path, name) == Path(os.path.normpath(tmp_path / name))


@pytest.mark.parametrize("name", ["../a", "sub/../../a", "/etc/passwd", "link/a", "file-link", "circle", "null\0byte"])
def test_inside_refuses_what_leaves_it(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path)
    (folder / "file-link").symlink_to("/etc/passwd")
    (folder / "circle").symlink_to(folder / "circle")
    if name == "circle":
        try:
            assert inside(folder, name) == folder / "circle"  # later Pythons stop at the circle: still inside
        except InputError as error:
            assert "circle" in str(error)
        return
    with pytest.raises(InputError, match=r"outside|cannot be followed"):
        inside(folder, name)


def test_inside_follows_a_folder_that_is_itself_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert inside(tmp_path / "link", "a") == tmp_path / "real" / "a"


def test_a_folder_with_a_similar_name_is_outside(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        inside(tmp_path / "data", "../data-2/a")

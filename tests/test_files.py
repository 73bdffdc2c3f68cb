"""Files appear whole or not at all, and names from outside stay in their folder."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepscope.errors import DeepscopeError
from deepscope.files import atomic, inside, lock, matching, replace_together, sha256
from kills import Killed, every_kill, killed_at


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
        except DeepscopeError as error:
            assert "circle" in str(error)
        return
    with pytest.raises(DeepscopeError, match=r"outside|cannot be followed"):
        inside(folder, name)


def test_inside_follows_a_folder_that_is_itself_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert inside(tmp_path / "link", "a") == tmp_path / "real" / "a"


def test_a_folder_with_a_similar_name_is_outside(tmp_path: Path) -> None:
    with pytest.raises(DeepscopeError):
        inside(tmp_path / "data", "../data-2/a")


def put(folder: Path, content: bytes, *, note: str = "") -> None:
    replace_together(
        folder / "data.bin", lambda path: path.write_bytes(content), folder / "about.txt", lambda digest: note + digest
    )


def got(folder: Path) -> bytes | None:
    about = folder / "about.txt"
    path = matching(folder / "data.bin", about.read_text()[-64:]) if about.exists() else None
    return path.read_bytes() if path else None


def test_a_pair_has_its_plain_names_and_nothing_else_lies_beside_it(tmp_path: Path) -> None:
    for content in (b"old", b"new", b"new"):
        put(tmp_path, content)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["about.txt", "data.bin"]
        assert (tmp_path / "data.bin").read_bytes() == content
        assert (tmp_path / "about.txt").read_text() == hashlib.sha256(content).hexdigest()


@given(st.lists(st.tuples(st.binary(max_size=3), st.none() | st.integers(0, 6)), min_size=1, max_size=8))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_killed_a_pair_is_the_old_or_the_new_one(
    tmp_path_factory: pytest.TempPathFactory, saves: list[tuple[bytes, int | None]]
) -> None:
    folder = tmp_path_factory.mktemp("pair")
    expected: set[bytes | None] = {None}
    for content, step in saves:
        with killed_at(1000 if step is None else step) as stopped:
            put(folder, content)
        expected = expected | {content} if stopped else {content}
        found = got(folder)
        assert found in expected
        expected = {found}
    put(folder, b"last")
    assert got(folder) == b"last"
    assert sorted(path.name for path in folder.iterdir()) == ["about.txt", "data.bin"], "killed saves leave nothing"


def test_a_pair_is_killed_at_every_change(tmp_path: Path) -> None:
    seen = []

    def begin() -> None:
        put(tmp_path, b"old")

    assert every_kill(lambda: put(tmp_path, b"new"), begin, lambda: seen.append(got(tmp_path))) >= 3
    assert set(seen) == {b"old", b"new"} and seen[-1] == b"new"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_pair_that_cannot_be_written_is_the_old_one_and_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    put(tmp_path, b"old")

    def fail(_: object) -> str:
        raise error

    for write, describe in ((lambda path: path.write_bytes(b"new"), fail), (fail, str)):
        with pytest.raises(type(error)):
            replace_together(tmp_path / "data.bin", write, tmp_path / "about.txt", describe)
        assert got(tmp_path) == b"old"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["about.txt", "data.bin"]


def test_files_of_a_person_that_look_alike_are_left_alone(tmp_path: Path) -> None:
    mine = ["data-of-mine.bin", f"data-{'g' * 64}.bin", f"data-{'a' * 63}.bin", ".data.mine.bin"]
    for name in mine:
        (tmp_path / name).touch()
    put(tmp_path, b"new")
    assert {path.name for path in tmp_path.iterdir()} == {*mine, "about.txt", "data.bin"}


@pytest.mark.parametrize("digest", [None, 3, "", "0" * 64, "../" * 21 + "x", "*" * 64])
def test_a_digest_from_outside_names_no_other_file(tmp_path: Path, digest: object) -> None:
    put(tmp_path, b"x")
    assert matching(tmp_path / "data.bin", digest) is None


def test_a_locked_folder_is_for_one_thread_which_may_lock_it_again(tmp_path: Path) -> None:
    refused: list[str] = []

    def other() -> None:
        try:
            with lock(tmp_path):
                pass
        except DeepscopeError as error:
            refused.append(str(error))

    def elsewhere() -> None:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    with lock(tmp_path), lock(tmp_path / "." / ""):
        elsewhere()
    assert len(refused) == 1 and str(tmp_path) in refused[0] and "name another folder" in refused[0]
    elsewhere()
    assert len(refused) == 1, "it is free again"
    with pytest.raises(Killed), lock(tmp_path):
        raise Killed
    elsewhere()
    assert len(refused) == 1 and list(tmp_path.iterdir()) == []


HOLD = """
import sys, time
from pathlib import Path
from deepscope.files import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    with pytest.raises(DeepscopeError, match="another deepscope is writing"), lock(tmp_path):
        pass
    with pytest.raises(DeepscopeError, match="another deepscope is writing"):
        put(tmp_path, b"x")
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    put(tmp_path, b"x")
    assert got(tmp_path) == b"x"


def test_a_file_system_without_locks_is_said_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")
    said: list[str] = []

    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with lock(tmp_path, unsupported=said.append), lock(tmp_path, unsupported=said.append):
        put(tmp_path, b"x")
    assert got(tmp_path) == b"x"
    assert len(said) == 1 and "Operation not supported" in said[0]


def test_what_is_flushed_was_opened_for_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows refuses to flush a handle that can only read."""
    fcntl = pytest.importorskip("fcntl", reason="tells how a handle was opened")
    modes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: modes.append(fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE))
    with atomic(tmp_path / "a") as path:
        path.write_bytes(b"x")
    assert modes and os.O_RDONLY not in modes

"""The cache: never a wrong answer, never an error, whatever lies in it and wherever it lies."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import deepscope.kept
from damage import Damage, damages
from deepscope.kept import Arrays, Cache, digest, kept, training_folder, workspace, write_new
from deepscope.session import Session

ARRAYS = {"a": np.arange(300.0).reshape(20, 15), "names": np.array(["x", "é"]), "none": np.empty(0)}

many = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(cache=tmp_path / "cache", home=tmp_path, quiet=True)


def same(found: Arrays, wanted: Arrays = ARRAYS) -> bool:
    return found.keys() == wanted.keys() and all(np.array_equal(found[key], wanted[key]) for key in wanted)


def compute() -> Arrays:
    return dict(ARRAYS)


def refuse() -> Arrays:
    raise AssertionError("computed again")


refuse.__module__ = compute.__module__


def test_figures_are_computed_once(session: Session) -> None:
    assert same(kept(session, {"n": 1}, compute))
    assert same(kept(session, {"n": 1}, refuse))
    for other in ({"n": 2}, {}):
        with pytest.raises(AssertionError, match="computed again"):
            kept(session, other, refuse)
    with pytest.raises(AssertionError, match="computed again"):
        kept(replace(session, seed=1), {"n": 1}, refuse)
    with pytest.raises(AssertionError, match="computed again"):
        kept(replace(session, precision="bfloat16"), {"n": 1}, refuse)


def test_what_changed_code_computed_is_not_served(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(session, {"n": 1}, compute)
    monkeypatch.setattr(deepscope.kept, "code_of", lambda module: f"{module}, changed")
    with pytest.raises(AssertionError, match="computed again"):
        kept(session, {"n": 1}, refuse)


def test_what_changed_code_trained_is_not_resumed(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def folders() -> list[Path]:
        return [
            training_folder(s, "generation", "deepscope.gans") for s in (session, replace(session, out=Path("out")))
        ]

    before = folders()
    assert before == folders() and before[1].parent == Path("out/generation")
    monkeypatch.setattr(deepscope.kept, "code_of", lambda module: f"{module}, changed")
    assert not set(before) & set(folders())


@many
@given(damages)
def test_a_damaged_entry_is_computed_again(session: Session, damage: Damage) -> None:
    kept(session, {}, compute)
    (path,) = session.cache.rglob("*.kept")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    calls: list[int] = []

    def again() -> Arrays:
        calls.append(1)
        return compute()

    again.__module__ = compute.__module__
    assert same(kept(session, {}, again))
    assert bool(calls) == (damage(whole) != whole)
    assert same(kept(session, {}, refuse))  # and is whole from then on


def test_an_entry_under_another_name_is_foreign(session: Session) -> None:
    cache = Cache(session, session.cache)
    cache.write("one", b"1")
    (cache.folder / "two").write_bytes((cache.folder / "one").read_bytes())
    assert (cache.read("one"), cache.read("two"), cache.read("three")) == (b"1", None, None)


def test_the_last_writer_wins_and_a_reader_sees_a_whole_entry(session: Session) -> None:
    one, two = Cache(session, session.cache), Cache(session, session.cache)
    one.write("x", b"first")
    two.write("x", b"second" * 1000)
    assert one.read("x") == b"second" * 1000
    one.write("x", b"")
    assert two.read("x") == b""
    assert [path.name for path in session.cache.iterdir()] == ["x"]


def _file(place: Path) -> Path:
    place.write_text("")
    return place


def _circle(place: Path) -> Path:
    place.symlink_to(place)
    return place


def _dangling(place: Path) -> Path:
    place.symlink_to(place / "nowhere" / "else")
    return place


PLACES: dict[str, Callable[[Path], Path]] = {
    "a file": _file,
    "below a file": lambda place: _file(place) / "cache",
    "a circle of links": _circle,
    "a link to nowhere": _dangling,
    "/proc": lambda _: Path("/proc/none"),
    "a device": lambda _: Path("/dev/null"),
    "below a device": lambda _: Path("/dev/null/cache"),
    "a long name": lambda place: place / ("x" * 300),
    "a long path": lambda place: place.joinpath(*["x" * 200] * 30),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_cache_that_cannot_be_used_costs_one_note(
    tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    session = Session(cache=PLACES[place](tmp_path / "cache"), home=tmp_path)
    for _ in range(2):
        assert same(kept(session, {"n": 1}, compute))
        assert same(kept(replace(session, seed=2, part="a part"), {"n": 2}, compute))
    Cache(session, session.cache / "other").remove("*")
    folder = workspace(session)
    write_new(folder / "test" / "x", b"1")
    assert (folder / "test" / "x").read_bytes() == b"1"
    noted = " ".join(capsys.readouterr().err.split())
    assert noted.count("the cache") == noted.count("cannot be used") == 1, noted


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO, errno.EDQUOT])
def test_a_write_that_fails_leaves_nothing_half_written(
    session: Session, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", half)
    assert same(kept(session, {}, compute))
    assert [path for path in session.cache.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_in_the_place_of_an_entry_does_not_hang(session: Session) -> None:
    cache = Cache(session, session.cache)
    cache.write("x", b"1")
    (cache.folder / "x").unlink()
    os.mkfifo(cache.folder / "x")
    assert cache.read("x") is None
    cache.write("x", b"2")
    assert cache.read("x") == b"2"


def test_an_error_of_the_computation_is_no_error_of_the_cache(session: Session) -> None:
    def fails() -> Arrays:
        raise OSError("its own")

    with pytest.raises(OSError, match="its own"):
        kept(session, {}, fails)


def test_a_nearly_full_disk_is_no_workspace(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    assert workspace(session) == session.cache
    monkeypatch.setattr(deepscope.kept, "_ENOUGH", 1 << 80)
    assert workspace(session) != session.cache


@given(st.binary(max_size=50), st.binary(max_size=50))
@many
def test_a_file_is_written_unless_it_is_the_same(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(before)
    place = path.stat().st_ino
    write_new(path, after)
    assert path.read_bytes() == after
    assert (path.stat().st_ino == place) or before != after


def test_a_digest_sees_shapes_and_types() -> None:
    zeros = [torch.zeros(2, 3), torch.zeros(3, 2), torch.zeros(6), torch.zeros(6, dtype=torch.int32)]
    assert len({digest(tensor) for tensor in zeros}) == len(zeros)

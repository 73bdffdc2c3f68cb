"""The store of features: what is damaged is computed again, and what cannot be kept is computed all the same."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from damage import Damage, damages
from deepscope import images
from deepscope.data import ClassFolders
from deepscope.features import extract
from deepscope.features.store import Store
from deepscope.inputs.examples import Examples
from deepscope.kept import Cache
from deepscope.models import VisionModel
from deepscope.models.classifier import Pooling
from deepscope.session import Session
from deepscope.transfer import splits

LAYERS: list[tuple[str, Pooling]] = [("2", "mean"), ("5", "pyramid")]
KEYS = [hashlib.sha256(bytes([number])).digest() for number in range(12)]
VECTORS = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)

many = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def store(session: Session, kind: str = "one") -> Store:
    return Store(Cache(session, session.cache), {"kind": kind})


def known(found: Store) -> dict[bytes, np.ndarray]:
    """What a store still has of the keys, one by one."""
    each = {key: found.read([key]) for key in KEYS if key in found}
    return {key: vectors[0] for key, vectors in each.items() if vectors is not None}


def test_what_was_added_is_read_by_others_in_any_order_and_number(session: Session) -> None:
    first, second = store(session), store(session)
    first.add(KEYS[:4], VECTORS[:4])
    second.add(KEYS[4:9], VECTORS[4:9])
    first.add(KEYS[9:], VECTORS[9:])
    found = store(session).read([KEYS[row] for row in (11, 0, 5, 5, 3)])
    assert found is not None
    assert np.array_equal(found, VECTORS[[11, 0, 5, 5, 3]])
    assert len(list(session.cache.rglob("*.rows"))) == 2  # one per writer


@many
@given(damages)
def test_no_damaged_vector_is_ever_given(session: Session, damage: Damage) -> None:
    shutil.rmtree(session.cache, ignore_errors=True)
    store(session).add(KEYS, VECTORS)
    (path,) = session.cache.rglob("*.rows")
    path.write_bytes(damage(path.read_bytes()))
    found = store(session)
    for key, vector in known(found).items():
        assert np.array_equal(vector, VECTORS[KEYS.index(key)])
    lost = [row for row, key in enumerate(KEYS) if key not in found]
    found.add([KEYS[row] for row in lost], VECTORS[lost])
    assert len(known(store(session))) == len(KEYS)


def test_one_flipped_bit_costs_one_vector(session: Session) -> None:
    store(session).add(KEYS, VECTORS)
    (path,) = session.cache.rglob("*.rows")
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        assert len(known(store(session))) == len(KEYS) - 1


def test_vectors_of_another_kind_or_width_are_foreign(session: Session) -> None:
    store(session, "one").add(KEYS, VECTORS)
    (path,) = session.cache.rglob("*.rows")
    store(session, "two").add(KEYS[:1], VECTORS[:1])
    folder = next(folder for folder in session.cache.iterdir() if folder != path.parent)
    shutil.copy(path, folder / f"9{path.name}")
    assert list(known(store(session, "two"))) == KEYS[:1]
    path.rename(path.with_name(path.name.replace("-5.", "-4.")))
    assert known(store(session, "one")) == {}
    for name in ("0-ab-999999999.rows", "0-ab-99999999999999.rows", "x.rows", "0-ab-0.rows"):
        (path.parent / name).write_bytes(b"x" * 1000)
    (path.parent / "1-ab-5.rows").mkdir()
    assert known(store(session, "one")) == {}


def test_a_whole_copy_stands_in_for_a_damaged_one(session: Session) -> None:
    store(session).add(KEYS, VECTORS)
    (path,) = session.cache.rglob("*.rows")
    shutil.copy(path, path.with_name(f"9{path.name}"))
    path.with_name(f"9{path.name}").write_bytes(bytes(path.stat().st_size // 2) + path.read_bytes()[-50:])
    assert len(known(store(session))) == len(KEYS)


def test_an_append_that_fails_leaves_whole_records(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    found = store(session)
    found.add(KEYS[:3], VECTORS[:3])
    (path,) = session.cache.rglob("*.rows")
    real = Path.open

    def full(self: Path, mode: str = "r", *arguments: object, **named: object) -> object:
        file = real(self, mode, *arguments, **named)  # type: ignore[call-overload]
        if mode == "ab":
            file.write(b"half a record")
            file.close()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return file

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        found.add(KEYS[3:5], VECTORS[3:5])
        store(session).add(KEYS[5:6], VECTORS[5:6])
    found.refresh()
    assert len(known(found)) == 5  # two in memory, though not on the disk
    found.add(KEYS[5:], VECTORS[5:])
    assert sorted(known(store(session))) == sorted([*KEYS[:3], *KEYS[5:]])
    assert [path] == list(session.cache.rglob("*.rows"))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(damages, st.integers(0, 3)), min_size=1, max_size=4))
def test_extraction_from_a_damaged_cache_equals_that_without_one(
    tiny: VisionModel, pictures: list[Path], session: Session, several: list[tuple[Damage, int]]
) -> None:
    shutil.rmtree(session.cache, ignore_errors=True)
    wanted = extract(tiny, LAYERS, pictures[:6], replace(session, cache=Path("/dev/null/none")))
    extract(tiny, LAYERS, pictures[:6], session)
    files = sorted(path for path in (session.cache / "features").rglob("*") if path.is_file())
    assert len(files) == 4  # a description and a segment of each layer
    for damage, number in several:
        files[number].write_bytes(damage(files[number].read_bytes()))
    found = extract(tiny, LAYERS, pictures[:6], session)
    for a, b in zip(found.vectors, wanted.vectors, strict=True):
        assert np.array_equal(a, b)
    assert extract(tiny, LAYERS, pictures[:6], session).computed == 0


def test_a_disk_that_loses_what_is_written_costs_time_only(
    tiny: VisionModel, pictures: list[Path], session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = extract(tiny, LAYERS, pictures[:6], session)
    lossy = replace(session, cache=session.cache / "lossy")
    monkeypatch.setattr(Store, "_append", lambda self, records, dimension: None)
    found = extract(tiny, LAYERS, pictures[:6], lossy)
    for a, b in zip(found.vectors, wanted.vectors, strict=True):
        assert np.array_equal(a, b)


def test_a_cache_that_cannot_be_used_costs_one_note(
    tiny: VisionModel, pictures: list[Path], session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = extract(tiny, LAYERS, pictures, session)
    capsys.readouterr()
    found = extract(tiny, LAYERS, pictures, replace(session, cache=Path("/dev/null/none"), quiet=False, said=set()))
    assert " ".join(capsys.readouterr().err.split()).count("cannot be used") == 1
    assert found.computed == len(pictures)
    for a, b in zip(found.vectors, wanted.vectors, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_digest_of_what_is_no_file_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert (
        images.digest(tmp_path / "pipe.jpg") != images.digest(tmp_path / "none.jpg") != images.digest(Path("/dev/zero"))
    )


@many
@given(damages)
def test_remembered_copies_are_looked_for_again_where_they_are_damaged(
    pictures: list[Path], session: Session, tmp_path: Path, damage: Damage
) -> None:
    for number, path in enumerate(pictures[:6]):
        (tmp_path / "data" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "data" / "ab"[number % 2])
    shutil.copy(pictures[0], tmp_path / "data" / "b" / "copy.png")
    data = ClassFolders.read(tmp_path / "data")
    examples = Examples.in_folders(data)
    place = {row: row for row in range(len(examples))}
    digests = [images.digest(path) for path in examples.paths]
    wanted = splits._copies(examples, place, digests, session)
    assert wanted
    kept = list((session.cache / "figures").iterdir())
    assert kept
    for path in kept:
        path.write_bytes(damage(path.read_bytes()))
    assert splits._copies(examples, place, digests, session) == wanted
    assert images.find([tmp_path / "data"]).skipped == ()

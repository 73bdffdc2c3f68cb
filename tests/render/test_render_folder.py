from __future__ import annotations

import contextlib
import hashlib
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from deepscope import render
from deepscope.errors import DeepscopeError
from deepscope.render import folder as folder_module
from deepscope.results import Animation, Note, Result
from results_strategies import EVERYTHING, results, same


def _digests(folder: Path) -> dict[str, str]:
    """MP4 files differ by what was in memory before: only that they are there is said."""
    return {
        path.name: "" if path.suffix == ".mp4" else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


def test_a_folder_holds_the_result_its_arrays_and_its_figures(tmp_path: Path) -> None:
    render.save(EVERYTHING, tmp_path)
    assert set(_digests(tmp_path)) == {
        "result.json",
        "arrays.npz",
        "02-top-2.png",
        "03-attribution.png",
        "04-adaptation.png",
        "05-ascent.gif",
        "05-ascent.webp",
        "05-ascent.mp4",
        "06-the-images.png",
    }
    assert same(render.load(tmp_path), EVERYTHING)
    with np.load(tmp_path / "arrays.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["arrays/maps"], EVERYTHING.arrays["maps"])
    for path in tmp_path.glob("*.[pg][ni][gf]"):
        with Image.open(path) as image:
            image.load()


def test_the_same_result_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        render.save(EVERYTHING, tmp_path / name)
    assert _digests(tmp_path / "a") == _digests(tmp_path / "b")
    render.save(render.load(tmp_path / "a"), tmp_path / "c")
    assert _digests(tmp_path / "c") == _digests(tmp_path / "a")


@given(results)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_result_is_saved_and_read_back(tmp_path: Path, result: Result) -> None:
    render.save(result, tmp_path)
    assert same(render.load(tmp_path), result)


def test_an_interrupted_save_leaves_the_old_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render.save(Result("old"), tmp_path)

    def interrupt(document: dict[str, Any]) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(folder_module, "text", interrupt)
    with pytest.raises(KeyboardInterrupt):
        render.save(Result("new", blocks=(Note("n"),)), tmp_path)
    assert render.load(tmp_path).title == "old"
    assert set(_digests(tmp_path)) == {"result.json", "arrays.npz"}


def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DeepscopeError, match=r"cannot write to .*name another folder"):
        render.save(Result("r"), tmp_path / "file" / "below")


@pytest.mark.parametrize("name", ["result.json", "arrays.npz"])
def test_a_file_of_another_program_is_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"my": 1}')
    with pytest.raises(DeepscopeError, match=rf"{name} that deepscope did not write.*move it away"):
        render.save(EVERYTHING, tmp_path)
    with pytest.raises(DeepscopeError, match="did not write"), render.drafts(tmp_path):
        pytest.fail("it began")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, '{"my": 1}')]


def test_no_result_here(tmp_path: Path) -> None:
    with pytest.raises(DeepscopeError, match="holds no complete result"):
        render.load(tmp_path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    small = Result("r", metrics={"a": 1.0}, arrays={"x": np.arange(50.0), "y": np.zeros((3, 3), np.uint8)})
    render.save(small, folder)
    return folder


@given(st.sampled_from(["result.json", "arrays.npz"]), st.data())
@settings(max_examples=300, deadline=None)
def test_mutated_files_are_read_or_refused(saved: Path, name: str, data: st.DataObject) -> None:
    path = saved / name
    original = path.read_bytes()
    content = bytearray(original)
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    try:
        path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
        with contextlib.suppress(DeepscopeError):
            assert isinstance(render.load(saved), Result)
    finally:
        path.write_bytes(original)


def _npz(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("arrays/x.npy", content)


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


class _Trap:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("sprung"),))


@pytest.mark.parametrize("kind", ["object array", "pickle", "huge shape", "bomb"])
def test_hostile_arrays_are_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    render.save(Result("r", arrays={"x": np.zeros(3)}), tmp_path)
    if kind == "object array":
        _npz(tmp_path / "arrays.npz", _npy(np.array([_Trap()], object)))
    elif kind == "pickle":
        (tmp_path / "arrays.npz").write_bytes(pickle.dumps(_Trap()))
    elif kind == "huge shape":
        _npz(tmp_path / "arrays.npz", _npy(np.zeros(3)).replace(b"(3,)", b"(9000000000000000,)"))
    else:
        monkeypatch.setattr("deepscope.records.LARGEST", 5000)  # more than the document, less than the array
        _npz(tmp_path / "arrays.npz", _npy(np.zeros(1000)))
    with pytest.raises(DeepscopeError, match=r"damaged|whole result"):
        render.load(tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_arrays_of_another_result_are_refused(tmp_path: Path) -> None:
    render.save(Result("r", arrays={"x": np.zeros(3)}), tmp_path)
    document = json.loads((tmp_path / "result.json").read_text())
    document["arrays"]["x"]["shape"] = [4]
    (tmp_path / "result.json").write_text(json.dumps(document))
    with pytest.raises(DeepscopeError, match="cannot read arrays/x"):
        render.load(tmp_path)


def test_figures_are_named_after_their_titles_and_stay_in_the_folder(tmp_path: Path) -> None:
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    titles = ["../../etc/passwd", "", "Ünïcode 漢字", "x" * 500]
    render.save(Result("r", blocks=tuple(Animation(frames, title=title) for title in titles)), tmp_path / "out")
    gifs = sorted(path.name for path in (tmp_path / "out").glob("*.gif"))
    assert gifs == ["01-etc-passwd.gif", "02-animation.gif", "03-unicode.gif", f"04-{'x' * 48}.gif"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@given(st.data())
@settings(max_examples=100)
def test_a_flipped_bit_is_noticed(saved: Path, data: st.DataObject) -> None:
    path = saved / data.draw(st.sampled_from(["result.json", "arrays.npz"]))
    original, expected = path.read_bytes(), render.load(saved)
    content = bytearray(original)
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        path.write_bytes(content)
        with contextlib.suppress(DeepscopeError):
            assert same(render.load(saved), expected), "read, and not what was saved"
    finally:
        path.write_bytes(original)

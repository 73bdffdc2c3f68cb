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
from deepscope.results import Animation, Heatmap, Note, Result
from kills import every_kill, killed_at
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


def drawn(number: int, *, pictures: int = 1) -> Result:
    """A result whose metric, array and figures all say `number`."""
    values = np.full((2, 2), number, dtype=np.uint8)
    return Result(
        "r",
        metrics={"number": number},
        blocks=tuple(Heatmap(values, title=f"map {number} {place}", low=0, high=9) for place in range(pictures)),
        arrays={"x": values},
    )


def said(folder: Path) -> int | None:
    """The number that everything in the folder says; None where the folder's result is refused."""
    try:
        result = render.load(folder)
    except DeepscopeError:
        return None
    number = int(result.metrics["number"])
    assert (result.arrays["x"] == number).all()
    for figure in folder.glob("[!.]*.png"):
        assert f"map-{number}-" in figure.name, "a figure of another result"
    return number


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2), st.none() | st.integers(0, 12)), min_size=1, max_size=5)
)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_killed_the_result_is_one_of_one_run(
    tmp_path_factory: pytest.TempPathFactory, saves: list[tuple[int, int, int | None]]
) -> None:
    folder = tmp_path_factory.mktemp("result")
    expected: set[int | None] = {None}
    for number, pictures, step in saves:
        with killed_at(1000 if step is None else step) as stopped:
            render.save(drawn(number, pictures=pictures), folder)
        expected = expected | {number} if stopped else {number}
        assert said(folder) in expected
        expected = {said(folder)}
    render.save(drawn(5, pictures=1), folder)
    assert set(_digests(folder)) == {"result.json", "arrays.npz", "01-map-5-0.png"}


def test_a_save_is_killed_at_every_change(tmp_path: Path) -> None:
    seen = []

    def begin() -> None:
        render.save(drawn(1, pictures=2), tmp_path)

    every_kill(lambda: render.save(drawn(2), tmp_path), begin, lambda: seen.append(said(tmp_path)))
    assert set(seen) == {1, 2} and seen[-1] == 2


def test_arrays_of_another_run_are_refused_though_they_fit(tmp_path: Path) -> None:
    for number in (1, 2):
        render.save(drawn(number), tmp_path / str(number))
    (tmp_path / "2" / "arrays.npz").replace(tmp_path / "1" / "arrays.npz")
    with pytest.raises(DeepscopeError, match=r"damaged \(arrays\.npz is missing, or is not the file"):
        render.load(tmp_path / "1")


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


def test_a_result_of_an_older_version_opens_and_its_figures_are_replaced(tmp_path: Path) -> None:
    render.save(drawn(1, pictures=2), tmp_path)
    document = json.loads((tmp_path / "result.json").read_text())
    for key in ("folder", "sha256", "files"):
        del document[key]
    (tmp_path / "result.json").write_text(json.dumps(document))
    assert said(tmp_path) == 1
    render.save(drawn(2), tmp_path)
    assert set(_digests(tmp_path)) == {"result.json", "arrays.npz", "01-map-2-0.png"}


@pytest.mark.parametrize("name", ["../outside.png", "/outside.png", "arrays.npz", "model.json", "notes.txt", "..", ""])
def test_a_list_from_outside_removes_nothing_else(tmp_path: Path, name: str) -> None:
    folder, outside = tmp_path / "out", tmp_path / "outside.png"
    outside.touch()
    render.save(drawn(1), folder)
    for own in ("model.json", "notes.txt"):
        (folder / own).touch()
    document = json.loads((folder / "result.json").read_text())
    document["folder"]["files"] = [name.replace("/outside", f"{tmp_path}/outside") if name[:1] == "/" else name, 3]
    (folder / "result.json").write_text(json.dumps(document))
    render.save(drawn(2), folder)
    assert outside.exists() and {"model.json", "notes.txt", "arrays.npz"} <= set(_digests(folder))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("no encoder"), MemoryError()])
def test_a_figure_that_fails_costs_neither_the_result_nor_other_figures(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepscope.render import plots

    files = plots.files

    def failing(block: Any) -> dict[str, bytes]:
        if block.title == "map 3 0":
            raise error
        return files(block)

    monkeypatch.setattr(plots, "files", failing)
    with pytest.raises(DeepscopeError, match=r"the result is in .*some figures are missing"):
        render.save(drawn(3, pictures=2), tmp_path)
    assert said(tmp_path) == 3
    assert set(_digests(tmp_path)) == {"result.json", "arrays.npz", "02-map-3-1.png"}


def command(folder: Path, number: int, names: list[str]) -> Result:
    """What a command does that writes images of its own."""
    with render.drafts(folder) as drafts:
        for name in names:
            (drafts / "adversarial").mkdir(exist_ok=True)
            (drafts / "adversarial" / name).write_text(str(number))
    files = tuple(f"adversarial/{name}" for name in names)
    return Result("r", metrics={"number": number}, arrays={"x": np.full(2, number)}, files=files)


def images(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (folder / "adversarial").glob("*.png") if path.name != "mine.png"}


def test_images_that_a_job_wrote_are_those_of_the_result_beside_them(tmp_path: Path) -> None:
    seen = []

    def begin() -> None:
        render.save(command(tmp_path, 1, ["a.png", "b.png", "c.png"]), tmp_path)
        (tmp_path / "adversarial" / "mine.png").write_text("mine")

    def look() -> None:
        number = said(tmp_path)
        if number is not None:
            assert images(tmp_path) == dict.fromkeys(
                ("a.png", "b.png", "c.png") if number == 1 else ("b.png",), str(number)
            )
        seen.append(number)
        assert (tmp_path / "adversarial" / "mine.png").read_text() == "mine"

    every_kill(lambda: render.save(command(tmp_path, 2, ["b.png"]), tmp_path), begin, look)
    assert set(seen) == {1, None, 2} and seen[-1] == 2
    assert not list(tmp_path.glob(".*"))
    render.save(command(tmp_path / "empty", 1, ["a.png"]), tmp_path / "empty")
    render.save(drawn(3), tmp_path / "empty")
    assert set(_digests(tmp_path / "empty")) == {"result.json", "arrays.npz", "01-map-3-0.png"}
    render.save(drawn(3), tmp_path)
    assert images(tmp_path) == {} and (tmp_path / "adversarial" / "mine.png").exists()


def test_a_job_that_fails_leaves_the_earlier_result_and_its_images(tmp_path: Path) -> None:
    render.save(command(tmp_path, 1, ["a.png"]), tmp_path)
    with pytest.raises(KeyboardInterrupt), render.drafts(tmp_path) as drafts:
        (drafts / "b.png").touch()
        raise KeyboardInterrupt
    assert said(tmp_path) == 1 and images(tmp_path) == {"a.png": "1"}
    assert not list(tmp_path.glob(".*"))

"""A folder holds one result with its own figures and files, whatever is killed, fails or comes from outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepscope import render
from deepscope.errors import DeepscopeError
from deepscope.results import Heatmap, Result
from kills import every_kill, killed_at


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


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
    assert names(folder) == {"result.json", "arrays.npz", "01-map-5-0.png"}


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


def test_a_result_of_an_older_version_opens_and_its_figures_are_replaced(tmp_path: Path) -> None:
    render.save(drawn(1, pictures=2), tmp_path)
    document = json.loads((tmp_path / "result.json").read_text())
    for key in ("folder", "sha256", "files"):
        del document[key]
    (tmp_path / "result.json").write_text(json.dumps(document))
    assert said(tmp_path) == 1
    render.save(drawn(2), tmp_path)
    assert names(tmp_path) == {"result.json", "arrays.npz", "01-map-2-0.png"}


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
    assert outside.exists() and {"model.json", "notes.txt", "arrays.npz"} <= names(folder)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("no encoder"), MemoryError()])
def test_a_figure_that_fails_costs_neither_the_result_nor_other_figures(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepscope.render import plots

    files = plots.files

    def failing(block: Any, *form: Any) -> dict[str, bytes]:
        if block.title == "map 3 0":
            raise error
        return files(block, *form)

    monkeypatch.setattr(plots, "files", failing)
    with pytest.raises(DeepscopeError, match=r"the result is in .*some figures are missing"):
        render.save(drawn(3, pictures=2), tmp_path)
    assert said(tmp_path) == 3
    assert names(tmp_path) == {"result.json", "arrays.npz", "02-map-3-1.png"}


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
    assert names(tmp_path / "empty") == {"result.json", "arrays.npz", "01-map-3-0.png"}
    render.save(drawn(3), tmp_path)
    assert images(tmp_path) == {} and (tmp_path / "adversarial" / "mine.png").exists()


def test_a_job_that_fails_leaves_the_earlier_result_and_its_images(tmp_path: Path) -> None:
    render.save(command(tmp_path, 1, ["a.png"]), tmp_path)
    with pytest.raises(KeyboardInterrupt), render.drafts(tmp_path) as drafts:
        (drafts / "b.png").touch()
        raise KeyboardInterrupt
    assert said(tmp_path) == 1 and images(tmp_path) == {"a.png": "1"}
    assert not list(tmp_path.glob(".*"))

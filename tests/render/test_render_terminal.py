from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from rich.console import Console

from deepscope import render
from deepscope.render.text import duration, p_value
from deepscope.results import Block, Column, Heatmap, Note, Result, Table
from results_strategies import EVERYTHING, EXAMPLES, results


def shown(result: Result, *, width: int = 60, folder: Path | None = None, colour: bool = False) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=colour, color_system="truecolor" if colour else None
    )
    render.show(result, console, folder)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@given(results)
@settings(max_examples=60, deadline=None)
def test_any_result_fits_and_sends_no_control_code(result: Result) -> None:
    text = shown(result)
    text.encode("utf-8")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\x80-\x9f\u202a-\u202e\u2066-\u2069]", text)
    from rich.cells import cell_len

    assert all(cell_len(line) <= 60 for line in text.split("\n"))


@pytest.mark.parametrize("width", [20, 60, 120])
def test_every_block_is_shown(width: int, tmp_path: Path) -> None:
    text = shown(EVERYTHING, width=width)
    for word in ("Everything", "Accuracy", "88.3\u00a0%", "–", "Top 2", "Attribution", "Adaptation", "Ascent", "Leak"):  # noqa: RUF001
        assert word in text


def test_figures_say_their_size_and_where_they_are(tmp_path: Path) -> None:
    text = shown(EVERYTHING, width=300, folder=tmp_path)
    assert f"Ascent (animation, 3 frames of 48 x 64): {tmp_path / '05-ascent.gif'}" in text
    assert "Attribution (heatmap, 14 x 14)" in text
    assert "Top 2 (grid of 3 cells in 1 row)" in text
    assert "Adaptation (2 curves: DANN, none)" in text
    render.save(EVERYTHING, tmp_path)
    for name in re.findall(r"\d\d-[a-z0-9-]+\.(?:png|gif)", text):
        assert (tmp_path / name).is_file()


def test_numbers_line_up_on_the_right_and_the_best_row_is_marked_without_colour() -> None:
    lines = shown(Result("r", blocks=(EXAMPLES[Table],))).splitlines()
    ends = {len(line.rstrip()) for line in lines if line.rstrip().endswith(("%", "–"))}  # noqa: RUF001
    assert len(ends) == 1
    assert [line.split()[0] for line in lines if "*" in line] == ["efficientnet_lite0"]


def test_metrics_are_printed_where_no_table_does() -> None:
    bare = Result("r", metrics={"accuracy": 0.65, "accuracy/low": 0.55, "accuracy/high": 0.74})
    assert "0.55 to 0.74" in shown(bare)
    assert "0.55 to 0.74" not in shown(Result("r", metrics=bare.metrics, blocks=(EXAMPLES[Table],)))


def test_a_table_wider_than_the_console_becomes_records() -> None:
    columns = tuple(Column(f"column {index}") for index in range(20))
    text = shown(Result("r", blocks=(Table(columns, (tuple(range(1000, 1020)),)),)))
    assert all(re.search(rf"column {index} +{1000 + index}\b", text) for index in range(20))


def test_long_names_of_numbers_leave_room_for_the_names_of_rows() -> None:
    columns = (Column("arm"), *(Column(f"measured-{index}") for index in range(4)))
    assert "unconditional" in shown(Result("r", blocks=(Table(columns, (("unconditional", 1, 2, 3, 4),)),)))


def test_markup_is_text() -> None:
    assert "[red]not markup[/red]" in shown(Result("[red]not markup[/red]", blocks=(Note("[bold]"),)), colour=True)


def test_a_console_that_knows_no_unicode_still_works() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    render.show(EVERYTHING, Console(file=file, width=60))
    file.flush()


def test_figures_that_are_not_saved_are_announced_once() -> None:
    def printed(*blocks: Block, folder: Path | None = None) -> str:
        return shown(Result("title", blocks=blocks), folder=folder)

    picture, note = Heatmap(np.eye(2)), Note("text")
    assert printed(picture, note, picture).splitlines()[-1] == "Add --out FOLDER to save 2 figures."
    assert printed(picture).splitlines()[-1] == "Add --out FOLDER to save 1 figure."
    assert "--out" not in printed(note)
    assert "--out" not in printed(picture, folder=Path("somewhere"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4211, "0.421 s"), (27.21, "27.2 s"), (1356.0, "23 min"), (12600.0, "3.5 h"), (float("nan"), "nan s")],
)
def test_times_are_told_in_the_unit_that_people_use(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("p", "said"), [(1.0, "p = 1"), (0.0025, "p = 0.0025"), (4e-9, "p = 4e-09"), (0.0, "p < 1e-300")]
)
def test_a_p_value_is_never_0(p: float, said: str) -> None:
    assert p_value(p) == said

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from deepscope import render
from deepscope.names import one_line
from deepscope.render.html import chart, styles
from deepscope.render.templates import coded, stacked
from deepscope.results import (
    Animation,
    Bars,
    Column,
    Curves,
    Heatmap,
    ImageGrid,
    Picture,
    Result,
    Series,
    Table,
)
from html_pages import check
from results_strategies import EVERYTHING, EXAMPLES, results


@given(results)
@settings(max_examples=40, deadline=None)
def test_any_result_is_escaped_and_well_formed(result: Result) -> None:
    page = check(render.fragment(result))
    assert one_line(result.title) in " ".join(" ".join(page.text).split()) or not result.title.strip()
    assert len(page.all("article")) == 1


@given(results)
@settings(max_examples=15, deadline=None)
def test_films_of_any_animation_are_well_formed(result: Result) -> None:
    page = check(render.fragment(result, films=True))
    moving = [block for block in result.blocks if isinstance(block, Animation) and len(block.frames) > 1]
    assert len(page.all("template")) == len([block for block in moving if block.frames.size])
    for film in page.all("template"):
        count, columns, rows = (int(film[f"data-{name}"]) for name in ("frames", "columns", "rows"))
        assert columns * (rows - 1) < count <= columns * rows
        assert float(film["data-seconds"]) > 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (2000, 1500)])
def test_pictures_of_any_size_are_shown(shape: tuple[int, int]) -> None:
    pixels = np.zeros((*shape, 3), np.uint8)
    heat = Heatmap(np.full(shape, np.nan), over=pixels, title="nothing but NaN")
    blocks = (ImageGrid(((Picture(pixels, "a"), heat),)), heat, Animation(np.stack([pixels[:900, :900]] * 3)))
    page = check(render.fragment(Result("r", blocks=blocks), films=True))
    assert len(page.all("img")) == 4
    for image in page.all("img"):
        assert 0 < int(image.get("width", 1)) < 4000


def test_captions_say_settings_and_seed() -> None:
    page = check(render.fragment(EVERYTHING))
    assert "top 5; seed 0" in " ".join(page.text)


def test_every_block_is_in_the_fragment() -> None:
    page = check(render.fragment(EVERYTHING))
    figures = [block for block in EXAMPLES.values() if not isinstance(block, Table) and hasattr(block, "caption")]
    assert len(page.all("img")) == len(figures) == 5
    assert len(page.all("figcaption")) == 6
    assert sum(_frames(image["src"]) > 1 for image in page.all("img")) == 1
    still = page.all("source")
    assert len(still) == 1
    assert _frames(still[0]["srcset"]) == 1
    assert "prefers-reduced-motion" in still[0]["media"]
    assert "print" in still[0]["media"]
    text = " ".join(page.text)
    for word in ("Everything", "Accuracy", "88.3\u00a0%", "–", "Ascent", "Warning: Leak", "deepscope classify photos"):  # noqa: RUF001
        assert word in text
    assert [row.get("class") for row in page.all("tr")] == [None, None, None, "marked"]


def test_text_is_not_markup() -> None:
    evil = "<script>alert(1)</script>"
    table = Table((Column(evil),), ((evil,),), title=evil, caption=evil)
    html = render.page([Result(evil, blocks=(table,))], evil)
    check(html)
    assert html.count("&lt;script&gt;") >= 6


def test_metrics_are_shown_once() -> None:
    bare = Result("r", metrics={"accuracy": 0.65, "accuracy/low": 0.55, "accuracy/high": 0.74})
    assert "0.55 to 0.74" in render.fragment(bare)
    assert "0.55 to 0.74" not in render.fragment(Result("r", metrics=bare.metrics, blocks=(EXAMPLES[Table],)))


def test_a_page_is_a_whole_document_with_contents_and_one_style_sheet() -> None:
    html = render.page([EVERYTHING, Result("Second")], "Report")
    page = check(html)
    assert html.startswith("<!DOCTYPE html>")
    assert len(page.all("style")) == 1
    targets = {section["id"] for section in page.all("section")}
    assert {link["href"] for link in page.all("a")} == {f"#{target}" for target in targets}
    assert any(meta.get("http-equiv") == "Content-Security-Policy" for meta in page.all("meta"))


def test_the_style_sheet_asks_for_nothing_and_stays_in_its_scope() -> None:
    css = styles()
    assert "url(" not in css
    assert "@import" not in css
    assert "prefers-color-scheme: dark" in css
    assert "@media print" in css
    for selectors in re.findall(r"([^{}]+)\{[^{}]*\}", css):
        for selector in re.sub(r"\([^()]*\)", "", selectors).split(","):
            assert selector.strip().startswith((".deepscope", "@media")), selector


def test_the_same_result_gives_the_same_html() -> None:
    assert render.fragment(EVERYTHING) == render.fragment(EVERYTHING)


def test_charts_are_marked_and_pictures_are_not() -> None:
    line = Curves((Series("a", np.arange(2), np.arange(2)),), "x", "y")
    matrix = Heatmap(np.eye(2), rows=("a", "b"), columns=("a", "b"))
    bars, picture = Bars(("a",), (1.0,)), Picture(np.zeros((8, 8, 3), np.uint8))
    charts = (line, matrix, ImageGrid(((bars, bars),)))
    others = (Heatmap(np.eye(2)), ImageGrid(((picture, bars),)), Animation(np.zeros((1, 8, 8, 3), np.uint8)))
    assert [chart(one) for one in (*charts, *others)] == [True] * 3 + [False] * 3
    assert 'class="open chart"' in render.fragment(Result("matrix", blocks=(matrix,)))


def test_wide_figures_and_tables_scroll_with_a_cue() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    wide = ImageGrid((tuple(Picture(pixels, "name") for _ in range(6)),))
    page = render.fragment(Result("wide", blocks=(wide,)))
    assert 'class="open wide"' in page
    assert 'class="open wide"' not in render.fragment(Result("narrow", blocks=(Heatmap(np.eye(2)),)))
    assert "max-width: 48rem" in styles()
    assert "var(--shadow)" in styles()


def test_numbers_stand_on_the_right_and_texts_on_the_left() -> None:
    table = Table((Column("name"), Column("n", ","), Column("yes")), (("a", 1234, True), ("b", None, False)))
    cells = check(render.fragment(Result("r", blocks=(table,), arrays={"a": np.zeros(1)}))).all("td")
    assert [cell.get("class") for cell in cells] == [None, "number", None] * 2


def _frames(address: str) -> int:
    kind, _, content = address.partition(";base64,")
    assert kind == "data:image/webp"
    return getattr(Image.open(io.BytesIO(base64.b64decode(content))), "n_frames", 1)


def test_commands_are_code_and_per_cent_signs_stay_with_their_numbers() -> None:
    said = str(coded("run `deepscope data get <b>`: 92 % of <i>"))
    assert said == "run <code>deepscope data get &lt;b&gt;</code>: 92\N{NO-BREAK SPACE}% of &lt;i&gt;"
    assert coded("one ` alone") == "one ` alone"
    assert stacked("a 1; b 2") == "a 1; b 2" and stacked("a; b; c") == "a;\nb;\nc"

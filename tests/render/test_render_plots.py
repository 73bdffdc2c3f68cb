from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageSequence
from rich.console import Console

from deepscope import render
from deepscope.gallery import Gallery
from deepscope.render import plots
from deepscope.render.palette import MISSING
from deepscope.render.plots import canvas
from deepscope.render.plots import texts as folding
from deepscope.render.plots.colours import paint, position, rgb
from deepscope.render.plots.style import LARGEST, style
from deepscope.results import Animation, Bars, Block, Curves, Heatmap, ImageGrid, Note, Picture, Result, Series, Table
from results_strategies import EXAMPLES, animations, blocks, members, texts

RNG = np.random.default_rng(0)
ACCENT, FAINT, MARK = ((0x00, 0x72, 0xB2), (0xE3, 0xE6, 0xEA), (0xD5, 0x5E, 0x00))


def drawn(block: Block) -> NDArray[np.uint8]:
    pixels = plots.draw(block)
    assert pixels is not None
    return pixels


def where(pixels: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    return (pixels == np.array(colour, np.uint8)).all(axis=-1)


def test_the_examples_cover_the_closed_sets() -> None:
    assert set(EXAMPLES) == members("Block") == set(blocks)
    grid = EXAMPLES[ImageGrid]
    assert isinstance(grid, ImageGrid)
    assert {type(cell) for row in grid.rows for cell in row} == members("GridCell")


@pytest.mark.parametrize("kind", EXAMPLES)
def test_every_block_is_drawn_or_is_for_reading(kind: type) -> None:
    pixels = plots.draw(EXAMPLES[kind])
    if kind in (Table, Note):
        assert pixels is None
        assert plots.files(EXAMPLES[kind]) == {}
    else:
        assert pixels is not None
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 3
        first, second = ({**plots.files(EXAMPLES[kind]), ".mp4": b""} for _ in range(2))
        assert first == second
        assert {".gif", ".png"} & set(first)


@given(st.one_of(*blocks.values()))
@settings(max_examples=60, deadline=None)
def test_anything_can_be_drawn(block: Block) -> None:
    pixels = plots.draw(block)
    assert (pixels is None) == (isinstance(block, (Table, Note)) or (isinstance(block, Gallery) and not block.pictured))


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (3, 2), (700, 900)])
def test_any_size_of_picture_and_map(shape: tuple[int, int]) -> None:
    picture = RNG.integers(0, 256, (*shape, 3), np.uint8)
    for block in (
        ImageGrid(((Picture(picture), Heatmap(picture[..., 0])),)),
        Heatmap(picture[..., 0]),
        Heatmap(RNG.random((7, 7)), over=picture),
        Heatmap(picture[..., 0], rows=("a", "b"), columns=("c",)),
        Animation(picture[None]),
    ):
        assert max(drawn(block).shape) <= LARGEST


@given(st.text(st.characters(), max_size=8), st.booleans())
@example("猫 😀 \U0001ee05 \ufe0f\u200d", True)
def test_every_name_is_drawn_without_a_missing_glyph(name: str, bold: bool) -> None:
    """matplotlib warns of a missing glyph, and a warning is an error here."""
    sheet = canvas.Canvas(400, 40)
    with style():
        folded = folding.fold(name, 380, lines=3, bold=bold)
        sheet.text(4, 4, folded, bold=bold)
        sheet.pixels()
    assert "\N{WHITE SQUARE}" not in folding.drawable("\U0010fffd")


def test_a_character_that_no_font_has_is_an_escape() -> None:
    assert folding.drawable("a\U0010fffd") == r"a\U0010fffd"


def test_a_long_grid_is_cut_and_says_so() -> None:
    rows = tuple((Picture(RNG.integers(0, 256, (8, 8, 3), np.uint8)),) for _ in range(200))
    assert drawn(ImageGrid(rows)).shape[0] <= LARGEST


def test_small_pictures_are_enlarged_by_a_whole_number_without_blur() -> None:
    colours = np.array([[[200, 0, 0], [0, 180, 0], [0, 0, 160]], [[90, 10, 0], [7, 8, 9], [60, 0, 70]]], np.uint8)
    pixels = drawn(ImageGrid(((Picture(colours), Picture(colours)),)))
    areas = {int(where(pixels, (int(r), int(g), int(b))).sum()) for r, g, b in colours.reshape(-1, 3)}
    assert len(areas) == 1
    side = int(np.sqrt(areas.pop() / 2))
    shown = np.argwhere(where(pixels, (200, 0, 0)))
    assert len(shown) == 2 * side * side
    top, left = shown.min(axis=0)
    np.testing.assert_array_equal(
        pixels[top : top + 2 * side, left : left + 3 * side], colours.repeat(side, axis=0).repeat(side, axis=1)
    )


def test_bars_are_as_long_as_their_values_and_the_mark_stands_out() -> None:
    values = (0.8, 0.4, 0.2)
    pixels = drawn(ImageGrid(((Bars(("a", "b", "c"), values, mark=1),),)))
    filled = where(pixels, ACCENT) | where(pixels, MARK)
    ground = where(pixels, FAINT)
    whole = (filled | ground).sum(axis=1).max()
    lengths = [int(filled[row].sum()) for row in np.flatnonzero(filled.any(axis=1))]
    assert sorted({round(length / whole, 1) for length in lengths}, reverse=True) == list(values)
    marked = where(pixels, MARK).sum(axis=1).max()
    assert marked == pytest.approx(0.4 * whole, abs=4)  # the edges are smoothed


@given(st.lists(texts | st.text(min_size=20, max_size=400), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_long_names_are_neither_cut_off_nor_run_into_their_bars(labels: list[str]) -> None:
    bars = Bars(tuple(labels), tuple(0.5 for _ in labels))
    pixels = drawn(ImageGrid(((bars,),)))
    first = np.flatnonzero(where(pixels, ACCENT).any(axis=0))[0]
    assert (pixels[:, first - 8 : first - 1] == 255).all()
    assert (pixels[:, :8] == 255).all()
    assert (pixels[:8] == 255).all()
    assert (pixels[-8:] == 255).all()


@given(texts | st.text(max_size=300), st.floats(20, 400), st.integers(1, 4))
@settings(max_examples=80, deadline=None)
def test_folded_text_fits(text: str, width: float, lines: int) -> None:
    folded = folding.fold(text, width, lines=lines)
    assert folded.count("\n") < lines
    assert all(folding.measure(line) <= width or len(line) <= 2 for line in folded.split("\n"))


def test_folding_loses_nothing_where_there_is_room() -> None:
    text = "loggerhead, loggerhead turtle, Caretta caretta"
    assert folding.fold(text, 120, lines=9).replace("\n", " ") == text
    assert folding.fold("a" * 50, 60, lines=99).replace("\n", "") == "a" * 50
    assert folding.fold(text, 60, lines=1).endswith("…")


def test_a_map_is_darkest_at_its_lowest_and_brightest_at_its_highest() -> None:
    light = paint(Heatmap(np.linspace(-3, 9, 50)[None])).astype(int).sum(axis=-1)[0]
    assert (np.diff(light) > 0).all()


def test_a_signed_map_is_centred_on_zero() -> None:
    heatmap = Heatmap(np.array([[-1.0, 0.0, 4.0, np.nan, np.inf, -np.inf]]), signed=True)
    np.testing.assert_allclose(position(heatmap), [[0.375, 0.5, 1.0, np.nan, 1.0, 0.0]])
    negative, zero, positive, missing, *_ = paint(heatmap)[0].astype(int)
    assert zero.min() > 240
    assert negative[2] > negative[0]
    assert positive[0] > positive[2]
    np.testing.assert_array_equal(missing, rgb(MISSING))


def test_the_scale_is_kept_to_where_it_is_given() -> None:
    heatmap = Heatmap(np.array([[0.0, 5.0, 20.0]]), low=0, high=10)
    np.testing.assert_allclose(position(heatmap), [[0.0, 0.5, 1.0]])


def test_the_widest_floats_have_their_places_too() -> None:
    top = np.finfo(np.float64).max
    np.testing.assert_allclose(position(Heatmap(np.array([[-top, 0.0, top]]))), [[0.0, 0.5, 1.0]])


def test_a_map_over_a_picture_leaves_it_grey_where_it_is_lowest() -> None:
    photo = RNG.integers(0, 256, (20, 20, 3), np.uint8)
    values = np.zeros((20, 20))
    values[:, 10:] = 1.0
    laid = paint(Heatmap(values, over=photo)).astype(int)
    grey = np.rint(photo @ np.array([0.299, 0.587, 0.114]))
    np.testing.assert_array_equal(laid[:, :8], np.repeat(grey[:, :8, None], 3, axis=2))
    assert np.abs(laid[:, 12:] - grey[:, 12:, None]).mean() > 20


def test_points_are_ringed_and_boxes_drawn_where_they_are() -> None:
    picture = Picture(np.full((100, 100, 3), 128, np.uint8), points=((20.0, 30.0),), boxes=((50.0, 60.0, 90.0, 80.0),))
    pixels = drawn(ImageGrid(((picture,),)))
    rows, columns = np.nonzero(where(pixels, (128, 128, 128)))
    top, left, side = rows.min(), columns.min(), rows.max() - rows.min() + 1
    marks = np.argwhere(where(pixels, MARK)) - (top, left)
    y, x = (marks * 100 / side).T
    ring = x < 45
    assert (x[ring].mean(), y[ring].mean()) == pytest.approx((20.5, 30.5), abs=0.5)
    assert (x[~ring].min(), y[~ring].min(), x[~ring].max(), y[~ring].max()) == pytest.approx((50, 60, 90, 80), abs=1)


def test_a_curve_goes_through_its_points() -> None:
    x = np.linspace(0, 1, 30)
    pixels = drawn(Curves((Series("s", x, x),), "x", "y"))
    rows, columns = np.nonzero(where(pixels, ACCENT))
    fit = np.polyfit(columns, rows, 1)
    assert np.abs(np.polyval(fit, columns) - rows).max() < 4
    assert fit[0] < 0


def test_a_gif_has_its_frames_and_times() -> None:
    frames = RNG.integers(0, 256, (4, 12, 10, 3), np.uint8)
    with Image.open(io.BytesIO(plots.gif(Animation(frames, seconds=0.25, captions=("a", "b", "$c", "\x00"))))) as image:
        times = [frame.info["duration"] for frame in ImageSequence.Iterator(image)]
        sizes = {frame.size for frame in ImageSequence.Iterator(image)}
    assert times == [250] * 4
    assert len(sizes) == 1
    with Image.open(io.BytesIO(plots.webp(Animation(frames, seconds=0.25)))) as image:
        assert getattr(image, "n_frames", 1) == 4


def test_an_mp4_shows_the_frames_at_their_times() -> None:
    av = pytest.importorskip("av")
    frames = np.stack([np.full((31, 20, 3), level, np.uint8) for level in (30, 120, 220)])
    content = plots.mp4(Animation(frames, seconds=0.25))
    assert content is not None
    with av.open(io.BytesIO(content)) as film:
        shown = [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in film.decode(video=0)]
    assert [time for time, _ in shown] == [0, 0.25, 0.5]
    for (_, seen), level in zip(shown, (30, 120, 220)):
        assert seen.shape == (248, 160, 3)
        np.testing.assert_allclose(seen[:248, :160], level, atol=4)


def test_without_pyav_there_is_no_mp4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    animation = Animation(RNG.integers(0, 256, (2, 8, 8, 3), np.uint8))
    assert plots.mp4(animation) is None
    assert set(plots.files(animation)) == {".gif", ".webp"}


@given(animations())
@settings(max_examples=30, deadline=None)
def test_any_animation_is_written_and_opens(animation: Animation) -> None:
    for content in (plots.gif(animation), plots.webp(animation)):
        with Image.open(io.BytesIO(content)) as image:
            image.load()


def _python(code: str, **environment: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def test_importing_render_loads_no_drawing_library() -> None:
    code = "import sys, deepscope.render; print({'matplotlib', 'jinja2', 'scipy', 'torch'} & set(sys.modules))"
    assert _python(code) == "set()"


def test_drawing_needs_no_pyplot_and_changes_no_setting() -> None:
    code = """
import numpy as np, matplotlib, sys
before = matplotlib.rcParams.copy()
from deepscope.render import plots
from deepscope.results import Heatmap
plots.draw(Heatmap(np.eye(3), title="t"))
print("matplotlib.pyplot" in sys.modules, matplotlib.rcParams.copy() == before)
"""
    assert _python(code) == "False True"


def test_figures_do_not_depend_on_the_persons_matplotlibrc(tmp_path: Path) -> None:
    rc = "text.usetex: True\nfont.size: 30\naxes.grid: True\nfigure.facecolor: red\nlines.linewidth: 9\n"
    (tmp_path / "matplotlibrc").write_text(rc)
    code = """
import hashlib, numpy as np
from deepscope.render import plots
from deepscope.results import Curves, Series
x = np.arange(5)
figure = Curves((Series("a", x, x), Series("b", x, -x)), "x", "y", title="t")
print(hashlib.sha256(plots.files(figure)[".png"]).hexdigest())
"""
    assert _python(code, MATPLOTLIBRC=str(tmp_path / "matplotlibrc")) == _python(code)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_every_block_goes_through_all_four_renderers(kind: type, tmp_path: Path) -> None:
    result = Result("One block", blocks=(EXAMPLES[kind],))
    console = Console(file=io.StringIO(), width=60)
    render.show(result, console)
    assert isinstance(console.file, io.StringIO)
    assert len(console.file.getvalue().split("\n")) > 4
    assert f'"type": "{kind.__name__}"' in render.dumps(result)
    assert len(render.fragment(result)) > len(render.fragment(Result("One block")))
    render.save(result, tmp_path)
    figures = [path for path in tmp_path.iterdir() if path.suffix in (".png", ".gif")]
    assert len(figures) == (kind not in (Table, Note))


def test_a_picture_of_a_page_is_never_heavy() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (700, 1400, 3), dtype=np.uint8)  # which nothing compresses
    content = plots.compact(noise)
    assert len(content) <= plots.HEAVY
    with Image.open(io.BytesIO(content)) as image:
        assert image.width == pytest.approx(2 * image.height, rel=0.01)
        assert image.width > 300
    plain = plots.compact(np.full_like(noise, 200))
    with Image.open(io.BytesIO(plain)) as image:
        assert image.size == (1400, 700)

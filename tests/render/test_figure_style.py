"""The style sheet of figures: colours that everybody tells apart, labels that do not touch, and vector files."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.text import Text
from numpy.typing import NDArray

import deepscope
from deepscope import render
from deepscope.errors import SettingError
from deepscope.render import palette, plots
from deepscope.render.plots import curves
from deepscope.render.plots.colours import contrast, rgb
from deepscope.render.plots.style import COLUMN, style
from deepscope.results import Animation, Bars, Curves, Heatmap, ImageGrid, Picture, Result, Series
from results_strategies import EXAMPLES

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '"><script>alert(1)</script><image href="http://example.org/x"/>]]>--&amp;\x00\u202e'
PAGES = [Path(deepscope.__file__).parent / name for name in ("render", "report", "app")]
WHITE = np.full(3, 255, np.uint8)
# Machado, Oliveira and Fernandes 2009, severity 1
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
)


def lab(colour: str, seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """A colour in CIELAB (D65), as someone sees it."""
    part = rgb(colour) / 255
    linear = np.clip(seen @ np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4), 0, 1)
    x, y, z = np.cbrt(TO_XYZ @ linear / (0.95047, 1, 1.08883))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("seen", [np.eye(3), DEUTERANOPIA, PROTANOPIA], ids=["all", "deuteranopia", "protanopia"])
def test_series_are_told_apart_with_any_colour_vision(seen: NDArray[np.float64]) -> None:
    places = [lab(colour, seen) for colour in palette.SERIES]
    assert min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(places, 2)) > 17


def test_text_has_the_contrast_that_wcag_asks_for() -> None:
    assert contrast("#767676", WHITE) == pytest.approx(4.54, abs=0.01)  # the known example of a grey that just passes
    for colour in (palette.INK, palette.MUTED, palette.MARK_TEXT):
        assert contrast(colour, WHITE) > 4.5


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_of_a_page_has_that_contrast_on_every_ground(dark: bool) -> None:
    page = {name: both[dark] for name, both in palette.PAGE.items()}
    pairs = [
        *itertools.product(("ink", "muted", "link", "warning", "wrong"), ("ground", "back", "panel", "soft", "marked")),
        *((tone, f"{tone}-ground") for tone in ("good", "attention", "plain")),
        ("on-link", "link"),
    ]
    assert {pair: ratio for pair in pairs if (ratio := contrast(page[pair[0]], rgb(page[pair[1]]))) < 4.5} == {}


def test_points_of_a_map_can_be_seen_on_both_grounds() -> None:
    light, dark = (rgb(ground) for ground in palette.PAGE["soft"])
    for colour in {*palette.CLASSES, *palette.POINTS.values()}:
        assert contrast(colour, light) > 1.9 and contrast(colour, dark) > 3


def test_no_page_has_a_colour_of_its_own() -> None:
    sources = [path for folder in PAGES for path in folder.rglob("*") if path.suffix in (".css", ".js", ".jinja")]
    assert len(sources) > 25
    text = "".join(path.read_text(encoding="utf-8") for path in sources)
    assert not re.findall(r"(?<!&)#(?:[0-9a-f]{3,4}){1,2}\b|\b(?:rgba?|hsla?|oklch)\([0-9]", text, re.IGNORECASE)
    assert not re.findall(
        r"(?:color|background|border|outline|fill|stroke): *[^;]*\b(?:white|black|gr[ea]y|red)\b", text
    )
    named = set(re.findall(r"--([a-z0-9-]+): ", palette.css()))
    ours = set(re.findall(r"--([a-z-]+)(?::|\",)", text))
    used = set(re.findall(r"var\(--([a-z0-9-]+)", text))
    assert used <= named | ours, "a style sheet names a colour that nobody gives"
    assert named <= used, "no style sheet uses this colour"


def labels_apart(sheet: Curves) -> bool:
    """Whether no two tick labels of an axis touch, nothing is cut, and the sheet is a column wide."""
    with style():
        canvas = curves.draw(sheet, sheet.title, sheet.caption)
        canvas.pixels()
        axes, inside = canvas.figure.axes[0], canvas.figure.bbox
        renderer = canvas.figure.canvas.get_renderer()  # type: ignore[attr-defined]
        ends = [
            [label.get_window_extent(renderer) for label in axis.get_majorticklabels() if shown(axis, label)]
            for axis in (axes.xaxis, axes.yaxis)
        ]
        texts = [text.get_window_extent(renderer) for text in canvas.figure.texts if text.get_text()]
    boxes = [*itertools.chain(*ends), *texts]
    whole = all(box.x0 >= -1 and box.y0 >= -1 and box.x1 <= inside.x1 + 1 and box.y1 <= inside.y1 + 1 for box in boxes)
    apart = not any(a.overlaps(b) for named in ends for a, b in itertools.combinations(named, 2))
    clear = not any(a.overlaps(b) for a in texts for b in itertools.chain(*ends))
    return whole and apart and clear and canvas.width == COLUMN


def shown(axis: object, label: Text) -> bool:
    low, high = sorted(axis.get_view_interval())  # type: ignore[attr-defined]
    place = label.get_position()[axis.axis_name == "y"]  # type: ignore[attr-defined]
    return bool(label.get_text()) and low <= place <= high


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("size", [1e-7, 0.02, 1.0, 123456.0, 1e12])
def test_labels_of_ticks_neither_touch_nor_are_cut(scale: str, size: float) -> None:
    x = np.linspace(0.1, 1, 20) * size
    series = tuple(Series(f"a rather long name of series {n}", x, x * (n + 1)) for n in range(3))
    assert labels_apart(Curves(series, "radius", "distance", "T", "C", scale, scale, (("published", size),)))  # type: ignore[arg-type]


FIGURES = [EXAMPLES[kind] for kind in (ImageGrid, Heatmap, Curves)]
FIGURES.append(
    Heatmap(np.eye(3), rows=("a", "b", HOSTILE), columns=("a", HOSTILE, "c"), title=HOSTILE, caption=HOSTILE)
)
FIGURES.append(
    ImageGrid(
        ((Picture(np.zeros((4, 4, 3), np.uint8), HOSTILE), Bars((HOSTILE, "b"), (0.7, 0.2), HOSTILE, mark=0)),),
        HOSTILE,
        HOSTILE,
        (HOSTILE, "b"),
    )
)
FIGURES.append(
    Curves((Series(HOSTILE, np.arange(3), np.arange(3)), Series("b", np.ones(3), np.ones(3))), HOSTILE, HOSTILE)
)


@pytest.mark.parametrize("figure", FIGURES)
def test_an_svg_is_xml_without_scripts_or_references_and_the_same_twice(figure: Curves) -> None:
    svg = plots.vector(figure, "svg")
    assert svg == plots.vector(figure, "svg")
    assert b"<!DOCTYPE" not in svg and b"<!--" not in svg and b"<dc:date" not in svg
    root = ElementTree.fromstring(svg)
    assert root.findtext(f"{SVG}title") is not None
    allowed = {"svg", "title", "desc", "defs", "style", "g", "path", "use", "clipPath", "rect", "image"}
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= allowed
    for element in root.iter():
        for name, value in element.attrib.items():
            assert not name.lower().startswith("on")
            if name.endswith("href"):
                assert value.startswith(("#", "data:image/png;base64,"))
            assert re.findall(r"url\((?!#)", value) == []
    assert not any("url(" in (one.text or "") or "import" in (one.text or "") for one in root.iter(f"{SVG}style"))


@pytest.mark.parametrize("figure", FIGURES[2:3])
def test_a_pdf_is_the_same_twice_and_has_no_date(figure: Curves) -> None:
    pdf = plots.vector(figure, "pdf")
    assert pdf.startswith(b"%PDF") and b"CreationDate" not in pdf
    assert pdf == plots.vector(figure, "pdf")


def test_a_cloud_of_points_becomes_a_bitmap_in_an_svg() -> None:
    rng = np.random.default_rng(0)
    points = [Series("s", *rng.random((2, count)), style="points") for count in (3_000, 30_000)]
    few, many = (plots.vector(Curves((one,), "x", "y"), "svg") for one in points)
    assert few.count(b"<use") > 3_000 and b"<image" not in few
    assert many.count(b"<use") < 100 and b"<image" in many


def test_a_matrix_in_a_grid_keeps_its_text_sharp() -> None:
    matrix = Heatmap(np.array([[0.25, 0.5]]), rows=("a",), columns=("b", "c"), title="m")
    alone, beside = (plots.vector(one, "svg") for one in (matrix, ImageGrid(((matrix, matrix),))))
    assert alone.count(b"<image") == 1
    assert beside.count(b"<image") == 2  # the cells' colours alone


@pytest.mark.parametrize("form", ["svg", "pdf"])
def test_a_saved_result_has_its_figures_in_that_format_too(form: str, tmp_path: Path) -> None:
    film = Animation(np.zeros((2, 8, 8, 3), np.uint8), "film")
    result = Result("R", blocks=(EXAMPLES[Curves], film))
    render.save(result, tmp_path, figure_format=form)  # type: ignore[arg-type]
    found = {path.suffix for path in tmp_path.iterdir()}
    assert {".png", f".{form}", ".gif"} <= found
    render.save(result, tmp_path)  # and they go with the result that they belong to
    assert not list(tmp_path.glob(f"*.{form}"))


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="figure_format"):
        render.save(Result("R"), tmp_path, figure_format="eps")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_text_side_by_side_is_level() -> None:
    """Headings with and without descenders stand on one line."""
    pixel = Picture(np.full((40, 40, 3), 200, np.uint8))
    one = plots.draw(ImageGrid(((pixel,),), columns=("HH",)))
    other = plots.draw(ImageGrid(((pixel,),), columns=("Hg",)))
    assert one is not None and other is not None
    tops = [np.flatnonzero((sheet.max(axis=-1) < 100).any(axis=1))[0] for sheet in (one, other)]
    assert tops[0] == tops[1]


def test_an_svg_of_photographs_is_little_larger_than_the_bitmap() -> None:
    photos = np.random.default_rng(0).integers(0, 256, (4, 300, 300, 3), np.uint8)
    found = plots.files(ImageGrid((tuple(map(Picture, photos)),)), "svg")
    assert len(found[".svg"]) < 1.6 * len(found[".png"])  # base64 alone takes a third more

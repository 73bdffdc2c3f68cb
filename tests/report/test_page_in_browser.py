"""The page in a real browser: nothing broken, nothing asked for, readable everywhere, operable by keyboard."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from browser import browser
from deepscope.report.keeping import Outcome
from deepscope.report.page import page as write
from deepscope.results import Animation, Column, Curves, Note, Provenance, Result, Series, Table
from deepscope.studies import Answer, Study, answers
from results_strategies import EVERYTHING
from toy_sections import study

if TYPE_CHECKING:
    from playwright.sync_api import Page

AXE = Path(__file__).parent.parent / "vendor" / "axe-core" / "axe.min.js"
_LONG = "a_file_name_without_any_place_to_break_it_" * 6


_BROKEN = """Promise.all([...document.images].map(async (image) => {
    image.loading = 'eager';
    try { await image.decode(); } catch { return image.alt; }
    return image.naturalWidth && image.alt.trim() ? '' : 'no width or no text: ' + image.alt;
})).then((found) => found.filter(Boolean))"""
"""Pictures that do not show, or say nothing to those who cannot see them."""
_OUTSIDE = """[...document.querySelectorAll('main *, header *, nav *')].filter((one) =>
    !one.closest('.scroll, .wide, .strip, pre, .stage') && one.getBoundingClientRect().right > innerWidth + 1
).map((one) => one.outerHTML.slice(0, 120))"""
"""What stands out of the window to the right and cannot be scrolled on its own."""


@dataclass(frozen=True)
class Visit:
    """An open page, what its console said, and what it asked for."""

    page: Page
    said: list[str]
    asked: list[str]

    def evaluate(self, script: str) -> Any:
        return self.page.evaluate(script)


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    wide = Table(tuple(Column(f"column {i}") for i in range(14)), ((_LONG, *range(13)), ("b", *range(13, 0, -1))))
    pixels = np.random.default_rng(0).integers(0, 256, (7, 20, 300, 3), dtype=np.uint8)
    many = tuple(Series(f"series {i}", np.arange(4), np.arange(4) * i) for i in range(30))
    hostile = Result(
        "<img src=x onerror=alert(1)>",
        blocks=(
            wide,
            Note(_LONG, "</script><script>alert(1)</script>"),
            Animation(pixels, "A film", seconds=0.02, captions=tuple(f"frame {i}" for i in range(7))),
            Curves(many, "x", "y"),
            Note("Because.", "Parts", "verdict"),
            answers([Answer("1. Why?", "0.9", "0.91", "reproduced", _LONG), Answer("2. How?", "-", "3", "answered")]),
        ),
        provenance=Provenance(command=f"deepscope study works {_LONG}"),
    )
    outcomes = [Outcome(study(), EVERYTHING), Outcome(study(), hostile)]
    file = tmp_path_factory.mktemp("page") / "index.html"
    file.write_text(write(outcomes, title="Title", introduction="Introduction."), encoding="utf-8")
    with browser() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        said, asked = list[str](), list[str]()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        yield Visit(page, said, asked)


@pytest.fixture(autouse=True)
def _as_at_first(visit: Visit) -> None:
    visit.page.emulate_media(media="screen", color_scheme="light", reduced_motion="no-preference")
    visit.page.set_viewport_size({"width": 1280, "height": 900})
    visit.evaluate("document.querySelectorAll('.open input').forEach(box => box.checked = false); scrollTo(0, 0)")
    visit.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    visit.evaluate("delete document.body.dataset.theme")


def test_every_picture_shows_and_nothing_is_asked_for(visit: Visit) -> None:
    assert visit.page.evaluate(_BROKEN) == []
    assert visit.evaluate("document.images.length") >= 8
    assert [url for url in visit.asked if not url.startswith(("data:", "file:"))] == []
    assert sum(url.startswith("file:") for url in visit.asked) == 1
    assert visit.said == []


def test_the_policy_refuses_every_request(visit: Visit) -> None:
    blocked = visit.evaluate("fetch('https://example.org/').then(() => false, () => true)")
    assert blocked
    assert any("Content Security Policy" in text for text in visit.said)
    visit.said.clear()


@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_nothing_overflows(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 700})
    assert visit.evaluate("document.documentElement.scrollWidth") <= width
    assert visit.evaluate(_OUTSIDE) == []


def test_everything_is_reached_by_keyboard(visit: Visit) -> None:
    wanted = visit.evaluate(
        """[...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"]')].filter(
            (one) => one.checkVisibility() && one.tabIndex >= 0 && !one.disabled
        ).map((one, place) => one.dataset.place = `${place}`)"""
    )
    visit.evaluate("document.activeElement.blur()")
    reached = []
    for _ in wanted:
        visit.page.keyboard.press("Tab")
        reached.append(visit.evaluate("document.activeElement.dataset.place"))
        seen = visit.evaluate(
            """[document.activeElement, document.activeElement.parentElement].some((one) => {
                const style = getComputedStyle(one);
                return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
            }) || document.activeElement.matches('.skip')"""
        )
        assert seen, visit.evaluate("document.activeElement.outerHTML.slice(0, 200)")
    assert reached == wanted


def test_a_figure_opens_large_by_keyboard_and_closes(visit: Visit) -> None:
    box = visit.page.locator(".open input").first
    box.focus()
    visit.page.keyboard.press("Space")
    large = visit.page.locator(".open img").first.bounding_box()
    assert large is not None
    assert (large["width"], large["height"]) == (1280, 900)
    visit.page.keyboard.press("Escape")
    small = visit.page.locator(".open img").first.bounding_box()
    assert small is not None
    assert small["width"] < 1280


def test_a_film_plays_and_slides(visit: Visit) -> None:
    player = visit.page.locator(".player").last
    slider, count, button = player.locator("input[type=range]"), player.locator("output"), player.locator("button")
    assert count.text_content() == "7 / 7"
    slider.focus()
    before = player.locator(".stage img").evaluate("one => one.style.transform")
    visit.page.keyboard.press("ArrowLeft")
    assert count.text_content() == "6 / 7"
    assert player.locator(".stage img").evaluate("one => one.style.transform") != before
    button.click()
    visit.page.wait_for_function("one => one.textContent === '7 / 7'", arg=count.element_handle())
    visit.page.wait_for_function("one => one.textContent === 'Play'", arg=button.element_handle())


def test_nothing_moves_by_itself(visit: Visit) -> None:
    assert visit.evaluate("document.getAnimations().length") == 0
    counts = "[...document.querySelectorAll('output')].map((one) => one.textContent)"
    before = visit.evaluate(counts)
    visit.page.wait_for_timeout(100)
    assert visit.evaluate(counts) == before == ["3 / 3", "7 / 7"]


def test_numbers_stay_in_the_columns_of_their_tables(visit: Visit) -> None:
    shown = visit.evaluate("[...document.querySelectorAll('td.number')].map((one) => getComputedStyle(one).display)")
    assert set(shown) == {"table-cell"}


def test_on_a_phone_answers_are_read_one_below_the_other(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 390, "height": 844})
    table = visit.page.locator("figure.answers table").first
    assert table.evaluate("it => it.scrollWidth <= it.parentElement.clientWidth"), "nothing to scroll to the side"
    cells = table.locator("tbody tr").first.locator("td")
    places = [cells.nth(place).bounding_box() for place in range(cells.count())]
    assert all(one and other and other["y"] >= one["y"] + one["height"] - 1 for one, other in pairwise(places))
    nothing = visit.page.locator("figure.answers td.none")
    assert nothing.first.text_content() == "—" and not nothing.first.is_visible(), "a line that says nothing"
    names = cells.evaluate_all("cells => cells.map(cell => getComputedStyle(cell, '::before').content)")
    assert '"published" ": "' in names or '"published: "' in names, names
    cells = visit.page.get_by_role("table").get_by_role("row").get_by_role("cell")
    assert cells.count() > 0, "still a table to readers"


def test_tables_sort(visit: Visit) -> None:
    table = visit.page.locator("table", has_text="squeezenet1_0").first
    heading = table.locator("th button").nth(1)
    first = table.locator("tbody tr td:first-child")
    for order in (["squeezenet1_0", "efficientnet_lite0", "vgg16"], ["efficientnet_lite0", "squeezenet1_0", "vgg16"]):
        heading.focus()
        visit.page.keyboard.press("Enter")
        assert first.all_text_contents() == order  # what was not measured stays last


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(visit: Visit, scheme: Any) -> None:
    visit.page.emulate_media(color_scheme=scheme)
    ground = visit.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (_luminance(ground) > 0.5) == (scheme == "light")
    for chosen in ("p", "figcaption", "nav a", "footer p", "td", ".note strong", "small", ".controls button"):
        colour = visit.evaluate(f"getComputedStyle(document.querySelector('main {chosen}, {chosen}')).color")
        assert _contrast(colour, ground) >= 4.5, chosen


def test_paper(visit: Visit) -> None:
    visit.page.emulate_media(media="print", color_scheme="dark")
    assert _luminance(visit.evaluate("getComputedStyle(document.body).backgroundColor")) == 1
    shown = "[...document.querySelectorAll('{}')].filter((one) => one.checkVisibility()).length"
    assert visit.evaluate(shown.format("nav, .controls, .stage")) == 0
    assert visit.evaluate(shown.format(".player label > img")) == 2
    assert visit.page.pdf()[:5] == b"%PDF-"


def test_paper_cuts_no_table(visit: Visit) -> None:
    visit.page.emulate_media(media="print")
    visit.page.set_viewport_size({"width": 700, "height": 1000})  # A4 within its margins
    assert visit.evaluate("document.querySelectorAll('table').length") >= 4
    cut = """[...document.querySelectorAll('table')].filter((one) => one.getBoundingClientRect().right > innerWidth + 1
        ).map((one) => one.outerHTML.slice(0, 200))"""
    assert visit.evaluate(cut) == []


def test_paper_keeps_a_heading_with_its_picture_and_finding(visit: Visit) -> None:
    visit.page.emulate_media(media="print")
    parts = visit.page.locator("section.part .opening")
    assert parts.count() == visit.page.locator("section.part").count() == 2
    for one in parts.all():
        assert one.locator("> h3").count() == 1 and one.locator("> .told, > .finding").count() == 1
        assert one.evaluate("one => getComputedStyle(one).breakInside") == "avoid"


def test_paper_has_the_questions_and_says_what_is_folded(visit: Visit) -> None:
    visit.evaluate("document.querySelectorAll('details').forEach(one => one.open = false)")
    visit.page.emulate_media(media="print")
    seen = "(one) => one.checkVisibility({contentVisibilityAuto: true, checkVisibilityCSS: true})"
    assert visit.page.locator("#questions td").first.evaluate(seen)
    assert not visit.page.locator("details.more td").first.evaluate(seen)
    said = "(one) => getComputedStyle(one, '::after').content"
    assert "folded" in visit.page.locator("details.more > summary").first.evaluate(said)
    assert "folded" not in visit.page.locator("#questions > summary").evaluate(said)


def test_charts_are_dark_on_a_dark_page_and_pictures_keep_their_colours(visit: Visit) -> None:
    shown = "one => getComputedStyle(one).filter"
    drawing = visit.page.locator("figure .chart img").first
    picture = visit.page.locator("figure .open:not(.chart) img").first
    assert (drawing.evaluate(shown), picture.evaluate(shown)) == ("none", "none")
    visit.page.emulate_media(color_scheme="dark")
    assert "invert" in drawing.evaluate(shown) and "invert" not in picture.evaluate(shown)
    visit.page.locator("figure .chart input").first.evaluate("box => box.checked = true")
    assert "invert" in drawing.evaluate(shown), "also when it is open large"
    visit.page.emulate_media(media="print", color_scheme="dark")
    assert (drawing.evaluate(shown), picture.evaluate(shown)) == ("none", "none")


def test_a_verdict_that_is_a_note_looks_like_a_note(visit: Visit) -> None:
    radii = visit.evaluate("[...document.querySelectorAll('.note')].map((one) => getComputedStyle(one).borderRadius)")
    assert visit.page.locator(".note.verdict").count() and set(radii) == {"0px"}


def test_without_scripts_a_film_is_a_still(visit: Visit) -> None:
    chromium = visit.page.context.browser
    assert chromium is not None
    plain = chromium.new_context(java_script_enabled=False).new_page()
    plain.goto(visit.page.url)
    for summary in plain.locator("summary").all():
        summary.click()
    assert plain.locator(".open img:visible").count() == plain.locator(".open").count() == 6


def test_a_whole_report(visit: Visit) -> None:
    """The one that DEEPSCOPE_TEST_REPORT names: the gate makes the quick report and lets this look at it."""
    if not (folder := os.environ.get("DEEPSCOPE_TEST_REPORT")):
        pytest.skip("no report to look at: DEEPSCOPE_TEST_REPORT names the folder of one")
    file = Path(folder) / "index.html"
    assert file.stat().st_size < 12 * 2**20
    chromium = visit.page.context.browser
    assert chromium is not None
    page = chromium.new_page(viewport={"width": 375, "height": 700})
    said, asked = list[str](), list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    assert page.evaluate(_BROKEN) == []
    assert page.evaluate(_OUTSIDE) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert said == []
    assert [url for url in asked if not url.startswith(("data:", "file:"))] == []
    assert page.locator("main section[id]").count() == len(Study.members())
    assert page.locator("text=This section failed").count() == 0
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert _serious(page) == []
    page.close()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit: Visit, width: int, scheme: Any) -> None:
    visit.page.set_viewport_size({"width": width, "height": 900})
    visit.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    assert _serious(visit.page) == []


def _serious(page: Page) -> list[str]:
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:160]} ({one['nodes'][0]['failureSummary'][:200]})"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def _channels(colour: str) -> list[float]:
    return [float(text) / 255 for text in colour[colour.index("(") + 1 : -1].split(",")[:3]]


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _channels(colour)]
    return round(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2], 6)


def _contrast(first: str, second: str) -> float:
    low, high = sorted((_luminance(first), _luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_first_screen_shows_before_it_tells(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 900})
    visit.evaluate("document.querySelectorAll('details').forEach(one => one.open = false)")
    picture = visit.page.locator(".card img").first.bounding_box()
    assert picture is not None and picture["y"] + picture["height"] < 900
    assert visit.page.locator(".card .verdict").first.bounding_box()["y"] < 900  # type: ignore[index]
    assert visit.page.locator("table:visible:not(.ex-matrix)").count() == 0
    assert visit.evaluate("document.documentElement.scrollWidth") <= width


def test_the_contents_stay_in_view_and_fold_on_a_phone(visit: Visit) -> None:
    toc, button = visit.page.locator("nav .toc"), visit.page.locator("nav .fold")
    visit.evaluate("scrollTo(0, 3000)")
    assert toc.is_visible() and not button.is_visible()
    assert toc.bounding_box()["y"] >= 0  # type: ignore[index]
    visit.page.set_viewport_size({"width": 390, "height": 800})
    assert not toc.is_visible() and button.get_attribute("aria-expanded") == "false"
    button.focus()
    visit.page.keyboard.press("Enter")
    assert toc.is_visible() and button.get_attribute("aria-expanded") == "true"
    toc.locator("a", has_text="All questions").click()
    assert not toc.is_visible()
    assert visit.page.locator("#questions table").first.is_visible()


def test_a_link_to_what_is_folded_opens_it(visit: Visit) -> None:
    visit.evaluate("document.querySelectorAll('details').forEach(one => one.open = false)")
    visit.evaluate("location.hash = '#top'")
    visit.page.locator("nav .toc a", has_text="All questions").click()
    visit.page.locator("#questions table").first.wait_for(state="visible")


def test_light_and_dark_by_the_switch(visit: Visit) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    button = visit.page.locator("nav .theme")
    assert _luminance(visit.evaluate(ground)) > 0.5
    button.click()
    assert _luminance(visit.evaluate(ground)) < 0.5 and button.text_content() == "Light"
    for chosen in ("p", ".label", ".published", ".verdict", "summary", "nav .toc a"):
        colour = visit.evaluate(f"getComputedStyle(document.querySelector('main {chosen}, {chosen}')).color")
        assert _contrast(colour, visit.evaluate(ground)) >= 4.5, chosen
    button.click()
    assert _luminance(visit.evaluate(ground)) > 0.5


def test_motion_is_reduced_on_request(visit: Visit) -> None:
    visit.page.emulate_media(reduced_motion="reduce")
    assert visit.evaluate("getComputedStyle(document.body).scrollBehavior") == "auto"


def test_every_control_has_a_name(visit: Visit) -> None:
    unnamed = """[...document.querySelectorAll('a, button, input, summary, nav, [role=region], ul[aria-label]')].filter(
        (one) => !(one.getAttribute('aria-label') || one.textContent || one.querySelector('img')?.alt || '').trim()
    ).map((one) => one.outerHTML.slice(0, 80))"""
    assert visit.evaluate(unnamed) == []
    levels = visit.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((one) => Number(one.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))

"""The explorer in a real browser: keyboard, filters, charts, map, the view in full, and hostile names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from browser import browser
from deepscope.report.keeping import Outcome
from deepscope.report.page import page as write
from deepscope.results import Result
from galleries import HOSTILE, gallery
from toy_sections import study

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

_SPOKEN = """(one) => one.getAttribute('aria-label') ?? `${one.querySelector('img')?.alt ?? ''}${one.textContent}`"""
AXE = Path(__file__).parent.parent / "vendor" / "axe-core" / "axe.min.js"
MADE = gallery()


@dataclass(frozen=True)
class Visit:
    """An open page, what its console said, and what it asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @classmethod
    def to(cls, chromium: Browser, file: Path, **settings: Any) -> Visit:
        visit = cls(chromium.new_page(**{"viewport": {"width": 1280, "height": 900}, **settings}))
        visit.page.on("console", lambda message: visit.said.append(message.text))
        visit.page.on("pageerror", lambda error: visit.said.append(str(error)))
        visit.page.on("request", lambda request: visit.asked.append(request.url))
        visit.page.goto(file.as_uri())
        return visit

    def choose(self, name: str, value: str) -> None:
        self.page.locator(".ex-choice", has_text=name).locator("select").first.select_option(value)

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    @property
    def total(self) -> str:
        return self.page.locator(".ex-total").inner_text()

    @property
    def items(self) -> Locator:
        return self.page.locator(".ex-item")

    @property
    def files(self) -> list[str]:
        """The names in the list that can be copied."""
        return self.page.locator(".ex-copy textarea").input_value().split("\n")

    @property
    def focus(self) -> Any:
        """What a screen reader says of the element that has the focus."""
        return self.page.evaluate(f"({_SPOKEN})(document.activeElement)")

    def focuses(self, said: str) -> None:
        """Wait until the focus is there: a browser moves it after a dialog has closed, not while it closes."""
        self.page.wait_for_function(f"said => ({_SPOKEN})(document.activeElement) === said", arg=said)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "index.html"
    outcome = Outcome(study(), Result("Accuracy", blocks=(MADE,)))
    file.write_text(write([outcome], title="Title", introduction="Introduction."), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def visit(chromium: Browser, file: Path) -> Iterator[Visit]:
    visit = Visit.to(chromium, file)
    yield visit
    assert visit.said == []
    assert [url for url in visit.asked if not url.startswith("data:")] == [file.as_uri()]
    visit.page.close()


def _files(*rows: int) -> list[str]:
    return [MADE.entries[row].file for row in rows]


def test_filters_by_truth_prediction_outcome_name_and_figure(visit: Visit) -> None:
    rows = list(enumerate(MADE.entries[:30]))
    assert visit.total == "30 of 30 images"
    visit.choose("Outcome", "wrong")
    assert visit.files == [one.file for _, one in rows if one.right is False]
    assert visit.total == "9 of 30 images"
    visit.choose("Truth", "0")
    assert visit.files == [one.file for _, one in rows if one.right is False and one.truth == "cat"]
    visit.page.get_by_role("button", name="Remove all").click()
    visit.choose("Prediction", "1")
    assert visit.files == [one.file for _, one in rows if one.predicted == "dog"]
    visit.page.get_by_role("button", name="Remove the filter predicted: dog").click()
    visit.page.get_by_label("Part of the name").fill("image-1")
    assert visit.files == [one.file for _, one in rows if "image-1" in one.file]
    visit.page.get_by_label("Part of the name").fill("")
    visit.page.get_by_label("from", exact=True).fill("50")
    visit.page.get_by_label("to", exact=True).fill("75")
    assert visit.files == [one.file for _, one in rows if 0.5 <= one.values["confidence"] <= 0.75]
    visit.page.get_by_role("button", name="Remove the filter confidence").click()
    visit.choose("Look at", "suspected label error")
    assert visit.files == _files(6)


def test_order_is_that_of_a_figure_and_what_was_not_measured_stays_last(visit: Visit) -> None:
    visit.choose("Sort by", "radius")
    assert visit.files == _files(*range(10), *range(10, 30))
    assert visit.items.nth(9).evaluate(_SPOKEN) == "image-9.jpg, predicted cat, robustness radius above 8"
    visit.page.locator(".ex-turn").click()
    assert visit.files == _files(*range(9, -1, -1), *range(10, 30))
    visit.choose("Sort by", "loss")
    losses = sorted(range(30), key=lambda row: -MADE.entries[row].values["loss"])
    assert visit.files[:5] == _files(*losses[:5])


def test_the_grid_is_operated_by_keyboard_alone(visit: Visit) -> None:
    visit.items.first.focus()
    assert visit.page.locator('.ex-item[tabindex="0"]').count() == 1
    visit.page.keyboard.press("ArrowRight")
    assert visit.focus == "image-1.jpg, predicted dog"
    visit.page.keyboard.press("ArrowDown")
    across = int(visit.page.evaluate("document.activeElement.dataset.item")) - 1
    assert across >= 3
    visit.page.keyboard.press("ArrowUp")
    visit.page.keyboard.press("End")
    assert visit.focus == "image-29.jpg, predicted fox <b>"
    visit.page.keyboard.press("Home")
    visit.page.keyboard.press("Enter")
    dialog = visit.page.get_by_role("dialog")
    assert dialog.get_by_role("heading", level=3).inner_text() == "image-0.jpg"
    visit.page.keyboard.press("ArrowRight")
    assert dialog.get_by_role("heading", level=3).inner_text() == "image-1.jpg"
    assert dialog.locator(".ex-where").inner_text() == "2 of 30"
    visit.page.keyboard.press("Escape")
    assert not dialog.is_visible()
    visit.focuses("image-1.jpg, predicted dog")


def test_an_image_in_full_has_maps_classes_figures_neighbours_and_the_change(visit: Visit) -> None:
    visit.items.nth(1).click()
    dialog = visit.page.get_by_role("dialog")
    assert dialog.locator(".ex-stage img").count() == 1
    dialog.get_by_label("saliency").check()
    over = dialog.locator(".ex-over")
    assert over.get_attribute("src") == _uri(MADE.entries[1].maps["saliency"])
    dialog.get_by_label("grad-cam").check()
    assert over.get_attribute("src") == _uri(MADE.entries[1].maps["grad-cam"])
    slider = dialog.get_by_label("Opacity of the map")
    slider.focus()
    visit.page.keyboard.press("Home")
    assert over.evaluate("one => one.style.opacity") == "0"
    assert dialog.get_by_role("heading", level=3).inner_text() == "image-1.jpg", "arrow keys are the slider's"
    told = dialog.inner_text()
    for words in (
        "dog (true)",
        "5.0\u00a0%",
        "robustness radius",
        "predicted dog (75\u00a0%)",
        "\u00d7\u00a063",
        "pgd, at most 2",
    ):
        assert words in told, words
    assert dialog.locator(".ex-near img").count() == 2
    dialog.get_by_role("button", name="Next image").click()
    assert over.get_attribute("src") == _uri(MADE.entries[2].maps["grad-cam"]), "the method is kept"
    for _ in range(4):
        dialog.get_by_role("button", name="Next image").click()
    assert "Looks like fox <b> (97%)." in dialog.inner_text()
    assert dialog.locator(".ex-maps, .ex-pair").count() == 0, "what was not computed is absent"


def _uri(encoded: Any) -> str:
    from deepscope.render.html import data_uri

    return data_uri("image/webp", encoded.tobytes())


def test_a_cell_of_the_confusion_matrix_lists_its_images(visit: Visit) -> None:
    visit.tab("Confusion")
    cell = visit.page.get_by_role("button", name="images of cat predicted dog")
    wanted = [one.file for one in MADE.entries if (one.truth, one.predicted) == ("cat", "dog")]
    assert cell.inner_text() == str(len(wanted)) == "3"
    cell.click()
    assert visit.files == wanted
    assert cell.get_attribute("aria-pressed") == "true"
    cell.click()
    assert visit.total == "30 of 30 images"
    visit.page.keyboard.press("ArrowDown")
    assert visit.focus == "7 images of dog predicted dog"
    visit.page.keyboard.press("ArrowRight")
    visit.page.keyboard.press("Enter")
    assert visit.files == [one.file for one in MADE.entries if (one.truth, one.predicted) == ("dog", "fox <b>")]


def test_a_bin_of_the_reliability_diagram_lists_its_images(visit: Visit) -> None:
    visit.tab("Calibration")
    bars = visit.page.locator(".ex-bin")
    assert bars.count() == 15
    inside = [one for one in MADE.entries[:30] if 7 / 15 < one.values["confidence"] <= 8 / 15]
    right = sum(bool(one.right) for one in inside) / len(inside)
    label = bars.nth(7).get_attribute("aria-label") or ""
    assert f"47\u00a0% to 53\u00a0%: {len(inside)} images, {100 * right:.0f}\u00a0% of them right" in label
    bars.nth(6).focus()
    visit.page.keyboard.press("ArrowRight")
    visit.page.keyboard.press("Enter")
    assert visit.files == [one.file for one in inside]
    assert bars.nth(7).get_attribute("aria-pressed") == "true"


def test_the_map_is_drawn_and_says_how_far_it_is_to_be_trusted(visit: Visit) -> None:
    assert "Trustworthiness 0.976 over 12 neighbours, by t-SNE" in visit.page.locator(".ex-trust").inner_text()
    colours = """one => new Set(new Uint32Array(
        one.getContext('2d').getImageData(0, 0, one.width, one.height).data.buffer)).size"""
    assert visit.page.locator("canvas").evaluate(colours) > 10
    visit.choose("Colour", "error")
    assert visit.page.locator(".ex-legend li").all_inner_texts() == ["right", "wrong"]
    visit.choose("Colour", "split")
    assert visit.page.locator(".ex-legend li").all_inner_texts() == ["test", "training"]


def test_slices_and_leaks_are_found_in_the_list_and_by_the_links_of_their_section(visit: Visit) -> None:
    visit.choose("Look at", "failing slice 1")
    assert visit.files == _files(13, 16)
    visit.choose("Look at", "leak")
    assert visit.files == _files(12, 32) and visit.total == "2 of 40 images", "training images too"
    link = visit.page.locator(".part").get_by_role("link", name="failing slice 1 (2)")
    link.focus()
    visit.page.keyboard.press("Enter")
    visit.focuses("image-13.jpg, predicted dog, failing slice 1")
    assert visit.files == _files(13, 16)
    assert visit.page.url.endswith("#images")
    pair = visit.page.get_by_role("list", name="Pairs of copies").get_by_role("link")
    assert pair.inner_text() == "image-12.jpg and train-2.jpg: the same pixels"
    pair.click()
    visit.focuses("image-12.jpg, predicted cat, leak")
    assert visit.files == _files(12, 32)
    visit.page.keyboard.press("Enter")
    dialog = visit.page.get_by_role("dialog")
    told = dialog.inner_text()
    assert "A copy of train-2.jpg." in told and "train-2.jpg, training image, the same pixels" in told
    visit.page.keyboard.press("Escape")
    visit.page.get_by_role("button", name="Remove the filter image-12.jpg and").click()
    assert visit.total == "30 of 30 images"


def _drag(visit: Visit, *corners: tuple[float, float]) -> None:
    box = visit.page.locator("canvas").bounding_box()
    assert box is not None
    first, *others = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    visit.page.mouse.move(*first)
    visit.page.mouse.down()
    for other in others:
        visit.page.mouse.move(*other, steps=4)
    visit.page.mouse.up()


@pytest.mark.parametrize("tool", ["lasso", "box"])
def test_images_are_picked_on_the_map(visit: Visit, tool: str) -> None:
    visit.choose("Pointer", tool)
    corners = [(0.01, 0.01), (0.5, 0.01), (0.5, 0.99), (0.01, 0.99)] if tool == "lasso" else [(0.01, 0.01), (0.5, 0.99)]
    _drag(visit, *corners)
    middle = (min(xs := [one.place[0] for one in MADE.entries]) + max(xs)) / 2
    assert visit.files == [one.file for one in MADE.entries if one.place[0] < middle]
    visit.page.get_by_role("button", name="picked on the map").click()
    assert visit.total == "30 of 30 images"


def test_the_map_is_operated_by_keyboard_alone(visit: Visit) -> None:
    visit.page.locator("canvas").focus()
    visit.page.keyboard.press("ArrowRight")
    status = visit.page.locator(".ex-chart [role=status]").first
    assert status.inner_text().startswith("image-0.jpg: cat")
    visit.page.keyboard.press("Space")
    for _ in range(3):
        visit.page.keyboard.press("ArrowRight")
    at = status.inner_text().partition(":")[0]
    visit.page.keyboard.press("Space")
    picked = visit.files
    assert MADE.entries[0].file in picked and any(name.endswith(at) for name in picked)
    assert f"{len(picked)} images picked." == status.inner_text()
    visit.page.locator("canvas").focus()
    visit.page.keyboard.press("ArrowRight")
    visit.page.keyboard.press("Enter")
    assert visit.page.get_by_role("dialog").is_visible()
    visit.page.keyboard.press("Escape")
    assert visit.page.evaluate("document.activeElement.tagName") == "CANVAS"
    visit.page.locator(".ex-tip").wait_for()  # it is still at the same point
    visit.page.keyboard.press("Enter")
    assert visit.page.get_by_role("dialog").is_visible()


def test_hovering_shows_a_small_picture(visit: Visit) -> None:
    visit.page.locator("canvas").scroll_into_view_if_needed()
    box = visit.page.locator("canvas").bounding_box()
    assert box is not None
    xs, ys = ([one.place[axis] for one in MADE.entries] for axis in (0, 1))
    row = max(range(30), key=lambda row: xs[row])  # the edge of the map
    scale = min((box["width"] - 28) / (max(xs) - min(xs)), (box["height"] - 28) / (max(ys) - min(ys)))
    across, down = ((at[row] - (max(at) + min(at)) / 2) * scale for at in (xs, ys))
    visit.page.mouse.move(box["x"] + box["width"] / 2 + across, box["y"] + box["height"] / 2 + down)
    tip = visit.page.locator(".ex-tip")
    assert tip.is_visible()
    assert tip.locator("img").get_attribute("src") == _uri(MADE.entries[row].picture)
    assert MADE.entries[row].name in tip.inner_text()


def test_the_list_can_be_copied(visit: Visit) -> None:
    visit.choose("Outcome", "wrong")
    visit.page.locator(".ex-copy summary").click()
    visit.page.get_by_role("button", name="Copy the list").click()
    visit.page.locator(".ex-copy [role=status]", has_text="copied").wait_for()


def test_names_are_text(visit: Visit) -> None:
    visit.page.get_by_label("Part of the name").fill("onerror")
    assert visit.total == "1 of 30 images"
    assert visit.items.first.evaluate(_SPOKEN) == f"{HOSTILE}, predicted dog"
    visit.items.first.click()
    assert visit.page.get_by_role("dialog").get_by_role("heading", level=3).inner_text() == HOSTILE
    assert visit.page.evaluate("document.querySelectorAll('img[src=x]').length") == 0


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit: Visit, width: int, scheme: Any) -> None:
    visit.page.set_viewport_size({"width": width, "height": 900})
    visit.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    visit.page.evaluate(AXE.read_text(encoding="utf-8"))
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    for tab in ("Map", "Confusion", "Calibration"):
        visit.tab(tab)
        assert _serious(visit) == []
    visit.items.nth(1).click()
    visit.page.get_by_label("saliency").check()
    assert _serious(visit) == []


def _serious(visit: Visit) -> list[str]:
    found = visit.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:160]} ({one['nodes'][0]['failureSummary'][:200]})"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def test_nothing_moves_where_motion_is_reduced(visit: Visit) -> None:
    visit.page.emulate_media(reduced_motion="reduce")
    durations = visit.page.evaluate(
        "[...document.querySelectorAll('.explorer *')].map((one) => getComputedStyle(one).transitionDuration)"
    )
    assert set(durations) == {"0s"}


def test_without_scripts_the_page_says_what_is_missing(chromium: Browser, file: Path) -> None:
    plain = chromium.new_context(java_script_enabled=False).new_page()
    plain.goto(file.as_uri())
    assert "needs scripts" in plain.locator(".explorer").inner_text()
    plain.close()


def test_five_hundred_images_fit_into_a_page_and_are_listed_as_they_come_into_view(
    chromium: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "index.html"
    outcome = Outcome(study(), Result("Accuracy", blocks=(gallery(500),)))
    file.write_text(write([outcome], title="Title", introduction="Introduction."), encoding="utf-8")
    visit = Visit.to(chromium, file)
    assert visit.total == "500 of 500 images"
    assert visit.items.count() < 200, "pictures that are not in view cost nothing"
    visit.items.first.focus()
    visit.page.keyboard.press("End")
    assert visit.focus.startswith("image-499.jpg") and visit.items.count() == 500
    visit.choose("Outcome", "wrong")
    assert visit.total.startswith("165 of") and visit.items.count() < 165
    assert visit.said == []
    visit.page.close()

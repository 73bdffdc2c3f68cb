"""The local page in a real browser: painting, attack, class image, comparison, export, keyboard, address, refusals."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from app_server import HOSTILE, TOKEN
from browser import browser
from deepscope.app import web
from deepscope.app.studio import Studio
from image_files import encoded, photograph

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

AXE = Path(__file__).parent.parent / "vendor" / "axe-core" / "axe.min.js"


@dataclass(frozen=True)
class Visit:
    """An open page, what its console said, and what it asked for."""

    page: Page
    origin: str
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def open(self, hash: str = "") -> None:
        self.page.goto("about:blank")
        self.page.goto(f"{self.origin}/?token={TOKEN}{hash}")
        self.settle()

    def settle(self) -> None:
        """Until the answer for the present state is there."""
        self.page.locator(".ap-opened .ap-model[aria-busy=false] .ex-bars li").first.wait_for()

    def paint(self) -> None:
        box = self.page.locator("canvas").bounding_box()
        assert box is not None
        at = [(box["x"] + box["width"] * share, box["y"] + box["height"] / 2) for share in (0.4, 0.5, 0.6)]
        self.page.mouse.move(*at[0])
        self.page.mouse.down()
        for place in at[1:]:
            self.page.mouse.move(*place)
        self.page.mouse.up()

    def drop(self, name: str, content: str) -> None:
        """Drop a file whose content is an expression of JavaScript."""
        given = self.page.evaluate_handle(
            "() => { const given = new DataTransfer();"
            f"given.items.add(new File([{content}], '{name}')); return given; }}"
        )
        self.page.dispatch_event("body", "drop", {"dataTransfer": given})

    @property
    def first_bar(self) -> str:
        return self.page.locator(".ap-model .ex-bars li").first.inner_text()


@pytest.fixture(scope="module")
def origin(studio: Studio) -> Iterator[str]:
    server = web.server(web.application(studio, TOKEN, "127.0.0.1"))
    with web.listening("127.0.0.1", 0) as socket:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
        thread.start()
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(chromium: Browser, origin: str) -> Iterator[Visit]:
    visit = Visit(chromium.new_page(viewport={"width": 1280, "height": 900}), origin)
    visit.page.set_default_timeout(10_000)
    visit.page.on("console", lambda message: visit.said.append(message.text))
    visit.page.on("pageerror", lambda error: visit.said.append(str(error)))
    visit.page.on("request", lambda request: visit.asked.append(request.url))
    yield visit
    visit.page.close()


@pytest.fixture
def visit(shared: Visit) -> Iterator[Visit]:
    """The page at its beginning. In the end its console is empty and nothing but the server was asked."""
    shared.page.set_viewport_size({"width": 1280, "height": 900})
    shared.open()
    yield shared
    refused = [text for text in shared.said if "the server responded with a status of 4" not in text]
    shared.said.clear()
    assert refused == []
    assert [url for url in shared.asked if not url.startswith((shared.origin, "data:", "blob:", "about:"))] == []


def test_an_image_is_open_at_once_and_painting_changes_the_answer(visit: Visit) -> None:
    assert visit.page.locator(".ap-model .ex-bars li").count() == 4
    before = visit.first_bar
    visit.page.get_by_label("White").check()
    visit.page.get_by_label("Size").fill("300")
    visit.paint()
    visit.page.locator(".ap-model .ex-before").first.wait_for()
    visit.settle()
    assert visit.first_bar != before
    assert "strokes=white%2C300%2C" in visit.page.url
    visit.page.get_by_role("button", name="Undo").click()
    visit.page.locator(".ap-model .ex-before").first.wait_for(state="detached")
    assert visit.first_bar == before
    assert visit.said == []


def test_the_address_brings_everything_back(visit: Visit) -> None:
    visit.paint()
    visit.page.locator("#answers select").first.select_option("saliency")
    visit.page.get_by_label("Compare with tiny-vit").check()
    visit.page.get_by_label("Radius").fill("8")
    visit.page.locator(".ap-triple img").nth(2).wait_for()
    hash = visit.page.url.partition("#")[2]
    visit.open(f"#{hash}")
    visit.page.locator(".ap-triple img").nth(2).wait_for()
    assert visit.page.locator("#answers select").first.input_value() == "saliency"
    assert visit.page.locator(".ap-model:visible").count() == 2
    assert visit.page.locator(".ap-model .ex-before").count() > 0
    assert visit.page.url.partition("#")[2] == hash


@pytest.mark.parametrize(
    "hash", ["#strokes=fire,1,2.3;blur,x,1.2;blur,5", "#radius=1e9&target=-1&steps=x", "#image=choice:no"]
)
def test_an_address_of_nonsense_does_no_harm(visit: Visit, hash: str) -> None:
    visit.page.goto("about:blank")
    visit.page.goto(f"{visit.origin}/?token={TOKEN}{hash}")
    if "image" in hash:
        visit.page.locator("#problem", has_text="there is no image named no").wait_for()
    else:
        visit.settle()
        assert visit.page.locator("#problem").is_hidden()


def test_an_attack_is_shown_beside_its_difference(visit: Visit) -> None:
    visit.page.get_by_label("Radius").fill("16")
    visit.page.locator(".ap-verdict[data-tone]").wait_for()
    assert visit.page.locator(".ap-triple img").count() == 3
    assert "16/255" in visit.page.locator(".ap-verdict").inner_text()
    visit.page.get_by_label("Radius").fill("0")
    visit.page.locator(".ap-triple img").first.wait_for(state="detached")


def test_a_class_image_grows_and_stops(visit: Visit) -> None:
    _, chosen, steps = visit.page.locator("#dream ~ .ap-row select:visible").all()
    chosen.select_option("1")
    steps.select_option("320")
    grow = visit.page.locator("#dream ~ .ap-row button")
    grow.click()
    visit.page.locator(".ap-grown p", has_text="of 320").wait_for()
    assert grow.inner_text() == "Stop"
    grow.click()
    visit.page.locator(".ap-grown p", has_text="Stopped").wait_for()
    assert grow.inner_text() == "Generate" and visit.page.locator(".ap-dream").is_visible()


def test_the_image_of_a_class_of_the_compared_model(visit: Visit, studio: Studio) -> None:
    first, second = studio.models
    shown = visit.page.locator("#dream ~ .ap-row select:visible")
    shown.nth(0).select_option(label=second.name)
    assert shown.nth(1).locator("option").count() == 1 + len(second.categories)
    shown.nth(1).select_option(label=second.categories[2])
    shown.nth(2).select_option("40")
    visit.page.locator("#dream ~ .ap-row button").click()
    visit.page.locator(".ap-grown p", has_text="Step 40 of 40").wait_for()
    said = visit.page.locator(".ap-dream").get_attribute("alt")
    assert said == f"The image of {second.categories[2]} to {second.name} after 40 steps"
    assert "dreamer=1" in visit.page.url and "dream=2" in visit.page.url
    shown.nth(0).select_option(label=first.name)
    there = [str(place) for place, name in enumerate(first.categories) if name == second.categories[2]]
    assert shown.nth(1).input_value() == "".join(there), "the class of the same name, where there is one"


def test_a_costly_map_is_computed_on_request(visit: Visit) -> None:
    page = visit.page
    page.locator("#answers select").first.select_option("rise")
    page.locator(".ap-costly", has_text="rise takes hundreds of passes").wait_for()
    assert page.locator(".ap-both .ap-map").first.is_hidden(), "nothing was computed"
    compute = page.locator(".ap-costly button").first
    compute.focus()
    page.keyboard.press("Enter")
    page.locator(".ap-model .ex-help", has_text="The map is of").wait_for()
    assert page.locator(".ap-both .ap-map").first.is_visible() and compute.is_hidden()
    assert page.evaluate("document.activeElement.className") == "ap-panel ap-model"
    visit.open(f"#{page.url.partition('#')[2]}")
    assert page.locator(".ap-both .ap-map").first.is_visible(), "the server remembers it"
    assert visit.said == []


def test_a_costly_map_is_cancelled(visit: Visit, studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, go_on = list[str](), threading.Event()

    def slow(view: object, report: Callable[[object], object]) -> object:
        try:
            for passes in range(1, 1000):
                report({"passes": passes, "most": 1000})
                go_on.wait(0.02)
        except Exception as error:
            ended.append(type(error).__name__)
            raise
        return {}

    monkeypatch.setattr(Studio, "explain", lambda self, view, report: slow(view, report))
    page = visit.page
    page.locator("#answers select").first.select_option("occlusion")
    button = page.locator(".ap-costly button").first
    button.click()
    page.locator(".ap-costly", has_text="of at most 1,000 passes").wait_for()
    assert button.inner_text() == "Cancel"
    button.click()
    page.locator(".ap-costly", has_text="Cancelled").wait_for()
    page.locator("#answers select").first.select_option("saliency")
    page.locator(".ap-model .ex-help", has_text="The map is of").wait_for()
    assert ended == ["Cancelled"]


def test_light_and_dark_by_the_switch_and_in_the_address(visit: Visit) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light = visit.page.evaluate(ground)
    visit.page.get_by_role("button", name="Switch between light and dark").click()
    assert visit.page.evaluate(ground) != light and "theme=dark" in visit.page.url
    dark = visit.page.evaluate(ground)
    visit.open(f"#{visit.page.url.partition('#')[2]}")
    assert visit.page.evaluate(ground) == dark


def test_the_export_of_two_models_is_a_page_of_its_own(visit: Visit, studio: Studio, tmp_path: Path) -> None:
    visit.page.get_by_label("Compare with tiny-vit").check()
    visit.page.locator(".ap-model").nth(1).locator(".ex-bars li").first.wait_for()
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="Export the page").click()
    download.value.save_as(tmp_path / "page.html")
    context = visit.page.context.browser
    assert context is not None
    alone, asked = context.new_page(), list[str]()
    alone.on("request", lambda request: asked.append(request.url))
    alone.goto((tmp_path / "page.html").as_uri())
    titles = alone.locator("article h2").all_inner_texts()
    assert [title.rpartition(": ")[2] for title in titles] == [model.name for model in studio.models]
    assert alone.evaluate("[...document.images].every((one) => one.naturalWidth > 0)")
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    alone.close()


def test_views_are_kept_and_exported(visit: Visit, tmp_path: Path) -> None:
    visit.page.get_by_role("button", name="Keep this view").click()
    visit.paint()
    visit.page.locator(".ap-model .ex-before").first.wait_for()
    visit.page.get_by_role("button", name="Keep this view").click()
    assert visit.page.locator(".ap-kept li").count() == 2
    visit.page.locator(".ap-view").first.click()
    visit.page.locator(".ap-model .ex-before").first.wait_for(state="detached")
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="Export the page").click()
    download.value.save_as(tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert html.count("<article") == 2 and "edited" in html


def test_files_come_by_dialog_and_by_drop_and_bad_ones_are_one_line(visit: Visit) -> None:
    good = encoded(Image.fromarray(photograph(40, 60)), "PNG")
    send = lambda name, content: visit.page.set_input_files(  # noqa: E731
        "#file", {"name": name, "mimeType": "image/png", "buffer": content}
    )
    send("bad.png", b"not an image")
    line = visit.page.locator("#problem")
    line.wait_for()
    assert line.inner_text().startswith("bad.png cannot be opened:") and "\n" not in line.inner_text()
    visit.drop("large.png", "new Uint8Array(33 * 2 ** 20)")
    visit.page.locator("#problem", has_text="large.png has more than 32 MB").wait_for()
    send(HOSTILE, good)
    visit.page.wait_for_url(lambda url: "image=sent%3A" in url)
    visit.settle()
    assert line.is_hidden()
    before = visit.page.url
    visit.drop("dropped.png", f"Uint8Array.from({list(encoded(Image.fromarray(photograph(50, 50, 3)), 'PNG'))})")
    visit.page.wait_for_url(lambda url: url != before)
    visit.settle()
    assert visit.page.locator("canvas").get_attribute("aria-label").startswith("dropped.png")  # type: ignore[union-attr]


def test_everything_works_by_keyboard(visit: Visit) -> None:
    wanted = visit.page.evaluate(
        """[...document.querySelectorAll('a[href], button, input, select, canvas')].filter(
            (one) => one.checkVisibility() && one.tabIndex >= 0 && !one.disabled
                && (one.type !== 'radio' || one.checked)
        ).map((one, place) => one.dataset.place = `${place}`)"""
    )
    visit.page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in wanted:
        visit.page.keyboard.press("Tab")
        reached.append(visit.page.evaluate("document.activeElement.dataset.place"))
    assert reached == wanted
    visit.page.locator("canvas").focus()
    for key in ("ArrowLeft", "ArrowUp", "Shift+ArrowRight", "Space"):
        visit.page.keyboard.press(key)
    visit.page.locator(".ap-model .ex-before").first.wait_for()
    assert "580.480" in visit.page.url
    visit.page.keyboard.press("Backspace")
    visit.page.locator(".ap-model .ex-before").first.wait_for(state="detached")
    second = visit.page.locator(".ex-pick").nth(1)
    name = second.inner_text()
    second.focus()
    visit.page.keyboard.press("Enter")
    visit.page.locator(".ex-pick[aria-pressed=true]", has_text=name).wait_for()
    assert visit.page.evaluate("document.activeElement.textContent") == name, "the focus stays where it was"


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_axe_finds_nothing_serious(visit: Visit, width: int, scheme: Any) -> None:
    visit.page.set_viewport_size({"width": width, "height": 900})
    visit.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    visit.page.get_by_label("Compare with tiny-vit").check()
    visit.page.get_by_label("Radius").fill("8")
    visit.page.locator(".ap-verdict[data-tone]").wait_for()
    visit.page.get_by_role("button", name="Keep this view").click()
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    outside = "[...document.querySelectorAll('main *')].filter((one) => !one.closest('.ap-strip, .ap-stage') && \
        one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 90))"
    assert visit.page.evaluate(outside) == []
    visit.page.evaluate(AXE.read_text(encoding="utf-8"))
    found = visit.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [
        f"{one['id']}: {one['nodes'][0]['html'][:160]} ({one['nodes'][0]['failureSummary'][:200]})"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert visit.page.evaluate("document.getAnimations().length") == 0
    durations = "[...document.querySelectorAll('*')].map((one) => getComputedStyle(one).transitionDuration)"
    assert set(visit.page.evaluate(durations)) == {"0s"}


def test_the_policy_refuses_other_sites_and_eval(visit: Visit) -> None:
    blocked = "fetch('https://example.org/').then(() => false, () => true)"
    assert visit.page.evaluate(blocked)
    assert visit.page.evaluate(
        "new Promise((done) => { const one = document.createElement('script'); one.textContent = 'window.ran = 1';"
        "document.body.append(one); done(window.ran === undefined); })"
    )
    assert len([text for text in visit.said if "Content Security Policy" in text]) >= 2
    visit.said.clear()

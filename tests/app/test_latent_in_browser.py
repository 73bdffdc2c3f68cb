"""The live page of sliders in a real browser: together, class, seed, address, keyboard, export, refusals, narrow."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from app_server import HOSTILE, TOKEN
from browser import browser
from deepscope.app import web
from deepscope.app.latent import LatentStudio
from deepscope.app.studio import Studio
from deepscope.errors import DataError
from deepscope.gans import GAN, Architecture, Generator, save
from deepscope.session import Session

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

AXE = Path(__file__).parent.parent / "vendor" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="module")
def origin(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    architecture = Architecture(side=16, latent=3, width=2)
    torch.manual_seed(0)
    generator = Generator(architecture, 1, 2).eval().requires_grad_(False)
    generator.start.weight.mul_(20)
    folder = tmp_path_factory.mktemp("gan")
    save(folder, GAN(generator, architecture, channels=1, classes=("a", HOSTILE), data="planted"))
    server = web.server(web.application(studio, TOKEN, "127.0.0.1", LatentStudio(folder, Session())))
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


class Visit:
    """An open page of sliders."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page, self.origin = page, origin

    def open(self, hash: str = "") -> None:
        self.page.goto("about:blank")
        self.page.goto(f"{self.origin}/directions?token={TOKEN}{hash}")
        self.page.locator("img.sl-picture[src^=data]").wait_for()

    @property
    def sliders(self) -> list[Locator]:
        return self.page.get_by_role("slider").all()

    @property
    def picture(self) -> str:
        return self.page.locator("img.sl-picture").get_attribute("src") or ""

    def until(self, words: str) -> str:
        """The picture once the status has these words."""
        self.page.locator(".sl-said", has_text=words).wait_for()
        return self.picture


@pytest.fixture
def visit(chromium: Browser, origin: str) -> Iterator[Visit]:
    """The page at its beginning. In the end its console is empty and nothing but the server was asked."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(10_000)
    said, asked = list[str](), list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    made = Visit(page, origin)
    made.open()
    yield made
    page.close()
    assert [text for text in said if "the server responded with a status of 4" not in text] == []
    assert [url for url in asked if not url.startswith((origin, "data:", "blob:", "about:"))] == []


def test_sliders_move_together_and_reset(visit: Visit) -> None:
    first, second, _ = visit.sliders
    start = visit.until("all sliders in the middle")
    first.fill("40")
    one = visit.until("Direction 1 at +1.0 SD")
    second.fill("0")
    both = visit.until("Direction 1 at +1.0 SD, Direction 2 at -3.0 SD")
    assert len({start, one, both}) == 3
    assert first.get_attribute("aria-valuetext") == "+1.0 SD"
    assert visit.page.locator("img.sl-picture").get_attribute("alt") == (
        "Generated images: Direction 1 at +1.0 SD, Direction 2 at -3.0 SD"
    )
    visit.page.get_by_role("button", name="Reset").click()
    assert visit.until("all sliders in the middle") == start


def test_class_and_seed_and_the_address_that_brings_them_back(visit: Visit) -> None:
    start = visit.picture
    chosen = visit.page.get_by_label("Class")
    assert chosen.locator("option").all_inner_texts() == ["in turn", "a", HOSTILE]
    chosen.select_option(HOSTILE)
    visit.page.wait_for_function("before => document.querySelector('.sl-picture').src !== before", arg=start)
    labelled = visit.picture
    visit.page.get_by_label("Seed").fill("12")
    visit.page.wait_for_function("before => document.querySelector('.sl-picture').src !== before", arg=labelled)
    visit.sliders[2].fill("60")
    found = visit.until("Direction 3 at +3.0 SD")
    hash = visit.page.url.partition("#")[2]
    assert "seed=12" in hash and "at=30%2C30%2C60" in hash
    visit.open(f"#{hash}")
    assert visit.until("Direction 3 at +3.0 SD") == found
    assert chosen.input_value() == HOSTILE and visit.page.get_by_label("Seed").input_value() == "12"
    assert visit.page.url.partition("#")[2] == hash


@pytest.mark.parametrize("hash", ["#at=999,x,-1&seed=1e9&label=none&theme=pink", "#at=,,,,,,,,40&seed=99999999999"])
def test_an_address_of_nonsense_does_no_harm(visit: Visit, hash: str) -> None:
    start = visit.picture
    visit.open(hash)
    assert visit.until("all sliders in the middle") == start
    assert visit.page.locator(".sl-problem").is_hidden()


def test_everything_works_by_keyboard(visit: Visit) -> None:
    page = visit.page
    places = []
    for _ in range(9):
        page.keyboard.press("Tab")
        places.append(page.evaluate("document.activeElement.textContent || document.activeElement.type"))
    assert places[1:5] == ["number", "range", "range", "range"]
    assert places[5:] == ["Reset", "Export the page", "Dark", "Images"]
    page.locator("input[type=range]").nth(1).focus()
    page.keyboard.press("ArrowRight")
    visit.until("Direction 2 at +0.1 SD")
    page.keyboard.press("End")
    visit.until("Direction 2 at +3.0 SD")
    assert page.evaluate("document.activeElement.type") == "range", "the focus stays where it was"
    page.get_by_role("button", name="Switch between light and dark").focus()
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.keyboard.press("Enter")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != ground and "theme=dark" in page.url


def test_the_export_works_alone(visit: Visit, chromium: Browser, tmp_path: Path) -> None:
    visit.sliders[0].fill("45")
    visit.until("Direction 1 at +1.5 SD")
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="Export the page").click()
    download.value.save_as(tmp_path / "page.html")
    alone, asked = chromium.new_page(), list[str]()
    alone.on("request", lambda request: asked.append(request.url))
    alone.goto((tmp_path / "page.html").as_uri())
    first, second, _ = alone.get_by_role("slider").all()
    assert first.get_attribute("aria-valuetext") == "+1.5 SD"
    second.fill("12")
    assert alone.get_by_role("status").inner_text() == "Direction 2 at +3.0 SD"
    assert alone.evaluate("document.querySelector('.sl-picture').naturalWidth > 0")
    assert alone.get_by_label("Seed").count() == 0
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    alone.close()


def test_what_fails_is_one_line_that_goes_again(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, places: object) -> Any:
        raise DataError("there is no such generator any more")

    with monkeypatch.context() as patched:
        patched.setattr(LatentStudio, "move", fail)
        visit.sliders[0].fill("31")
        problem = visit.page.locator(".sl-problem", has_text="there is no such generator any more")
        problem.wait_for()
    visit.sliders[0].fill("32")
    visit.until("Direction 1 at +0.2 SD")
    problem.wait_for(state="hidden")


def test_the_pages_lead_to_each_other(visit: Visit) -> None:
    visit.page.get_by_role("link", name="Images").click()
    visit.page.locator(".ap-opened .ap-model[aria-busy=false] .ex-bars li").first.wait_for()
    visit.page.get_by_role("link", name="Move z").click()
    visit.until("all sliders in the middle")


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_axe_finds_nothing_serious(visit: Visit, width: int, scheme: Any) -> None:
    page = visit.page
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    visit.sliders[0].fill("50")
    visit.until("Direction 1 at +2.0 SD")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = "[...document.querySelectorAll('main *')].filter((one) => \
        one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 90))"
    assert page.evaluate(outside) == []
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [
        f"{one['id']}: {one['nodes'][0]['html'][:160]} ({one['nodes'][0]['failureSummary'][:200]})"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []

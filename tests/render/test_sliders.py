"""The page of sliders, in a real browser: by pointer and by keyboard, on a telephone, light and dark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from browser import browser
from deepscope.render import sliders
from html_pages import check

HOSTILE = "</script><img src=x onerror=alert(1)>"


def page() -> str:
    """Two sliders of five places; each picture has a brightness of its own."""
    made = [
        sliders.Slider(
            name,
            "some of it",
            [f"{step:+d} SD" for step in range(-2, 3)],
            [np.full((40, 40, 3), 40 * step + 10 * number, np.uint8) for step in range(5)],
        )
        for number, name in enumerate(("Direction 1", f"Direction 2 {HOSTILE}"))
    ]
    return sliders.page("Sliders", "Move them.", made)


def test_the_page_holds_all_it_needs_and_no_name_becomes_markup() -> None:
    text = page()
    check(text, scripts=2)
    assert "<img src=x" not in text
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-"
    assert policy in text and "'unsafe-eval'" not in text
    with pytest.raises(ValueError, match="one picture per place"):
        sliders.Slider("a", "", ["0"], [])


def test_sliders_choose_the_picture(tmp_path: Path) -> None:
    file = tmp_path / "sliders.html"
    file.write_text(page(), encoding="utf-8")
    with browser() as chromium:
        view = chromium.new_page(viewport={"width": 390, "height": 780}, color_scheme="light")
        said, asked = list[str](), list[str]()
        view.on("console", lambda message: said.append(message.text))
        view.on("pageerror", lambda error: said.append(str(error)))
        view.on("request", lambda request: asked.append(request.url))
        view.goto(file.as_uri())
        first, second = view.get_by_role("slider").all()
        picture = view.locator("img.sl-picture")
        assert view.evaluate("document.documentElement.scrollWidth") <= 390
        middle = picture.get_attribute("src")
        assert first.get_attribute("aria-valuetext") == "+0 SD"

        view.keyboard.press("Tab")  # to the first slider
        view.keyboard.press("ArrowRight")
        assert first.get_attribute("aria-valuetext") == "+1 SD"
        assert view.get_by_role("status").inner_text() == "Direction 1 at +1 SD"
        moved = picture.get_attribute("src")
        assert moved != middle and picture.get_attribute("alt") == "Generated images: Direction 1 at +1 SD"
        view.keyboard.press("Tab")
        view.keyboard.press("Home")
        assert second.get_attribute("aria-valuetext") == "-2 SD"
        assert first.get_attribute("aria-valuetext") == "+0 SD"  # one direction at a time
        assert picture.get_attribute("src") not in (middle, moved)
        first.click(position={"x": 2, "y": 10})
        assert (first.input_value(), second.input_value()) == ("0", "2")
        view.get_by_role("button", name="Reset").click()
        assert picture.get_attribute("src") == middle

        ground = "getComputedStyle(document.body).backgroundColor"
        light = view.evaluate(ground)
        view.get_by_role("button", name="Switch between light and dark").click()
        assert view.evaluate(ground) != light
        assert said == [] and [url for url in asked if not url.startswith(("file:", "data:"))] == []

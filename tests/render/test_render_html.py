from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
from hypothesis import given, settings
from PIL import Image

from deepscope import render
from deepscope.render.html import styles
from deepscope.render.text import one_line
from deepscope.results import Column, Result, Table
from results_strategies import EVERYTHING, EXAMPLES, results

VOID = {"img", "input", "source", "meta", "link", "br"}


class Page(HTMLParser):
    """Parses a page and keeps what the tests ask about; fails on a tag that does not balance."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice: {attrs}"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def check(html: str) -> Page:
    html.encode("utf-8")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", html)
    page = Page(html)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "iframe", "object", "embed", "base", "form"}
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "srcset", "href"):
            assert attributes.get(name, "data:").startswith(("data:", "#"))
    assert all(image["alt"].strip() for image in page.all("img"))
    assert len(page.all("thead")) == len(page.all("table"))
    return page


@given(results)
@settings(max_examples=40, deadline=None)
def test_any_result_is_escaped_and_well_formed(result: Result) -> None:
    page = check(render.fragment(result))
    assert one_line(result.title) in " ".join(" ".join(page.text).split()) or not result.title.strip()
    assert len(page.all("article")) == 1


def test_every_block_is_in_the_fragment() -> None:
    page = check(render.fragment(EVERYTHING))
    figures = [block for block in EXAMPLES.values() if not isinstance(block, Table) and hasattr(block, "caption")]
    assert len(page.all("img")) == len(figures) == 4
    assert len(page.all("figcaption")) == 5
    assert sum(_frames(image["src"]) > 1 for image in page.all("img")) == 1
    still = page.all("source")
    assert len(still) == 1
    assert _frames(still[0]["srcset"]) == 1
    assert "prefers-reduced-motion" in still[0]["media"]
    assert "print" in still[0]["media"]
    text = " ".join(page.text)
    for word in ("Everything", "Accuracy", "88.3%", "–", "Ascent", "Warning: Leak", "deepscope classify photos"):  # noqa: RUF001
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
        for selector in selectors.split(","):
            assert selector.strip().startswith((".deepscope", "@media")), selector


def test_the_same_result_gives_the_same_html() -> None:
    assert render.fragment(EVERYTHING) == render.fragment(EVERYTHING)


def test_numbers_stand_on_the_right_and_texts_on_the_left() -> None:
    table = Table((Column("name"), Column("n", ","), Column("yes")), (("a", 1234, True), ("b", None, False)))
    cells = check(render.fragment(Result("r", blocks=(table,), arrays={"a": np.zeros(1)}))).all("td")
    assert [cell.get("class") for cell in cells] == [None, "number", None] * 2


def _frames(address: str) -> int:
    kind, _, content = address.partition(";base64,")
    assert kind == "data:image/webp"
    return getattr(Image.open(io.BytesIO(base64.b64decode(content))), "n_frames", 1)

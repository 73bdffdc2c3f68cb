"""Reading HTML strictly: what does not balance, repeats an attribute, or asks for something, fails."""

from __future__ import annotations

import re
from html.parser import HTMLParser

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


def check(html: str, *, scripts: int = 0) -> Page:
    """The page, if it is well-formed, holds only these many scripts, and nothing in it leaves the page."""
    html.encode("utf-8")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", html)
    page = Page(html)
    names = {tag for tag, _ in page.tags}
    assert not names & {"iframe", "object", "embed", "base", "form"}
    assert len(page.all("script")) == scripts
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "srcset", "href"):
            assert attributes.get(name, "data:").startswith(("data:", "#"))
    assert all(image["alt"].strip() for image in page.all("img"))
    assert len(page.all("thead")) == len(page.all("table"))
    return page

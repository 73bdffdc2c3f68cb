"""The data of the explorer, as it stands in a page: complete, finite, and harmless."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import deepscope
from deepscope.gallery import Entry, Gallery, Near
from deepscope.render import explorer
from deepscope.render.html import data_uri
from deepscope.render.templates import Templates
from galleries import CLASSES, HOSTILE, gallery
from html_pages import check
from results_strategies import galleries


def _read(element: str) -> dict[str, Any]:
    """What a browser finds in the page."""
    found = re.search(r'<script type="application/json">(.*)</script>', element, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_every_entry_is_written_with_what_is_known_of_it() -> None:
    made = gallery()
    data = _read(explorer.element(made))
    assert data["classes"] == sorted(CLASSES)
    assert len(data["entries"]) == len(made) == 40
    for entry, written in zip(made.entries, data["entries"], strict=True):
        assert written["picture"] == data_uri("image/webp", entry.picture.tobytes())
        assert [data["classes"][place] if place >= 0 else "" for place in (written["truth"], written["predicted"])] == [
            entry.truth,
            entry.predicted,
        ]
        assert {name: float(value) for name, value in written["values"].items()} == pytest.approx(entry.values)
        assert written["right"] is entry.right
        assert list(written["maps"]) == list(entry.maps)
        assert [made.entries[place].key for place, _ in written["near"]] == [one.key for one in entry.near]
        assert (written["adversarial"] is None) == (entry.adversarial is None)
    assert data["projection"] == {"method": made.projection.method, "trustworthiness": 0.9756, "neighbours": 12}  # type: ignore[union-attr]


def test_what_is_not_known_is_absent() -> None:
    odd = Entry("k", "a.png", values={"loss": math.nan, "radius": math.inf}, near=(Near("elsewhere", 0.1),))
    (written,) = explorer.document(Gallery((replace(odd, place=(math.nan, 0.0)),)))["entries"]
    assert written["values"] == {"radius": "Infinity"}
    assert (written["near"], written["place"], written["truth"], written["predicted"]) == ([], [], -1, -1)
    assert (written["right"], written["adversarial"], written["picture"]) == (None, None, "")


def test_names_cannot_leave_the_data() -> None:
    element = str(explorer.element(gallery()))
    assert element.count("<script") == element.count("</script>") == 1
    assert "onerror" in element and "<img" not in element
    assert _read(element)["entries"][4]["name"] == HOSTILE


@given(galleries)
@settings(max_examples=40, deadline=None)
def test_any_gallery_is_well_formed_and_read_back(made: Gallery) -> None:
    element = str(explorer.element(made))
    check(element, scripts=1)
    assert len(_read(element)["entries"]) == len(made)


def test_the_style_sheet_stays_in_its_scope() -> None:
    css = re.sub(r"/\*.*?\*/", "", explorer.styles(), flags=re.DOTALL)
    assert "url(" not in css and "@import" not in css
    for selectors in re.findall(r"([^{}]+)\{", css):
        for selector in re.split(r",(?![^(]*\))", selectors):
            assert selector.strip().startswith((".deepscope", "@media")), selector


def test_scripts_set_no_markup_and_ask_for_nothing() -> None:
    words = "innerHTML outerHTML insertAdjacentHTML document.write eval( Function( fetch( XMLHttpRequest import( http"
    assert [word for word in words.split() if word in explorer.script()] == []


def test_what_several_checks_know_of_an_image_is_brought_together() -> None:
    first = Gallery((Entry("a", "a.png", truth="cat", values={"loss": 1.0}), Entry("b", "b.png")), title="one")
    picture = np.ones(9, np.uint8)
    second = Gallery(
        (
            Entry("a", "other", picture=picture, truth="dog", values={"loss": 2.0, "radius": 3.0}, right=False),
            Entry("c", "c.png"),
        )
    )
    joined = Gallery.joined([first, second])
    assert [entry.key for entry in joined.entries] == ["a", "b", "c"]
    both = joined.entries[0]
    assert (both.name, both.truth, both.right) == ("a.png", "cat", False)
    assert both.values == {"loss": 1.0, "radius": 3.0}
    assert both.picture is picture


def test_entries_hold_encoded_pictures_and_places_of_two_numbers() -> None:
    with pytest.raises(ValueError, match=r"\(bytes,\) uint8"):
        Entry("a", "a", picture=np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match=r"\(bytes,\) uint8"):
        Entry("a", "a", maps={"saliency": np.zeros(3)})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=r"\(x, y\)"):
        Entry("a", "a", place=(1.0,))


def test_pages_load_nothing_send_nothing_and_have_no_other_base() -> None:
    files = {path: path.read_text(encoding="utf-8") for path in Path(deepscope.__file__).parent.rglob("*.html.jinja")}
    pages = [text for path, text in files.items() if "<head>" in text and path.parent.parent.name != "app"]
    assert pages  # the local page's policy is a header of its server
    for text in pages:
        (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
        policy = re.sub("{% if connects %}.*?{% endif %}", "", policy)  # of a page with a server behind it
        assert {"default-src 'none'", "base-uri 'none'", "form-action 'none'"} <= set(policy.split("; "))


def test_pages_keep_the_version_that_the_program_started_with(tmp_path: Path) -> None:
    (tmp_path / "page.html.jinja").write_text("{{ name|one_line }}, old", encoding="utf-8")
    (tmp_path / "page.css").write_text("p {}", encoding="utf-8")
    templates = Templates(tmp_path)
    (tmp_path / "page.html.jinja").write_text("new", encoding="utf-8")
    (tmp_path / "page.css").unlink()  # the package is upgraded meanwhile
    assert templates.render("page.html.jinja", name="<b>\n") == "&lt;b&gt;, old"
    assert templates.text(suffix=".css") == templates.text("page.css") == "p {}"

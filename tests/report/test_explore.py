"""The explorer of a result: as a page of its own, in a notebook's frame, and as a widget."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import deepscope as ds
from browser import browser
from deepscope.errors import FileError, MissingExtraError, UnsupportedError
from deepscope.render.explorer import document
from deepscope.render.notebook import Explorer
from deepscope.session import Session
from galleries import gallery
from html_pages import check
from networks import tiny_model

MODEL = tiny_model(size=16)
PIXELS = torch.from_numpy(np.random.default_rng(0).random((3, 3, 16, 16), np.float32))


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(cache=tmp_path / "cache", quiet=True)


def test_an_explanation_is_explored_with_a_map_for_each_class(session: Session) -> None:
    found = ds.explain(MODEL, PIXELS, method="saliency", top=2, session=session)
    made = found.explore().gallery
    with torch.no_grad():
        ranked = MODEL(PIXELS).argsort(1, descending=True)[:, :2].tolist()
    for entry, classes in zip(made.entries, ranked, strict=True):
        assert set(entry.maps) == {f"saliency of {MODEL.categories[label]}" for label in classes}
        assert entry.predicted == MODEL.categories[classes[0]]
        assert (entry.truth, entry.right) == ("", None)
        assert set(entry.values) == {"confidence"}, "no loss where nothing says what an image shows"


def test_a_comparison_is_explored_with_a_map_of_each_method(session: Session) -> None:
    found = ds.attributions.compare(MODEL, PIXELS, ["saliency", "grad-cam"], keep=2, session=session)
    made = found.explore().gallery
    assert [set(entry.maps) for entry in made.entries] == [{"saliency", "grad-cam"}] * 2


def test_an_audit_is_explored(session: Session) -> None:
    pairs = [(pixels, int(label)) for pixels, label in zip(PIXELS, (0, 1, 0))]
    found = ds.audit(MODEL, pairs, checks=["accuracy"], session=session)
    made = found.explore().gallery
    assert [entry.truth for entry in made.entries] == [MODEL.categories[label] for label in (0, 1, 0)]


def test_other_results_say_what_can_be_explored(session: Session) -> None:
    found = ds.classify(MODEL, PIXELS, session=session)
    with pytest.raises(UnsupportedError, match="Audit, Comparison, Explanations can"):
        found.explore()


def test_a_page_of_its_own_is_saved(tmp_path: Path) -> None:
    path = Explorer(gallery()).save(tmp_path / "new" / "images.html")
    check(path.read_text(encoding="utf-8"), scripts=2)
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="name another file"):
        Explorer(gallery()).save(tmp_path / "file" / "images.html")


def test_without_widgets_a_notebook_shows_a_frame_that_may_only_run_scripts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "anywidget", None)
    made = Explorer(gallery())
    with pytest.raises(MissingExtraError, match=r"deepscope\[notebook\]"):
        _ = made.widget
    shown = made._repr_mimebundle_()
    assert shown["text/plain"] == "<Explorer of 40 images>"
    assert 'sandbox="allow-scripts"' in shown["text/html"]
    file = tmp_path / "notebook.html"
    file.write_text(f"<!DOCTYPE html><title>notebook</title>{shown['text/html']}", encoding="utf-8")
    with browser() as chromium:
        page = chromium.new_page(viewport={"width": 1000, "height": 900})
        said = list[str]()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(file.as_uri())
        frame = page.frame_locator("iframe")
        frame.locator(".ex-started").wait_for()
        frame.locator(".ex-item").nth(1).click()
        assert frame.get_by_role("dialog").get_by_label("saliency").is_visible()
        assert said == []


def test_a_widget_tells_which_images_are_listed() -> None:
    pytest.importorskip("anywidget", reason="widgets: pip install 'deepscope[notebook]'")
    made = Explorer(gallery())
    widget = made.widget
    assert json.loads(widget.data) == document(made.gallery)
    assert widget is made.widget
    assert any("widget-view" in kind for kind in made._repr_mimebundle_()[0])
    with browser() as chromium:
        page = chromium.new_page()
        page.set_content("<div id='cell'></div>")
        listed = page.evaluate(
            """async ([code, data]) => {
                const source = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
                const { default: widget } = await import(source);
                const kept = { data };
                const set = (name, value) => (kept[name] = value);
                const model = { get: (name) => kept[name], set, save_changes() {} };
                widget.render({ model, el: document.getElementById("cell") });
                const before = kept.listed.length;
                const select = [...document.querySelectorAll(".ex-choice")].find(
                    (one) => one.textContent.startsWith("Outcome")).querySelector("select");
                select.value = "wrong";
                select.dispatchEvent(new Event("change"));
                return [before, kept.listed];
            }""",
            [widget._esm if isinstance(widget._esm, str) else str(widget._esm), widget.data],
        )
    assert listed == [30, [entry.file for entry in made.gallery.entries if entry.right is False]]

"""No control character of a name reaches a terminal, a progress bar, a page or a figure, and no markup acts there."""

from __future__ import annotations

import io
import re
import unicodedata
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from deepscope import render
from deepscope.errors import DeepscopeError, unknown
from deepscope.images.refusals import UnreadableImage, label
from deepscope.names import one_line, printable
from deepscope.render.plots import canvas
from deepscope.render.plots.texts import fold
from deepscope.results import (
    Animation,
    Bars,
    Column,
    Curves,
    Heatmap,
    ImageGrid,
    Note,
    Picture,
    Provenance,
    Result,
    Series,
    Table,
)
from deepscope.session import Session

_BIDI = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_PIXELS = np.zeros((2, 2, 3), np.uint8)
HOSTILE = st.text(
    st.one_of(
        st.characters(),
        st.characters(categories=["Cc", "Cs", "Zl", "Zp"]),
        st.sampled_from(sorted(_BIDI)),
        st.sampled_from("[]/\\:red"),
    )
)


def raw(text: str) -> list[str]:
    """The characters in a text that steer a terminal or turn what is read around; a newline is none of them."""
    return [c for c in text if (unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} and c != "\n") or c in _BIDI]


@given(HOSTILE)
def test_escaping_leaves_nothing_raw_changes_nothing_twice_and_keeps_the_rest(text: str) -> None:
    shown = printable(text)
    assert raw(shown) == []
    assert printable(shown) == shown
    shown.encode("utf-8")
    harmless = "".join(c for c in text if not raw(c) and ord(c) & 0xFFFE != 0xFFFE)
    assert printable(harmless) == harmless
    assert "\n" not in one_line(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;t\x07", r"\x1b]0;t\x07"),
        ("a\x9b31mb\x7f", r"a\x9b31mb\x7f"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("\udcff.jpg", r"\udcff.jpg"),
        ("a\u2028b", r"a\u2028b"),
        ("猫 😀 é", "猫 😀 é"),
    ],
)
def test_an_escape_says_which_character_it_was(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert str(DeepscopeError(text)) == shown


@given(HOSTILE)
def test_errors_are_one_clean_line(name: str) -> None:
    for error in (DeepscopeError(name), unknown("class", name, [name, "b"]), UnreadableImage(label(name), "x")):
        assert raw(str(error)) == []
        assert "\n" not in str(error)


def hostile_result(name: str) -> Result:
    """A result with a name in every place that has one."""
    line = Series(name, np.arange(2.0), np.arange(2.0))
    grid = ImageGrid(
        ((Picture(_PIXELS, name), Bars((name,), (0.5,), name), Heatmap(np.eye(2), name)),), name, name, (name,) * 3
    )
    blocks = (
        Note(name, name, "warning"),
        Table((Column(name), Column("x")), ((name, 1),), name, name),
        grid,
        Heatmap(np.eye(2), name, name, rows=(name, "b"), columns=(name, "b"), row_title=name, column_title=name),
        Curves((line,), name, name, name, name, references=((name, 0.5),)),
        Animation(np.zeros((2, 4, 4, 3), np.uint8), name, name, captions=(name, name)),
    )
    about = Provenance(command=name, models={name: name}, data=name, device=name, precision=name)
    return Result(name, {"model": name, name: [name]}, {f"accuracy/{name}": 0.5}, blocks, provenance=about)


@given(HOSTILE)
@settings(max_examples=40)
def test_nothing_raw_is_printed(name: str) -> None:
    for width in (40, 120):
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=True, color_system=None, width=width, legacy_windows=False)
        render.show(hostile_result(name), console)
        assert raw(screen.getvalue()) == []


@given(HOSTILE)
@settings(max_examples=6)
def test_nothing_raw_stands_on_a_page_or_in_a_figure(name: str) -> None:
    drawn: list[str] = []
    text = canvas.Canvas.text

    def listen(self: canvas.Canvas, x: float, y: float, words: str, **style: object) -> None:
        drawn.append(words)
        text(self, x, y, words, **style)  # pyright: ignore[reportArgumentType]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canvas.Canvas, "text", listen)
        page = render.page([hostile_result(name)], name)
    assert raw(page) == []
    assert raw("".join(drawn)) == []


@given(HOSTILE)
@settings(max_examples=30)
def test_notes_and_progress_are_clean(name: str) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", screen)
        patch.setattr("time.monotonic", iter(range(10**9)).__next__)  # the bar shows from two seconds on
        patch.setenv("TERM", "xterm")
        Session().note(name)
        with replace(Session(), part=name).progress(name, total=9) as advance:
            for _ in range(4):
                advance(1, name)
    ours = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", screen.getvalue())  # what the bar itself sends
    assert raw(ours) == []


def test_markup_in_names_is_read_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    name = "[red]a[/] [link=file:///x]b[/link] :warning:"
    Session().note(name)
    assert capsys.readouterr().err == name + "\n"
    screen = io.StringIO()
    render.show(hostile_result(name), Console(file=screen, force_terminal=True, width=300, legacy_windows=False))
    assert screen.getvalue().count(name) > 8
    assert "file:///x\x1b" not in screen.getvalue()
    assert "\x1b]8;" not in screen.getvalue()


def test_a_newline_in_a_cell_makes_no_row_and_stays_visible() -> None:
    forged = Table((Column("a\nb"), Column("p")), (("n\new      9", 1), ("n ew", 2)))
    console = Console(file=io.StringIO(), width=80)
    render.show(Result("t", blocks=(forged,)), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    page = render.fragment(Result("t", blocks=(forged,)))
    for shown in (text, page):
        assert "n\\new" in shown
        assert "n ew" in shown
        assert "a\\nb" in shown
    assert fold("n\new", 500) == "n\\new"

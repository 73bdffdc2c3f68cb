"""Errors are one line, and near misses are offered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepscope.errors import DeepscopeError, nearest, unknown

BIRDS = ["bee eater", "hornbill", "toucan", "Indigo_Bunting", "goldfinch"]


@given(st.text())
def test_a_message_is_one_line(text: str) -> None:
    assert len(str(DeepscopeError(text)).splitlines()) <= 1


def test_a_message_keeps_its_words() -> None:
    assert str(DeepscopeError("cat.jpg is empty:\n  give   another")) == "cat.jpg is empty: give another"


def test_case_hyphens_and_underscores_do_not_count() -> None:
    for text in ("BEE_EATER", "bee-eater", " bee eater "):
        assert nearest(text, BIRDS)[0] == "bee eater"
    assert nearest("indigo bunting", BIRDS)[0] == "Indigo_Bunting"  # as the option itself is written


def test_misspelt_and_partial_names_are_found() -> None:
    assert nearest("hornbil", BIRDS) == ["hornbill"]
    assert "goldfinch" in nearest("finch", BIRDS)
    assert nearest("d", BIRDS) == nearest("fi", BIRDS) == []  # half the list contains them
    assert nearest("zzz", BIRDS) == []
    assert nearest("", BIRDS) == []
    assert nearest("toucan", []) == []


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("unet", ["alexnet", "resnet50", "vgg16"]),
        ("spatial", ["patch", "pgd"]),
        ("train", ["gan", "explain", "attack"]),
    ],
)
def test_names_that_are_far_are_not_suggested(text: str, options: list[str]) -> None:
    assert nearest(text, options) == []
    assert str(unknown("model", text, options)).endswith(f": choose from {', '.join(options)}")
    assert str(unknown("model", text, options, listing="`x`")) == f"no model is named {text!r}: `x` lists them all"


@given(st.text(), st.lists(st.text(), max_size=20), st.integers(1, 5))
def test_nearest_gives_some_of_the_options_once(text: str, options: list[str], most: int) -> None:
    found = nearest(text, options, most=most)
    assert len(found) <= most
    assert len(set(found)) == len(found)
    assert set(found) <= set(options)


def test_unknown_says_the_kind_the_name_the_nearest_and_the_listing() -> None:
    message = str(unknown("class", "hornbil", BIRDS, listing="`deepscope models classes m`"))
    assert message == (
        "no class is named 'hornbil': did you mean 'hornbill'? `deepscope models classes m` lists them all"
    )
    assert str(unknown("class", "zzz", BIRDS)) == f"no class is named 'zzz': choose from {', '.join(BIRDS)}"

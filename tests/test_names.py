from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepscope.errors import nearest
from deepscope.names import Names, counted, distinct, plain, short

SPELLINGS = st.sampled_from(["Dog", "dog", "DOG", "type-1", "type_1", "type 1", "caf\u00e9", "cafe\u0301", "CAF\u00c9"])


def test_a_name_as_it_is_written_comes_first() -> None:
    names = Names(["Cardigan", "cardigan", "type-1", "type_1"])
    assert [names.places(text) for text in ("Cardigan", "cardigan", "type-1", "type_1")] == [[0], [1], [2], [3]]
    assert names.places("CARDIGAN") == [0, 1]
    assert names.places("Type 1") == [2, 3]
    assert names.places("sweater") == []


def test_unicode_composition_is_told_from_case() -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    assert Names([composed]).places(apart) == [0]
    assert Names([composed, apart]).places(apart) == [1]
    assert Names([composed.upper(), composed]).places(apart) == [1]
    assert Names(["\ufb01sh"]).places("fish") == [0]  # a ligature


def test_a_path_is_shortened_and_a_name_is_not() -> None:
    names = ["/tmp/models/mine", "models/mine.pt", "mine", "hf:google/vit-base", "timm:resnet18", "/"]
    assert [short(name) for name in names] == ["mine", "mine.pt", "mine", "hf:google/vit-base", "timm:resnet18", "/"]


def test_the_current_folder_is_called_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "holiday" / "test").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "holiday")
    assert [short(name) for name in (".", "./", "test/..", "..")] == ["holiday"] * 3 + [tmp_path.name]


def test_two_names_never_share_a_place() -> None:
    assert Names(["type-1"]).paired(["type_1", "type-1"]) == {"type_1": None, "type-1": 0}
    assert Names(["Dog"]).paired(["dog", "DOG"]) == {"dog": None, "DOG": None}
    assert Names(["crane", "crane"]).paired(["crane"]) == {"crane": None}
    assert Names(["bee eater"]).paired(["Bee_eater"]) == {"Bee_eater": 0}


@given(st.lists(SPELLINGS, unique=True), st.lists(SPELLINGS, unique=True))
def test_pairing_is_one_to_one_and_prefers_the_same_spelling(names: list[str], known: list[str]) -> None:
    found = Names(known).paired(names)
    places = [place for place in found.values() if place is not None]
    assert list(found) == names
    assert len(places) == len(set(places))
    for name, place in found.items():
        if name in known:
            assert place == known.index(name)
        elif place is not None:
            assert plain(known[place]) == plain(name)


@given(st.text(max_size=12))
def test_a_name_is_found_in_any_composition(text: str) -> None:
    for form in ("NFC", "NFD"):
        assert Names([text]).places(unicodedata.normalize(form, text)) == [0]


def test_suggestions_name_every_spelling() -> None:
    assert nearest("cardigans", ["Cardigan", "cardigan"]) == ["Cardigan", "cardigan"]


def test_names_that_repeat_are_numbered() -> None:
    assert distinct(["vgg16", "alexnet"]) == ["vgg16", "alexnet"]
    assert distinct(["vgg16", "vgg16 (2)", "vgg16", "vgg16"]) == ["vgg16", "vgg16 (2)", "vgg16 (3)", "vgg16 (4)"]


def test_nouns_follow_their_number() -> None:
    assert [counted(number, "held-out image") for number in (0, 1, 2)] == [
        "0 held-out images",
        "1 held-out image",
        "2 held-out images",
    ]

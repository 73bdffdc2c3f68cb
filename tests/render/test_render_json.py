from __future__ import annotations

import json
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import TypeAliasType

from deepscope.errors import DeepscopeError
from deepscope.render.json import _decode, decode, dumps, encode
from deepscope.results import Column, Note, Result, Table
from results_strategies import EVERYTHING, plain, results, same

Scalar = TypeVar("Scalar", bound=np.generic)
Arrays = TypeAliasType("Arrays", np.ndarray[Any, np.dtype[Scalar]], type_params=(Scalar,))
"""As NumPy 2.5 defines NDArray."""


def _no_constant(name: str) -> Any:
    raise AssertionError(f"{name} is not strict JSON")


@given(results)
@settings(max_examples=150, deadline=None)
def test_any_result_comes_back_to_the_bit_and_its_json_is_strict(result: Result) -> None:
    document, arrays = encode(result)
    text = dumps(result)
    assert text.isascii()
    read = json.loads(text, parse_constant=_no_constant)
    assert read == document
    assert same(decode(read, arrays), result)
    assert dumps(decode(read, arrays)) == text


def test_arrays_are_references_that_say_what_they_are() -> None:
    document, arrays = encode(Result("r", arrays={"a/b c": np.zeros((2, 3), np.float32)}))
    assert document["arrays"]["a/b c"] == {"array": "arrays/a%2Fb%20c", "shape": [2, 3], "dtype": "<f4"}
    assert arrays["arrays/a%2Fb%20c"].shape == (2, 3)


def test_what_is_not_a_number_is_told_from_texts_that_read_like_it() -> None:
    row = (float("nan"), "NaN", "\\NaN", float("-inf"), "-Infinity")
    document, arrays = encode(Result("r", blocks=(Table(tuple(Column("c") for _ in row), (row,)),)))
    assert document["blocks"][0]["rows"][0] == ["NaN", "\\NaN", "\\\\NaN", "-Infinity", "\\-Infinity"]
    block = decode(document, arrays).blocks[0]
    assert isinstance(block, Table)
    assert same(block.rows[0], row)


def test_settings_that_json_lacks_become_plain() -> None:
    document, arrays = encode(Result("r", config={"sizes": (1, 2), "share": np.float32(0.5), "kind": Note}))
    assert decode(document, arrays).config["sizes"] == [1, 2]
    assert decode(document, arrays).config["share"] == 0.5
    assert "Note" in decode(document, arrays).config["kind"]


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_document_damaged_anywhere_is_refused_or_read_never_crashes(data: st.DataObject) -> None:
    document, arrays = encode(EVERYTHING)
    document = json.loads(json.dumps(document))
    node: Any = document
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(node[key], (dict, list)) or not node[key] or data.draw(st.booleans()):
            break
        node = node[key]
    if data.draw(st.booleans()):
        node[key] = data.draw(plain)
    else:
        del node[key]
    try:
        assert isinstance(decode(document, arrays), Result)
    except DeepscopeError as error:
        assert "deepscope result" in str(error)


@pytest.mark.parametrize("document", [None, [], 3, {}, {"type": "Note"}, {"type": "Result", "title": 3}])
def test_what_is_no_result_is_refused(document: Any) -> None:
    with pytest.raises(DeepscopeError, match="deepscope result"):
        decode(document, {})


def test_a_deeply_nested_document_is_refused() -> None:
    nested: list[Any] = []
    for _ in range(50_000):
        nested = [nested]
    with pytest.raises(DeepscopeError, match="nested too deeply"):
        decode({"type": "Result", "title": "t", "config": {"a": nested}}, {})
    while nested:  # taken apart here: the interpreter would free it recursively
        nested = nested.pop()


def test_an_alias_of_a_type_is_read_as_the_type() -> None:
    given = {"array": "a", "shape": [2], "dtype": "<f4"}
    found = _decode(given, Arrays[np.float32] | None, "", {"a": np.ones(2, "<f4")})
    np.testing.assert_array_equal(found, np.ones(2))

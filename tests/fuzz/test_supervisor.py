"""The fuzz job finds what it is there to find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fuzz.faulty import FAULTS
from fuzz.mutations import damaged, json_text, lied
from fuzz.supervisor import Command
from fuzz.target import same


@pytest.mark.parametrize("name", FAULTS)
def test_each_kind_of_fault_is_found(name: str, ask: Callable[[Command], dict[str, Any]], tmp_path: Path) -> None:
    answer = ask(Command(f"faulty-{name}", 3, 2, 60, str(tmp_path), patience=0.3))
    wanted = FAULTS[name][1]
    assert answer["tried"] == 2
    assert [found["seed"] for found in answer["findings"]] == ([3, 4] if wanted else [])
    assert all(found["what"].startswith(wanted) for found in answer["findings"]), answer
    if wanted:
        assert (tmp_path / f"faulty-{name}-3" / "file").read_bytes() == b"wrong"


def test_the_same_seed_does_the_same() -> None:
    content, document = bytes(range(256)) * 4, {"a": [1, "b", {"c": None}], "d": 0.5}
    many = [damaged(Random(seed), content) for seed in range(200)]
    assert many == [damaged(Random(seed), content) for seed in range(200)]
    assert len(set(many)) > 150
    texts = [json_text(lied(Random(seed), document)) for seed in range(200)]
    assert texts == [json_text(lied(Random(seed), document)) for seed in range(200)]
    assert len(set(texts)) > 100
    assert document == {"a": [1, "b", {"c": None}], "d": 0.5}


def test_answers_are_compared_to_the_last_bit() -> None:
    import numpy as np

    assert same({"a": [np.arange(3), float("nan"), (1, "x")]}, {"a": [np.arange(3), float("nan"), (1, "x")]})
    assert not same(0.0, 0)
    assert not same(np.zeros(2), -np.zeros(2))
    assert not same(np.zeros(2), np.zeros((2, 1)))
    assert not same({"a": 1}, {"a": 1, "b": 2})

"""Names of classes that training programs keep beside the weights."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torchvision

from deepscope.models import load_model
from deepscope.models.stored_names import stored_names
from deepscope.session import Session

NAMES = ("cat", "dog", "newt")


@pytest.mark.parametrize(
    "content",
    [
        {"class_to_idx": {"newt": 2, "cat": 0, "dog": 1}},
        {"idx_to_class": {2: "newt", 0: "cat", 1: "dog"}},
        {"state_dict": {}, "class_names": list(NAMES)},
        {"meta": {"CLASSES": NAMES}},
        {"meta": {"dataset_meta": {"classes": NAMES}}},
        {"classes": 3, "hyper_parameters": OrderedDict(classes=list(NAMES), lr=0.1)},
    ],
)
def test_names_are_found_in_the_order_of_the_scores(content: object) -> None:
    assert stored_names(content) == NAMES


@pytest.mark.parametrize(
    "content",
    [
        torch.zeros(3),
        {},
        {"classes": "cat"},
        {"classes": ["cat"]},
        {"classes": ["cat", "cat"]},
        {"classes": ["cat", 3]},
        {"classes": ["cat", "  "]},
        {"classes": ["cat", "x" * 501]},
        {"class_to_idx": {"cat": 1, "dog": 2}},
        {"class_to_idx": {"cat": 0, "dog": 0}},
        {"class_to_idx": {"cat": False, "dog": True}},
        {"class_to_idx": {}},
        {"meta": {"meta": {"meta": {"classes": NAMES}}}},
    ],
)
def test_what_names_no_class_of_each_number_is_left_out(content: object) -> None:
    assert stored_names(content) == ()


def test_a_checkpoint_with_names_needs_no_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with torch.random.fork_rng():
        network = torchvision.models.squeezenet1_1(num_classes=3)
    named = {"model_state_dict": network.state_dict(), "class_to_idx": {"newt": 2, "cat": 0, "dog": 1}}
    torch.save(named, tmp_path / "named.pt")
    torch.save({**named, "class_to_idx": {"cat": 0, "dog": 1}}, tmp_path / "other.pt")
    session = Session(cache=tmp_path / "cache")
    model = load_model(tmp_path / "named.pt", session=session)
    assert model.categories == NAMES and model.origin.classes == ""
    assert "no names" not in capsys.readouterr().err
    given = load_model(tmp_path / "named.pt", session=session, categories=["a", "b", "c"])
    assert given.categories == ("a", "b", "c")
    other = load_model(tmp_path / "other.pt", session=session)  # of another number of classes
    assert other.categories == ("class 0", "class 1", "class 2")
    assert "no names" in capsys.readouterr().err

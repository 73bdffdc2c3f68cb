"""Models, classes and datasets as lists that show themselves like any other data."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepscope.data.listing import list_datasets
from deepscope.errors import ModelError
from deepscope.models.listing import list_classes, list_models
from deepscope.results import Note, Table
from deepscope.session import Session
from networks import tiny_model


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(home=tmp_path, quiet=True)


def test_architectures_of_timm_are_counted_and_left_out_unless_asked_for(session: Session) -> None:
    few, every = list_models("*resnet18*", session=session), list_models("*resnet18*", all=True, session=session)
    assert {name.partition(":")[0] for name in few.columns()["model"]} == {"torchvision"}
    assert few.left_out == len(every) - len(few) > 0 and every.left_out == 0
    assert few.result().metrics["models"] == every.result().metrics["models"] == len(every)
    note = few.result().blocks[-1]
    assert isinstance(note, Note) and "`deepscope models 'timm:*'`" in note.text
    assert set(list_models("timm:resnet18*", session=session).columns()["model"]) < set(every.columns()["model"])


def test_nothing_that_matches_is_refused(session: Session) -> None:
    with pytest.raises(ModelError, match="`deepscope models` lists them all"):
        list_models("no-such-*", session=session)


def test_classes_are_numbered_as_the_outputs(session: Session) -> None:
    model = tiny_model()
    found = list_classes(model, session=session)
    assert found.columns()["name"] == model.categories and len(found) == len(model.categories)
    table = found.result().blocks[0]
    assert isinstance(table, Table)
    assert table.rows[1] == (1, model.categories[1], "")


def test_datasets_say_what_is_installed(session: Session) -> None:
    here = dict(zip(list_datasets(session).columns()["dataset"], list_datasets(session).columns()["here"]))
    assert here["mnist-extract"] and not here["mnist"]
    (session.home / "data" / "bsds500").mkdir(parents=True)
    assert dict(zip(*(list_datasets(session).columns()[name] for name in ("dataset", "here"))))["bsds500"]

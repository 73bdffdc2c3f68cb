"""Failing slices and copies among the images of the explorer, and what their sections link to."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import deepscope
from deepscope.checks import held_out
from deepscope.checks.accuracy import Accuracy
from deepscope.checks.image_map import ImageMap
from deepscope.checks.leaks import Leaks
from deepscope.checks.slices import Slices
from deepscope.gallery import Entry, Gallery
from deepscope.report.explorer import explored, selections
from deepscope.report.keeping import Outcome
from deepscope.session import Session
from deepscope.shortcuts import slices
from networks import tiny_model
from painted import CLASSES, paint_folder
from planted import CLASSES as INSECTS
from planted import folder

MODEL = dataclasses.replace(tiny_model(classes=5, size=32, seed=140), categories=(*CLASSES, "cat", "dog"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A training image is among the test images too, and another one, a little smaller, in another class."""
    root = paint_folder(tmp_path / "pictures", train=3, test=2)
    (root / "test" / "plain" / "copied.png").write_bytes((root / "train" / "plain" / "1.png").read_bytes())
    return root


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True)


def _named(gallery: Gallery, places: tuple[int, ...]) -> list[Entry]:
    return [gallery.entries[place] for place in places]


def test_leaks_are_the_images_that_were_evaluated(
    data: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "load_model", lambda name, session: MODEL)
    checks = [Accuracy(str(data)), Leaks(str(data))]
    outcomes = [Outcome(check, check.run(session)) for check in checks]
    found = explored(outcomes)
    assert found is not None
    assert selections(outcomes[0], found) == ([], [])
    (leak,), (pair,) = selections(outcomes[1], found)
    assert leak.title == "leak" and leak.places == tuple(sorted(pair.places))
    copied, original = sorted(_named(found, pair.places), key=lambda entry: entry.split)
    assert (copied.split, original.split) == ("test", "train")
    assert copied.file == str(data / "test" / "plain" / "copied.png") and copied.predicted
    assert original.file == str(data / "train" / "plain" / "1.png") and len(original.picture)
    assert "in the other split" in copied.flags["leak"] and "train/plain/1.png (the same file)" in copied.flags["leak"]


@pytest.mark.parametrize("form", ["pictures", "tensors"])
def test_leaks_of_images_from_memory(data: Path, session: Session, form: str) -> None:
    def pairs(part: str) -> list[tuple[Any, str]]:
        paths = sorted((data / part).rglob("*.png"))
        if form == "tensors":
            return [(MODEL.preprocessing(path), path.parent.name) for path in paths]
        return [(Image.open(path).convert("RGB"), path.parent.name) for path in paths]

    ran = ["accuracy", "leaks", "image-map"]
    audit = deepscope.audit(MODEL, pairs("test"), train=pairs("train"), checks=ran, session=session)
    found = explored(audit.outcomes)
    assert found is not None
    (outcome,) = (one for one in audit.outcomes if isinstance(one.section, Leaks))
    flagged, (pair,) = selections(outcome, found)
    assert [one.title for one in flagged] == ["leak"]
    entries = _named(found, pair.places)
    assert {entry.split for entry in entries} == {"test", "train"}
    assert [bool(entry.predicted) for entry in entries] == [True, False]
    assert all(entry.place for entry in entries), "the same images as on the map"
    assert len(found) == 16, "seven are evaluated, nine were trained on"
    (where,) = (one for one in audit.outcomes if isinstance(one.section, ImageMap))
    assert selections(where, found) == ([], [])
    places = " ".join(str(place) for place in pair.places)
    assert f'<a href="#images" data-images="{places}"' in audit.page()


def test_a_slice_holds_the_images_of_both_halves(
    tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = dataclasses.replace(tiny_model(classes=3, size=32), categories=INSECTS)
    monkeypatch.setattr(held_out, "load_model", lambda name, session: model)
    monkeypatch.setattr(slices, "LEVEL", 1.0)  # every slice that was tested is taken for confirmed
    data = str(folder(tmp_path / "data", 0, "dark", each=40))
    checks = [Accuracy(data), Slices(data)]
    outcomes = [Outcome(check, check.run(session)) for check in checks]
    result = outcomes[1].result
    found = explored(outcomes)
    assert found is not None and len(found) == 120
    flagged, pairs = selections(outcomes[1], found)
    assert pairs == [] and len(flagged) == result.metrics["slices/confirmed"] > 0
    half = result.arrays["first"]
    files = [entry.file for entry in found.entries]
    assert len(half) == 120
    for one in flagged:
        entries = _named(found, one.places)
        confirming = [bool(half[files.index(entry.file)]) for entry in entries]
        said = ["found the slice" in entry.flags[one.title] for entry in entries]
        assert said == confirming and {True, False} == set(said)
        assert all(entry.predicted for entry in entries)

"""The check of labels in parts says what the one in memory says, whatever the parts, also of more than its sample."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepscope.checks.given_data import GivenData
from deepscope.checks.labels import Labels
from deepscope.errors import DataError, UnknownNameError
from deepscope.results import Result, Table
from deepscope.session import Session
from deepscope.transfer import confident_learning as ours
from deepscope.transfer.heads import Head, Streamed, folds_of, streamed
from networks import tiny_model
from painted import paint_folder


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(quiet=True, cache=tmp_path / "cache")


@pytest.fixture
def data(tmp_path: Path) -> str:
    folder = paint_folder(tmp_path / "data", train=12, test=4)
    (folder / "train" / "stripes" / "3.png").rename(folder / "train" / "plain" / "moved.png")
    (folder / "train" / "plain" / "5.png").write_bytes(b"no image")
    (folder / "train" / "once").mkdir()
    (folder / "test" / "once").mkdir()
    (folder / "test" / "dots" / "0.png").rename(folder / "test" / "once" / "0.png")
    (folder / "train" / "once" / "0.png").write_bytes(b"no image")
    (folder / "train" / "once" / "1.png").write_bytes(b"no image")
    return str(folder)


def ran(session: Session, data: str, out: Path, size: int | None, **settings: object) -> Result:
    parts = {"shard_size": size} if size else {}
    session = replace(session, out=out, models={"tiny": tiny_model()})
    return Labels(data, model="tiny", parts=parts, **settings).run(session)  # type: ignore[arg-type]


@pytest.mark.parametrize("head", ["logistic-regression", "ridge"])
def test_parts_give_the_figures_of_the_check_in_memory(head: str, data: str, tmp_path: Path, session: Session) -> None:
    plain = ran(session, data, tmp_path / "plain", None, head=head)
    first, other = (ran(session, data, tmp_path / str(size), size, head=head) for size in (5, 100))
    assert first.metrics["images"] == 46
    assert first.metrics["parts"] == 10
    assert {name: first.metrics[name] for name in plain.metrics} == pytest.approx(dict(plain.metrics), abs=1e-4)
    np.testing.assert_array_equal(first.arrays["suspects"], plain.arrays["suspects"])
    own = plain.arrays["probabilities"][np.arange(46), plain.arrays["labels"]]
    np.testing.assert_allclose(first.arrays["confidence"], own, atol=1e-4)
    for name, values in first.arrays.items():
        assert values.tobytes() == other.arrays[name].tobytes()
    own, wanted = (
        [
            row[:3]
            for block in one.blocks
            if isinstance(block, Table) and block.title == "Suspect labels"
            for row in block.rows
        ]
        for one in (first, plain)
    )
    assert own == wanted
    assert own
    assert any("once" in getattr(block, "text", "") for block in first.blocks)


def test_with_more_images_than_the_sample_ridge_still_leaves_out_each_one(
    data: str, tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = ran(session, data, tmp_path / "plain", None, head="ridge")
    monkeypatch.setattr(streamed, "_SAMPLE", 20)
    monkeypatch.setattr(streamed, "_EACH", 2)
    found = ran(session, data, tmp_path / "out", 7, head="ridge")
    np.testing.assert_array_equal(found.arrays["predicted"], plain.arrays["probabilities"].argmax(1))
    assert found.metrics["accuracy"] == plain.metrics["accuracy"]


def test_other_heads_classify_images_beyond_the_sample_by_the_fit_to_it() -> None:
    """Against a fit of the sample alone: nothing of an image beyond it is in its own scores."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    features = torch.nn.functional.normalize(torch.randn(60, 5, generator=rng) + torch.eye(5)[labels])
    sample = torch.arange(0, 60, 2)
    head, folds = Head.named("logistic-regression"), folds_of(labels[sample], seed=0)
    assert folds is not None
    left = head.left_out(Streamed(labels, lambda: iter(features.split(7)), sample), folds)
    scores = torch.cat([found for _, found in left.blocks()])
    plain = head.fit(features[sample], labels[sample], folds)
    assert plain.out_of_fold is not None
    assert torch.equal(scores[sample], plain.out_of_fold)
    beyond = torch.arange(1, 60, 2)
    assert torch.allclose(scores[beyond], plain.scores(features[beyond]), atol=1e-6)


@given(st.integers(0, 2**31), st.integers(8, 60), st.integers(2, 6), st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_joint_and_suspects_do_not_depend_on_the_blocks(seed: int, images: int, classes: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(classes, size=images - classes)])
    scores = np.exp(rng.integers(4, size=(images, classes)) + 1.0 * np.eye(classes)[labels])  # with ties
    probabilities = scores / scores.sum(1, keepdims=True)
    blocks = [(slice(at, min(at + size, images)), probabilities[at : at + size]) for at in range(0, images, size)]
    joint = ours.joint_of(blocks, labels, ours.thresholds(probabilities, labels))
    np.testing.assert_array_equal(joint, ours.joint(probabilities, labels))
    np.testing.assert_array_equal(ours.suspects_of(blocks, labels, joint), ours.suspects(probabilities, labels))


def test_data_that_the_caller_holds_and_unknown_heads_are_refused(data: str, tmp_path: Path, session: Session) -> None:
    held = GivenData.of(data, None, session)
    with pytest.raises(DataError, match="needs images in files"):
        ran(replace(session, data={"held": held}), "held", tmp_path / "out", 5)
    with pytest.raises(UnknownNameError, match="no head is named 'nonsense'"):
        ran(session, data, tmp_path / "out", 5, head="nonsense")
    assert not list((tmp_path / "out").glob("parts/part-*"))

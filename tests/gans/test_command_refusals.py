"""What `deepscope gan` refuses, and what a training that fails, is killed or is damaged leaves behind."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from deepscope import render
from deepscope.command import NotKept
from deepscope.commands.gan_train import GanTrain
from deepscope.errors import DeepscopeError
from deepscope.gans import load, save
from deepscope.gans.quality import load_evaluator
from deepscope.models import stored
from deepscope.results import Animation, ImageGrid, Picture, Result
from gan_commands import TRAIN, changed, photographs, session
from kills import every_kill

pytestmark = pytest.mark.usefixtures("few_digits")


Refusal = Callable[[Path], GanTrain]
REFUSED: list[tuple[Refusal, str]] = [
    (lambda _: changed(batch_size=81), "batch_size must be at most 80: mnist-extract has 80 training images"),
    (lambda _: changed(discriminator_steps=5), "a step needs 5 batches"),
    (
        lambda path: changed(data=str(photographs(path, ("only",)) / "only"), conditional=True, batch_size=4),
        "no classes",
    ),
    (lambda path: changed(data=str(photographs(path, ("only",))), conditional=True, batch_size=4), "no classes"),
    (
        lambda path: changed(data=str(photographs(path, ("only",), count=2)), batch_size=2),
        "photos has 1 training image, and a step needs at least 2",
    ),
    (lambda _: changed(side=64), "side must be 32 for digits"),
    (lambda _: changed(side=48), "side must be 16, 32, 64, 128 or 256"),
    (lambda _: changed(epochs=0), "epochs 0 is out of range"),
    (lambda _: changed(clusters=2, conditional=True), "clusters needs at least 20 .* each class, and 0 has 8"),
    (lambda _: changed(stack=40, conditional=True), "stack cannot be combined with conditional"),
    (lambda _: changed(clusters=9), "clusters must be from 2 to 8"),
    (lambda _: changed(hold_out=60), "hold_out must be from 2 to half"),
    (lambda _: changed(r1=1.0), "normalisation must be none, layer or spectral: r1 needs"),
    (lambda _: changed(generator_steps=0, discriminator_steps=0), "at least 1 where generator_steps is 0"),
    (lambda _: changed(batch_size=21, packing=2), "batch_size must be a multiple of packing, 2"),
    (lambda _: changed(r1_regularised=True, rate=1e-3), "r1_regularised sets rate itself"),
    (lambda _: changed(r1_regularised=True, normalisation="layer"), "r1_regularised sets normalisation itself"),
    (lambda _: changed(data="mnist"), "mnist is not available"),
]


@pytest.mark.parametrize(("command", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_cannot_be_trained_says_so(tmp_path: Path, command: Refusal, words: str) -> None:
    with pytest.raises(DeepscopeError, match=words):
        command(tmp_path / "photos").run(session(tmp_path / "out"))


def test_an_r1_regularised_training_is_the_one_of_its_settings(tmp_path: Path) -> None:
    changed(r1_regularised=True, conditional=True).run(session(tmp_path / "word"))
    spelt = changed(normalisation="none", label_in_discriminator="projected", rate=2e-3, beta1=0.0, beta2=0.99)
    changed(spelt, conditional=True, r1=10.0, r1_last=0.05).run(session(tmp_path / "spelt"))
    weights = [(tmp_path / name / "generator.safetensors").read_bytes() for name in ("word", "spelt")]
    assert weights[0] == weights[1]
    assert load(tmp_path / "word").architecture.normalisation == "none"


def test_another_architecture_is_not_continued(runs: Path) -> None:
    with pytest.raises(DeepscopeError, match=r"another training .*width 2, now 3"):
        changed(width=3).run(session(runs / "plain"))
    with pytest.raises(DeepscopeError, match="out must name a folder"):
        TRAIN.run(session())


def test_a_full_disk_keeps_the_last_good_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = TRAIN.run(session(tmp_path))
    before = (tmp_path / "generator.safetensors").read_bytes()

    def full(*_: object) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stored.safetensors.torch, "save", full)
    with pytest.raises(NotKept, match="free some space and run again") as caught:
        TRAIN.run(session(tmp_path))
    assert caught.value.result.metrics == whole.metrics
    assert (tmp_path / "generator.safetensors").read_bytes() == before
    assert load(tmp_path).generator.latent == 4
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"version": 99}, "newer deepscope"),
        ({"channels": 3}, "does not describe its weights"),
        ({"architecture": {"width": 10**9}}, "does not describe its weights"),
        ({"weights_sha256": "0"}, "not the file that was saved"),
        ({"classes": None}, "does not describe"),
        ({"shares": [0.5, -0.5]}, "a share is -0.5"),
        ({"shares": [1e-46, 0.0]}, "shares are not those"),
        ({"classes": ["a", "a"]}, "two classes have one name"),
        ({"classes": "ab"}, "not a list"),
        ({"held_out": -5}, "held_out is -5"),
        ({"held_out": 1.5}, "held_out is a number|held_out is .*not a whole number"),
        ({"channels": float("inf")}, "channels is"),
        ({"learnt": "many"}, "learnt is"),
        ({"data": None}, "data is null, not a string"),
        ({"stacked": "no"}, "stacked is str, not true or false"),
        ({"listing": 5}, "listing is int, not a string"),
    ],
)
def test_a_run_from_outside_is_not_believed(runs: Path, tmp_path: Path, changed: dict[str, object], words: str) -> None:
    about = json.loads((runs / "plain" / "generator.json").read_text())
    (tmp_path / "generator.safetensors").write_bytes((runs / "plain" / "generator.safetensors").read_bytes())
    (tmp_path / "generator.json").write_text(json.dumps({**about, **changed}).replace("Infinity", "1e999"))
    with pytest.raises(DeepscopeError, match=words):
        load(tmp_path)


def test_an_evaluator_of_other_images_is_refused(runs: Path, tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", ("red", "green"))
    with pytest.raises(DeepscopeError, match="recognises other images"):
        changed(data=str(folder), batch_size=4, evaluator=runs / "evaluator").run(session(tmp_path / "out"))
    evaluator = load_evaluator(runs / "evaluator")
    assert evaluator.recognise(torch.zeros(2, 1, 32, 32, dtype=torch.uint8)).shape == (2,)
    assert not torch.equal(evaluator.measure.output.weight, evaluator.verdict.output.weight)


def test_a_new_training_in_an_old_folder_shows_its_own_samples(tmp_path: Path) -> None:
    changed(epochs=3).run(session(tmp_path))
    mine = tmp_path / "sheets" / "mine.png"
    mine.touch()
    (tmp_path / "checkpoint.pt").unlink()
    result = changed(epochs=1).run(replace(session(tmp_path), seed=1))
    grid = next(block for block in result.blocks if isinstance(block, ImageGrid))
    cell = grid.rows[0][0]
    assert isinstance(cell, Picture) and cell.caption == "step 4"
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == ["00000004.png", "mine.png"]
    assert [row["step"] for row in map(json.loads, (tmp_path / "history.jsonl").read_text().splitlines())] == [4]


def test_a_damaged_sheet_costs_only_its_frame(tmp_path: Path) -> None:
    changed(epochs=2).run(session(tmp_path))
    (tmp_path / "sheets" / "00000004.png").write_bytes(b"no image")
    result = changed(epochs=2).run(session(tmp_path))
    animation = next(block for block in result.blocks if isinstance(block, Animation))
    assert animation.captions == ("step 8",)


def test_a_save_that_is_killed_leaves_the_old_generator_or_the_new_one(runs: Path, tmp_path: Path) -> None:
    old, new = load(runs / "plain"), load(runs / "conditional")
    seen = []

    def begin() -> None:
        save(tmp_path, old)
        render.save(Result("the old training"), tmp_path)

    def look() -> None:
        gan = load(tmp_path)
        expected = new if gan.classes else old
        for key, value in expected.generator.state_dict().items():
            assert torch.equal(gan.generator.state_dict()[key], value)
        assert not ((tmp_path / "result.json").exists() and gan.classes), "the record of another training"
        seen.append(gan.classes)

    every_kill(lambda: save(tmp_path, new), begin, look)
    assert set(seen) == {(), new.classes} and seen[-1] == new.classes
    assert {path.name for path in tmp_path.iterdir()} == {"generator.json", "generator.safetensors"}

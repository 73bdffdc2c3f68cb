"""The commands, on a handful of digits and on painted photographs; trainings of a few steps."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from deepscope import render
from deepscope.command import NotKept
from deepscope.commands.gan_evaluate import GanEvaluate
from deepscope.commands.gan_evaluator import GanEvaluator
from deepscope.commands.gan_grid import GanGrid
from deepscope.commands.gan_interpolate import GanInterpolate
from deepscope.commands.gan_sample import GanSample
from deepscope.commands.gan_train import GanTrain
from deepscope.data import Digits, DigitSplit
from deepscope.data.mnist import MnistExtract
from deepscope.errors import DeepscopeError
from deepscope.gans import evaluation, fitting, load, load_pictures, save, stacked
from deepscope.gans.evaluation import material
from deepscope.gans.quality import load_evaluator
from deepscope.models import stored
from deepscope.results import Animation, ImageGrid, Note, Picture, Result
from deepscope.session import Session
from deepscope.settings import overridden
from kills import every_kill

TRAIN = GanTrain("mnist-extract", architecture={"width": 2, "latent": 4}, recipe={"epochs": 2, "batch_size": 20})


def changed(command: GanTrain = TRAIN, **flags: Any) -> GanTrain:
    """The command with other flags, whatever they are flags of."""
    for field, kind in overridden(GanTrain).items():
        names = {one.name for one in fields(kind)} & flags.keys()
        nested = {name: flags.pop(name) for name in names - {"objective"}}
        command = replace(command, **{field: {**getattr(command, field), **nested}})
    return replace(command, **flags)


@pytest.fixture(scope="module", autouse=True)
def _few_digits() -> object:
    """80 training and 40 test digits, each class equally often."""
    whole = MnistExtract.load(Path())

    def few(digits: Digits, count: int) -> Digits:
        rows = np.concatenate([np.flatnonzero(digits.labels == label)[: count // 10] for label in range(10)])
        return Digits(digits.images[rows], digits.labels[rows])

    with pytest.MonkeyPatch.context() as patch:
        small = DigitSplit(few(whole.train, 80), few(whole.test, 40))
        patch.setattr(MnistExtract, "load", lambda home: small)
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluator, a conditional generator whose training it measured, and a plain one."""
    root = tmp_path_factory.mktemp("runs")
    GanEvaluator("mnist-extract", epochs=1).run(session(root / "evaluator"))
    changed(conditional=True, evaluator=root / "evaluator").run(session(root / "conditional"))
    TRAIN.run(session(root / "plain"))
    return root


def session(out: Path | None = None) -> Session:
    return Session(quiet=True, out=out, home=Path("/nowhere"))


def photographs(folder: Path, names: tuple[str, ...], *, count: int = 12, size: tuple[int, int] = (40, 30)) -> Path:
    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def test_a_training_is_watched(runs: Path) -> None:
    result = changed(conditional=True, evaluator=runs / "evaluator").run(
        session(runs / "conditional")
    )  # nothing is left
    rows = [json.loads(line) for line in (runs / "conditional" / "history.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "diversity" in row] == [4, 8]
    assert {
        "score/real",
        "score/fake",
        "gradient/generator",
        "loss/discriminator",
        "modes",
        "fidelity",
        "watched-fid",
    } <= rows[-1].keys()
    assert result.metrics["modes"] <= 10
    grid = next(block for block in result.blocks if isinstance(block, ImageGrid))
    animation = next(block for block in result.blocks if isinstance(block, Animation))
    assert animation.captions == ("step 4", "step 8")
    assert animation.frames.shape == (2, 8 * 32, 10 * 32, 3)  # a row for each z, a column for each class
    assert "One column for each of 0, 1" in grid.caption


def test_the_same_seed_gives_the_same_generator_also_when_resumed(runs: Path, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    real = fitting.save
    calls = []

    def stop(*arguments: object, **keywords: object) -> None:
        real(*arguments, **keywords)  # type: ignore[arg-type]
        calls.append(1)
        if len(calls) == 2:
            raise Stopped

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(fitting, "save", stop)
        TRAIN.run(session(tmp_path))
    TRAIN.run(session(tmp_path))
    first, second = ((folder / "generator.safetensors").read_bytes() for folder in (runs / "plain", tmp_path))
    assert first == second


def test_two_processes_train_one_generator_and_speak_with_one_voice(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", ("a", "b"), count=20)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = ["gan", "train", folder, "--conditional", "--side", 16, "--width", 2, "--latent", 4, "--epochs", 2]
    rest = ["--batch-size", 8, "--out", tmp_path / "run", "--json", "--quiet"]
    command = [*launcher, "-m", "deepscope.cli", *map(str, words + rest)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=300)
    assert json.loads(done.stdout)["metrics"]["loss/generator"] > 0  # one document, of one process
    gan = load(tmp_path / "run")
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["parts"]["average"]
    torch.testing.assert_close(
        dict(gan.generator.named_parameters()), {name: state[name] for name, _ in gan.generator.named_parameters()}
    )


def test_sampling(runs: Path) -> None:
    sevens = GanSample(runs / "conditional", label="7", count=12).run(session())
    assert sevens.arrays["images"].shape == (12, 32, 32, 1)
    assert sevens.arrays["labels"].tolist() == [7] * 12
    again = GanSample(runs / "conditional", label="7", count=12).run(session())
    assert np.array_equal(sevens.arrays["images"], again.arrays["images"])
    with pytest.raises(DeepscopeError, match="no class is named 'seven'"):
        GanSample(runs / "conditional", label="seven").run(session())
    with pytest.raises(DeepscopeError, match="trained with conditional"):
        GanSample(runs / "plain", label="7").run(session())
    with pytest.raises(DeepscopeError, match="`deepscope gan train` writes one"):
        GanSample(runs).run(session())


def test_interpolation_and_grid(runs: Path) -> None:
    way = GanInterpolate(runs / "plain", ways=2, steps=5).run(session())
    assert way.arrays["images"].shape == (10, 32, 32, 1)
    animation = next(block for block in way.blocks if isinstance(block, Animation))
    assert animation.frames.shape == (5, 32, 64, 3)
    grid = GanGrid(runs / "conditional", columns=3).run(session())
    assert len(grid.blocks[0].rows) == 10 and len(grid.blocks[0].rows[0]) == 3  # type: ignore[union-attr]
    assert {"style/slant", "style/thickness"} == grid.metrics.keys()
    with pytest.raises(DeepscopeError, match="a grid needs a conditional generator"):
        GanGrid(runs / "plain").run(session())


def test_evaluation(runs: Path) -> None:
    command = GanEvaluate(runs / "conditional", evaluator=runs / "evaluator", samples=60, score_epochs=1)
    found = command.run(session())
    expected = {
        "fidelity",
        "digit-fid",
        "digit-fid-floor",
        "precision",
        "recall",
        "modes",
        "kl",
        "balance",
        "memorised",
    }
    assert expected | {"classification-accuracy-score", "classification-accuracy-score/real"} <= found.metrics.keys()
    assert found.metrics["digit-fid"] > found.metrics["digit-fid-floor"]  # two epochs make no digits
    notes = [block.text for block in found.blocks if isinstance(block, Note)]
    assert any("torch-fidelity" in text or "pt_inception" in text for text in notes)
    plain = GanEvaluate(runs / "plain", evaluator=runs / "evaluator", samples=40).run(session())
    assert "fidelity" not in plain.metrics and "modes" in plain.metrics


def test_without_an_evaluator_the_way_to_one_is_said(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "fitting_evaluator", lambda *_: None)
    monkeypatch.setattr(
        evaluation, "bundled_features", lambda _: lambda images: images[:, 0, ::9, ::9].flatten(1).float()
    )
    found = GanEvaluate(runs / "plain", samples=40).run(session())
    assert {"bundled-fid", "bundled-fid-floor", "precision"} <= found.metrics.keys()
    assert any("deepscope gan evaluator" in b.text for b in found.blocks if isinstance(b, Note))


def test_a_thousand_modes(runs: Path, tmp_path: Path) -> None:
    changed(stack=40, evaluator=runs / "evaluator", epochs=1).run(session(tmp_path))
    found = GanEvaluate(tmp_path, evaluator=runs / "evaluator", samples=50).run(session())
    assert 1 <= found.metrics["modes"] <= 50
    pictures = load_pictures("mnist-extract", 32, session())
    made = stacked(pictures, 30, session())
    hundreds = pictures.train.images[:, 0][pictures.train.labels == made.train.labels[0] // 100]
    assert made.train.images.shape == (30, 3, 32, 32)
    assert (hundreds == made.train.images[0, 0]).all((1, 2)).any()


def test_clusters_in_the_place_of_classes(runs: Path, tmp_path: Path) -> None:
    settings = changed(clusters=4, label_in_discriminator="projected", evaluator=runs / "evaluator")
    settings.run(session(tmp_path))
    gan = load(tmp_path)
    assert gan.classes == tuple(f"cluster-{number}" for number in range(4)) and not gan.labelled
    assert sum(gan.shares) == pytest.approx(1)
    found = GanSample(tmp_path, count=400).run(session())
    often = np.bincount(found.arrays["labels"], minlength=4) / 400
    np.testing.assert_allclose(often, gan.shares, atol=0.1)
    assert set(GanSample(tmp_path, label="cluster-2", count=3).run(session()).arrays["labels"].tolist()) == {2}
    measured = GanEvaluate(tmp_path, evaluator=runs / "evaluator", samples=40).run(session()).metrics
    assert {"digit-fid", "modes"} <= measured.keys() and "fidelity" not in measured
    assert not any(name.startswith("classification-accuracy") for name in measured)


def test_a_generator_is_measured_by_what_it_never_saw(runs: Path, tmp_path: Path) -> None:
    """Whatever the seed: a folder's test images and what --hold-out kept back are the same for all."""
    folder = photographs(tmp_path / "photos", ("red", "green"))
    first, other = (load_pictures(str(folder), 16, Session(seed=seed, quiet=True)) for seed in (0, 1))
    assert torch.equal(first.test.images, other.test.images) and torch.equal(first.train.images, other.train.images)
    whole = load_pictures("mnist-extract", 32, session())
    changed(hold_out=20, epochs=1).run(session(tmp_path / "out"))
    gan = load(tmp_path / "out")
    assert gan.held_out == 20
    pictures, _ = material(gan, None, runs / "evaluator", Session(seed=7, quiet=True))
    assert len(pictures.test) == 20 and len(pictures.train) == len(whole.train) - 20
    both = torch.cat([pictures.train.images, pictures.test.images]).flatten(1)
    assert sorted(map(tuple, both.tolist())) == sorted(map(tuple, whole.train.images.flatten(1).tolist()))
    named, _ = material(gan, "mnist-extract", runs / "evaluator", session())
    assert len(named.test) == 20


def test_digits_stand_whole_in_the_middle() -> None:
    pictures = load_pictures("mnist-extract", 32, session())
    assert np.array_equal(pictures.train.images[:, 0, 2:30, 2:30], MnistExtract.load(Path()).train.images)
    assert int(pictures.train.images[:, :, [0, 1, 30, 31]].sum()) == 0


def test_photographs_of_a_folder(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", ("red", "green"))
    (folder / "red" / "broken.png").write_bytes(b"no image")
    pictures = load_pictures(str(folder), 32, session())
    assert pictures.classes == ("green", "red") and pictures.channels == 3 and pictures.side == 32
    remarks = " ".join(pictures.remarks)
    assert "middle square" in remarks and "fewer than 32" in remarks and "cannot be read" in remarks
    result = changed(data=str(folder), conditional=True, side=32, batch_size=8).run(session(tmp_path / "out"))
    assert any("middle square" in block.text for block in result.blocks if isinstance(block, Note))
    assert load(tmp_path / "out").classes == ("green", "red")
    flat = load_pictures(str(folder / "green"), 16, session())
    assert flat.classes == () and len(flat.train) + len(flat.test) == 12


Refusal = Callable[[Path], GanTrain]
REFUSED: list[tuple[Refusal, str]] = [
    (lambda _: changed(batch_size=81), "batch_size must be at most 80: mnist-extract has 80 training images"),
    (lambda _: changed(discriminator_steps=5), "a step needs 5 batches"),
    (
        lambda path: changed(data=str(photographs(path, ("only",)) / "only"), conditional=True, batch_size=4),
        "no classes",
    ),
    (lambda path: changed(data=str(photographs(path, ("only",))), conditional=True, batch_size=4), "no classes"),
    (lambda _: changed(side=64), "side must be 32 for digits"),
    (lambda _: changed(side=48), "side must be 16, 32, 64, 128 or 256"),
    (lambda _: changed(epochs=0), "epochs 0 is out of range"),
    (lambda _: changed(clusters=4, conditional=True), "leave out conditional"),
    (lambda _: changed(stack=40, conditional=True), "stack cannot be combined with conditional"),
    (lambda _: changed(clusters=9), "clusters must be from 2 to 8"),
    (lambda _: changed(hold_out=60), "hold_out must be from 2 to half"),
    (lambda _: changed(r1=1.0), "normalisation must be none, layer or spectral: r1 needs"),
    (lambda _: changed(generator_steps=0, discriminator_steps=0), "at least 1 where generator_steps is 0"),
    (lambda _: changed(batch_size=21, packing=2), "batch_size must be a multiple of packing, 2"),
    (lambda _: changed(r1_regularised=True, rate=1e-3), "r1_regularised sets rate itself"),
    (lambda _: changed(r1_regularised=True, normalisation="layer"), "r1_regularised sets normalisation itself"),
    (lambda _: changed(data="mnist"), "mnist is not here"),
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
        ({"shares": [0.5, -0.5]}, "shares are not those"),
    ],
)
def test_a_run_from_outside_is_not_believed(runs: Path, tmp_path: Path, changed: dict[str, object], words: str) -> None:
    about = json.loads((runs / "plain" / "generator.json").read_text())
    (tmp_path / "generator.safetensors").write_bytes((runs / "plain" / "generator.safetensors").read_bytes())
    (tmp_path / "generator.json").write_text(json.dumps({**about, **changed}))
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

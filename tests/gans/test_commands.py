"""The commands, on a handful of digits and on painted photographs; trainings of a few steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deepscope.commands.gan_evaluate import GanEvaluate
from deepscope.commands.gan_grid import GanGrid
from deepscope.commands.gan_interpolate import GanInterpolate
from deepscope.commands.gan_sample import GanSample
from deepscope.data.mnist import MnistExtract
from deepscope.errors import DeepscopeError
from deepscope.gans import evaluate_images, evaluation, fitting, load, load_pictures, measured_data, stacked
from deepscope.gans.measured_data import material
from deepscope.gans.quality import INCEPTION
from deepscope.results import Animation, ImageGrid, Note, Table
from deepscope.session import Session
from gan_commands import TRAIN, changed, photographs, session

pytestmark = pytest.mark.usefixtures("few_digits")


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
    said = [line for line in done.stdout.splitlines() if not line.startswith("[Gloo]")]  # PyTorch 2.8 prints these
    assert json.loads("\n".join(said))["metrics"]["loss/generator"] > 0  # one document, of one process
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
    with pytest.raises(DeepscopeError, match="trained without classes"):
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
    quality = next(block for block in found.blocks if isinstance(block, Table))
    assert (
        "60 samples, 40 held-out images; distances are of 40 on each side, precision and recall of 40"
        in quality.caption
    )
    notes = [block.text for block in found.blocks if isinstance(block, Note)]
    assert any("torch-fidelity" in text or "pt_inception" in text for text in notes)
    plain = GanEvaluate(runs / "plain", evaluator=runs / "evaluator", samples=40).run(session())
    assert "fidelity" not in plain.metrics and "modes" in plain.metrics


def test_damaged_inception_weights_cost_their_metric_alone(runs: Path, tmp_path: Path) -> None:
    """Nobody names them: they are looked for in the home folder."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / INCEPTION).write_bytes(b"PK, and the rest is missing")
    command = GanEvaluate(runs / "plain", evaluator=runs / "evaluator", samples=40)
    found = command.run(replace(session(), home=tmp_path))
    (said,) = [block.text for block in found.blocks if isinstance(block, Note) and block.title == "Not measured"]
    assert f"{INCEPTION} is not the published file (27 bytes, not 95628359)" in said
    assert "digit-fid" in found.metrics and not [name for name in found.metrics if name.startswith("inception")]


def test_without_an_evaluator_the_way_to_one_is_said(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured_data, "fitting_evaluator", lambda *_: None)
    monkeypatch.setattr(
        evaluation, "bundled_features", lambda _: lambda images: images[:, 0, ::9, ::9].flatten(1).float()
    )
    found = GanEvaluate(runs / "plain", samples=40).run(session())
    assert {"bundled-fid", "bundled-fid-floor", "precision"} <= found.metrics.keys()
    assert any("deepscope gan evaluator" in b.text for b in found.blocks if isinstance(b, Note))


def test_photographs_of_64_pixels_are_generated_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = photographs(tmp_path / "photos", ("coast", "forest"), count=40, size=(80, 70))
    command = changed(data=str(folder), conditional=True, r1_regularised=True, side=64, width=1, epochs=1)
    trained = command.run(session(tmp_path / "out"))
    assert "augmented by diffaugment" in trained.provenance.data
    monkeypatch.setattr(
        evaluation, "bundled_features", lambda _: lambda images: images[:, 0, ::9, ::9].flatten(1).float()
    )
    found = GanEvaluate(tmp_path / "out", samples=40, score_epochs=0).run(session())
    expected = {"bundled-fid", "bundled-fid-floor", "precision", "precision/real", "recall", "recall/real"}
    assert expected | {"memorised", "memorised/real"} == found.metrics.keys()
    made = GanSample(tmp_path / "out", count=2, label="forest").run(session()).arrays["images"]
    assert made.shape == (2, 64, 64, 3)


def test_images_of_another_generator_are_measured_too(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        evaluation, "bundled_features", lambda _: lambda images: images[:, 0, ::9, ::9].flatten(1).float()
    )
    real = photographs(tmp_path / "real", ("coast", "forest"), count=40, size=(70, 64))
    copies = tmp_path / "copies"
    copies.mkdir()
    train = load_pictures(str(real), 32, Session()).train.images
    for row in range(12):
        Image.fromarray(train[row].permute(1, 2, 0).numpy()).save(copies / f"{row}.png")
    found = GanEvaluate(copies, data=str(real), side=32).run(session())
    assert {"bundled-fid", "bundled-fid-floor", "precision", "recall", "memorised"} <= found.metrics.keys()
    assert found.metrics["memorised"] == 1 and "fidelity" not in found.metrics
    with pytest.raises(DeepscopeError, match="data is needed"):
        GanEvaluate(copies).run(session())
    with pytest.raises(DeepscopeError, match="side is for a folder of images"):
        GanEvaluate(runs / "plain", side=32).run(session())


def test_grey_images_are_compared_with_coloured_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        evaluation, "bundled_features", lambda _: lambda images: images[:, :, ::9, ::9].flatten(1).float()
    )
    coloured = photographs(tmp_path / "real", ("a",), count=45)
    grey = [Image.open(path).convert("L") for path in sorted((coloured / "a").iterdir())[:40]]
    first = evaluate_images(grey, str(coloured / "a"), side=32)
    assert first.samples.shape[1] == first.nearest.shape[1] == 3 and first.gan is None
    second = evaluate_images(str(coloured / "a"), grey, side=32)
    assert second.samples.shape[1] == second.nearest.shape[1] == 3
    with pytest.raises(DeepscopeError, match="5 generated images are too few"):
        evaluate_images(grey[:5], str(coloured / "a"), side=32)


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


def test_a_folder_by_another_name_is_still_the_generators_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photographs(tmp_path / "photos", ("red",)).parent)
    changed(data="photos", side=16, hold_out=4, epochs=1, batch_size=4).run(session(tmp_path / "out"))
    gan = load(tmp_path / "out")
    for name in (None, "photos/", tmp_path / "photos", str(tmp_path / "out" / ".." / "photos")):
        assert len(material(gan, name, None, session())[0].test) == 4
    first = min((tmp_path / "photos").rglob("*.png"))
    renamed = first.rename(first.with_name("zzz.png"))  # as many images, in another order
    with pytest.raises(DeepscopeError, match=r"photos has changed since .* learnt from it .*: restore it, or train"):
        material(gan, None, None, session())
    renamed.rename(first)
    counted = replace(gan, listing="")  # as an earlier version wrote it
    assert (
        len(material(gan, None, None, session())[0].test) == len(material(counted, None, None, session())[0].test) == 4
    )
    (tmp_path / "photos").rename(tmp_path / "moved")
    with pytest.raises(
        DeepscopeError, match=r"data must name the data that .* learnt from 'photos', which does not exist"
    ):
        material(gan, None, None, session())
    for name in ("x" * 5000, "a\0b"):
        with pytest.raises(DeepscopeError, match="which does not exist"):
            material(replace(gan, data=name), None, None, session())
    found = material(gan, tmp_path / "moved", None, session())[0]  # its own images, by their listing
    assert found.held_out == len(found.test) == 4 and len(found) == gan.learnt
    assert len(material(counted, tmp_path / "moved", None, session())[0].test) == 1  # which cannot be known
    (tmp_path / "moved").rename(tmp_path / "photos")
    photographs(tmp_path / "photos" / "more", ("red",), count=3)
    for each in (gan, counted):
        with pytest.raises(DeepscopeError, match="photos has changed since"):
            material(each, None, None, session())


def test_classes_of_other_names_are_named(tmp_path: Path) -> None:
    first, other = (photographs(tmp_path / name, ("red", name)) for name in ("green", "blue"))
    changed(data=str(first), side=16, conditional=True, epochs=1, batch_size=4).run(session(tmp_path / "out"))
    with pytest.raises(DeepscopeError, match="2 classes; 3 and 2 there; 'blue' is a class of one of them only"):
        material(load(tmp_path / "out"), other, None, session())


@pytest.mark.parametrize("deep", [False, True])
def test_a_listing_does_not_depend_on_how_the_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deep: bool
) -> None:
    """Images right in the folder, or in class folders: through a link, from within, and moved."""
    folder = photographs(tmp_path / "photos", ("red", "green") if deep else ("red",), count=6)
    folder = folder if deep else folder / "red"
    (link := tmp_path / "link").symlink_to(folder, target_is_directory=True)
    wanted = load_pictures(folder, 16, session()).listing
    monkeypatch.chdir(folder)
    for name in (".", link, folder / ".." / folder.name):
        assert load_pictures(name, 16, session()).listing == wanted
    moved = folder.rename(tmp_path / "elsewhere")
    assert wanted and load_pictures(moved, 16, session()).listing == wanted
    first = min(moved.rglob("*.png"))
    for change in (first.with_name("renamed.png"), first.parent / "deeper" / first.name):
        change.parent.mkdir(exist_ok=True)
        first.rename(change)
        assert load_pictures(moved, 16, session()).listing != wanted
        change.rename(first)
    first.write_bytes(first.read_bytes() + bytes(1))
    assert load_pictures(moved, 16, session()).listing != wanted


def test_quality_needs_a_few_held_out_images(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", ("red",))
    changed(data=str(folder), side=16, epochs=1, batch_size=4).run(session(tmp_path / "out"))
    with pytest.raises(DeepscopeError, match=r"photos has 1 held-out image, .* at least 4: add images, or train"):
        GanEvaluate(tmp_path / "out", samples=20).run(session())
    with pytest.raises(DeepscopeError, match="photos has 1 held-out image"):
        evaluate_images(str(folder), str(folder), side=16)


def test_stacks_are_those_that_the_generator_learnt_from(tmp_path: Path) -> None:
    seeded = Session(quiet=True, out=tmp_path, home=Path("/nowhere"), seed=-(10**30))
    changed(stack=40, epochs=1).run(seeded)
    gan = load(tmp_path)
    assert gan.stacked and (gan.learnt, gan.stack_seed) == (40, -(10**30))
    wanted = load_pictures("mnist-extract", 32, seeded, stack=40)
    found, _ = material(gan, None, None, session())
    assert torch.equal(found.train.images, wanted.train.images) and torch.equal(found.test.images, wanted.test.images)


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

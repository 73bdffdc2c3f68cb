from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from deepscope import render
from deepscope.attacks import DDN, FGSM, PGD, Fooling, OnePixel, Patch, Square, Targeted, Untargeted
from deepscope.attacks.levels import logits
from deepscope.attacks.subjects import aim, file_names, read_subjects
from deepscope.attacks.watch import watch
from deepscope.cli.program import run
from deepscope.commands.attack import AttackImages
from deepscope.commands.attack_evaluate import AttackEvaluate
from deepscope.data.photographs import bundled, bundled_photographs
from deepscope.errors import DataError, DeepscopeError, SettingError
from deepscope.models import Preprocessing, VisionModel, load_model
from deepscope.presenters.attacked import changed_places, difference
from deepscope.results import Animation, Curves, ImageGrid, Note, Picture, Table
from deepscope.session import Session
from deepscope.studies.adversarial import Adversarial
from networks import tiny_model


@pytest.fixture(scope="module")
def cat() -> Path:
    return bundled("chelsea.png")


@pytest.fixture(scope="module")
def coffee() -> Path:
    return bundled("coffee.png")


def small_model() -> VisionModel:
    torch.manual_seed(0)
    bare = Preprocessing(resize=16, crop=16, mean=(0.1, 0.2, 0.3), std=(1.0, 0.5, 1.0))
    return VisionModel("small", nn.Sequential(nn.Flatten(), nn.Linear(768, 2)), bare, ("a", "b"))


def session(folder: Path | None = None) -> Session:
    return Session.open(device="cpu", quiet=True, out=folder)


def test_attack_reports_what_the_saved_file_shows(cat: Path, tmp_path: Path) -> None:
    climb = PGD(steps=20, stop_early=False)  # on beyond the first success, to where the target is certain
    result = AttackImages(climb, (cat,), target="toaster", animate=True).run(session(tmp_path))
    assert result.metrics["success"] == 1 and result.metrics["images"] == 1
    assert result.metrics["linf"] <= 4 / 255 + 1e-6
    assert result.metrics["target/after"] > 0.9 > 0.01 > result.metrics["target/before"]
    assert result.metrics["gradients"] >= 1
    saved = tmp_path / "adversarial" / "chelsea.png"
    model = load_model("efficientnet_lite0", session())
    pixels = torch.from_numpy(np.asarray(Image.open(saved)).copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        assert model.categories[int(model(pixels).argmax())] == "toaster"
    grid = next(block for block in result.blocks if isinstance(block, ImageGrid))
    assert [len(row) for row in grid.rows] == [2, 3], "the image before the attack, and below it after"
    shown = grid.rows[1][2]
    assert isinstance(shown, Picture) and "x 31" in shown.caption
    animation = next(block for block in result.blocks if isinstance(block, Animation))
    assert animation.captions[-1].startswith("query ") and "toaster" in animation.captions[-1]
    assert any(isinstance(block, Curves) for block in result.blocks)


def test_an_image_that_already_is_the_target_is_refused(cat: Path) -> None:
    model = load_model("efficientnet_lite0", session())
    with torch.no_grad():
        seen = int(model(model.read([cat])).argmax())
    with pytest.raises(SettingError, match="already is") as caught:
        AttackImages(FGSM(), (cat,), target=str(seen)).run(session())
    assert caught.value.setting == "target"


def test_of_a_folder_only_the_other_images_are_aimed_at_the_target() -> None:
    model = load_model("efficientnet_lite0", session())
    found = read_subjects(model, bundled_photographs().paths, session(), batch_size=4)
    wanted = int(found.labels[0])
    kept = aim(model, found, model.categories[wanted], session())
    assert isinstance(kept.criterion, Targeted)
    assert wanted not in kept.labels.tolist()
    assert len(kept.paths) == len(kept.criterion.classes) == int((found.labels != wanted).sum())
    assert torch.equal(kept.levels, found.levels[found.labels != wanted])
    assert [skipped.reason for skipped in kept.skipped] == [f"already is {model.categories[wanted]!r}, the target"]


def test_a_class_that_does_not_exist_offers_the_nearest(cat: Path) -> None:
    with pytest.raises(DeepscopeError, match="toaster"):
        AttackImages(FGSM(), (cat,), target="toastr").run(session())


def test_an_image_that_is_wrong_by_itself_is_reported_and_not_counted(cat: Path, tmp_path: Path) -> None:
    mislabelled = tmp_path / "n01440764_tench.png"
    mislabelled.write_bytes(cat.read_bytes())
    result = AttackImages(FGSM(), (mislabelled,)).run(session())
    assert result.metrics["misclassified"] == 1 and result.metrics["images"] == 0
    assert "success" in result.metrics and result.metrics["success"] != result.metrics["success"]
    tables = [block for block in result.blocks if isinstance(block, Table)]
    assert [table.title for table in tables] == ["Misclassified without an attack"]


def test_gradients_that_vanish_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cut(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs.detach() + 0 * inputs

    plain = small_model()
    cut = replace(plain, network=nn.Sequential(Cut(), plain.network))
    for name, levels in (("x", 90), ("y", 160)):
        Image.new("RGB", (16, 16), (levels, 100, 50)).save(tmp_path / f"{name}.png")
    for model, count in ((plain, 0), (cut, 2)):
        for module in ("attack", "attack_evaluate"):
            monkeypatch.setattr(f"deepscope.commands.{module}.load_model", lambda name, session, model=model: model)
        one = AttackImages(PGD(1 / 255, steps=2), (tmp_path,), animate=True).run(session())
        many = AttackEvaluate(tmp_path, methods=("pgd,square",), radii=("1/255",)).run(session())
        assert one.metrics["gradients/vanished"] == many.metrics["gradients/vanished/pgd"] == count
        assert many.metrics["gradients/vanished/square"] == 0
        for result in (one, many):
            notes = [b for b in result.blocks if isinstance(b, Note) and b.title.startswith("Gradients vanish")]
            assert len(notes) == bool(count)
            assert all("of 2 of 2 images vanish" in note.text and note.level == "warning" for note in notes)


def test_scores_that_never_change_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = small_model()
    network = nn.Sequential(plain.network, nn.Hardtanh(-1e-9, 1e-9), nn.Threshold(1, 0))
    Image.new("RGB", (16, 16), (90, 100, 50)).save(tmp_path / "x.png")
    monkeypatch.setattr("deepscope.commands.attack.load_model", lambda name, session: replace(plain, network=network))
    result = AttackImages(Square(queries=5), (tmp_path,)).run(session())
    (note,) = [b for b in result.blocks if isinstance(b, Note) and b.title == "Scores do not change"]
    assert "1 of 1 images" in note.text and note.level == "warning"
    assert result.metrics["gradients/vanished"] == 1


def test_bfloat16_does_not_decide_which_images_are_right(tmp_path: Path) -> None:
    layer = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 1.0, 0.0], [1.001, 1.0, 0.0]]))
    bare = Preprocessing(resize=1, crop=1, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    model = VisionModel("close", nn.Sequential(nn.Flatten(), layer), bare, ("a", "b"))
    Image.new("RGB", (1, 1), (128, 128, 0)).save(tmp_path / "x.png")
    quick = Session.open(device="cpu", quiet=True, precision="bfloat16")
    assert read_subjects(model, [tmp_path], quick, batch_size=1).labels.tolist() == [1]


@pytest.mark.real
def test_a_features_only_model_is_refused(home: Path, cat: Path) -> None:
    with pytest.raises(DeepscopeError, match="features only"):
        AttackImages(FGSM(), (cat,), model="vgg16").run(Session.open(device="cpu", home=home, quiet=True))


def test_evaluate_gives_metrics_for_each_method_and_radius(cat: Path, coffee: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for source in (cat, coffee):
        (folder / source.name).write_bytes(source.read_bytes())
    command = AttackEvaluate(
        folder, methods=("fgsm, pgd",), radii=("1/255", "4/255"), transfer_to=("efficientnet_lite0",)
    )
    result = command.run(session())
    for method in ("fgsm", "pgd"):
        first, second = (result.metrics[f"success/{method}/{radius}"] for radius in ("0.003922", "0.01569"))
        assert 0 <= first <= second <= 1
        assert result.metrics[f"accuracy/{method}/0.01569"] == pytest.approx(1 - second)
        assert result.metrics[f"transfer/efficientnet_lite0/{method}"] == pytest.approx(1), "to itself"
    assert result.metrics["success/pgd/0.01569"] == 1
    assert result.metrics["defence/jpeg-75/clean"] >= 0.5
    assert result.metrics["queries/pgd"] >= 2


def test_curves_hold_finite_radii_and_equal_ones_share_a_name(cat: Path) -> None:
    result = AttackEvaluate(cat, methods=("fgsm,pgd,ddn,fooling",), radii=("8/255", "16/255")).run(session())
    curves = {block.title: block.series for block in result.blocks if isinstance(block, Curves)}
    (linf,) = (series for title, series in curves.items() if any("pgd" in one.label for one in series))
    assert not any("fooling" in one.label or "ddn" in one.label for one in linf), "they have no radius"
    for series in curves.values():
        assert all(np.isfinite(one.x).all() and one.y[0] == 1 for one in series)
        drawn = [(*one.x, *one.y) for one in series]
        assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("radius", ["0", "-1/255", "lots", "1/0"])
def test_radii_that_attack_nothing_are_refused(cat: Path, radius: str) -> None:
    for setting, command in (
        ("radii", AttackEvaluate(cat.parent, radii=(radius,))),
        ("l2_radii", AttackEvaluate(cat.parent, l2_radii=(radius,))),
    ):
        with pytest.raises(SettingError) as caught:
            command.run(session())
        assert caught.value.setting == setting


def test_an_unknown_method_offers_the_nearest(cat: Path) -> None:
    with pytest.raises(DeepscopeError, match="deepfool"):
        AttackEvaluate(cat.parent, methods=("deepfol",)).run(session())


def test_the_command_line_takes_every_method(capsys: pytest.CaptureFixture[str], cat: Path) -> None:
    assert run(["attack", "fgsm", str(cat), "--radius", "0.0157", "--json", "--device", "cpu"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["metrics"]["images"] == 1
    assert run(["attack", "fgsm", str(cat), "--radius", "0", "--device", "cpu"]) == 2
    assert "--radius 0 is out of range" in capsys.readouterr().err


def test_the_study_answers_with_verdicts(cat: Path) -> None:
    study = Adversarial((cat,), steps=8, queries=60, transfer_to="efficientnet_lite1")  # of another size
    result = study.run(session())
    answered = next(block for block in result.blocks if isinstance(block, Table) and block.title == "Answers")
    assert [str(row[0])[0] for row in answered.rows] == ["5", "6", "7", "7", "7"]
    for name in ("fooling", "pgd", "ddn", "square", "one-pixel"):
        assert 0 <= result.metrics[f"success/{name}"] <= 1
    assert result.metrics["success/fooling"] == 1
    assert "on efficientnet_lite1" in [c.name for b in result.blocks if isinstance(b, Table) for c in b.columns]


def test_another_network_is_shown_the_images_at_its_own_size() -> None:
    model, flat = small_model(), torch.tensor([20, 90, 200], dtype=torch.uint8)[:, None, None]
    small, large = (flat.expand(40, 3, side, side).contiguous() for side in (16, 24))
    assert large.shape[2:] != model.preprocessing.size
    torch.testing.assert_close(logits(model, large, session()), logits(model, small, session()))
    black = logits(model, large, session(), defence=torch.zeros_like)
    torch.testing.assert_close(black, logits(model, torch.zeros_like(small), session()))


@pytest.mark.parametrize("module", ["commands.attack_evaluate", "studies.adversarial"])
def test_a_network_to_transfer_to_must_have_the_same_classes(
    module: str, cat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"efficientnet_lite0": small_model(), "tiny": tiny_model()}
    monkeypatch.setattr(f"deepscope.{module}.load_model", lambda name, session: models[name])
    evaluates = module == "commands.attack_evaluate"
    command = AttackEvaluate(cat, transfer_to=("tiny",)) if evaluates else Adversarial((cat,), transfer_to="tiny")
    with pytest.raises(SettingError, match="tiny has other classes than small") as caught:
        command.run(session())
    assert caught.value.setting == "transfer_to"


def test_watching_keeps_memory_small_and_order() -> None:
    model = small_model()
    pixels = torch.full((1, 3, 16, 16), 100 / 255)
    criterion = Untargeted(model(pixels).argmax(1))
    for attack in (Fooling(learning_rate=0.05), OnePixel(queries=400, population=20), DDN(steps=50)):
        trace = watch(attack, model, pixels, criterion, rng=torch.Generator().manual_seed(0), frames=10)
        assert 1 <= len(trace.queries) <= 11 and list(trace.queries) == sorted(trace.queries)
        torch.testing.assert_close(trace.pixels[0], pixels[0], atol=0.9, rtol=0)
        torch.testing.assert_close(trace.logits, model(trace.pixels).detach(), atol=1e-4, rtol=1e-4)


def test_the_difference_is_magnified_as_far_as_it_goes() -> None:
    original = torch.full((3, 4, 4), 100, dtype=torch.uint8)
    saved = original.clone()
    saved[0, 1, 2] = 104
    shown, factor = difference(original, saved)
    assert factor == 31 and shown.pixels[1, 2].tolist() == [127 + 124, 127, 127]
    assert changed_places(original, saved) == ((2, 1),)
    assert changed_places(original, original + 1) == ()


def test_a_limit_attacks_some_of_the_images(cat: Path, coffee: Path) -> None:
    result = AttackImages(FGSM(), (cat, coffee), limit=1).run(session())
    assert result.metrics["images"] + result.metrics["misclassified"] == 1


def test_saved_files_never_collide() -> None:
    assert file_names([Path("a/x.jpg"), Path("b/x.png"), Path("y.jpg")]) == ("000-x.png", "001-x.png", "y.png")
    names = file_names([Path("a/x.jpg"), Path("b/x.png"), Path("000-x.jpg"), Path("c/001-x.jpg")])
    assert len(set(names)) == 4 and names[2:] == ("000-x.png", "001-x.png")


def test_a_patch_is_evaluated_on_an_image_that_it_was_not_learnt_from(cat: Path, coffee: Path) -> None:
    result = AttackImages(Patch(steps=2, batch=2), (cat, coffee), target="toaster").run(session())
    assert result.metrics["images"] == 1 and "learnt from 1 other image" in str(result.blocks[0])
    assert result.metrics["gradients"] == 4, "two steps of two images"
    with pytest.raises(DataError, match="at least 2"):
        AttackImages(Patch(steps=2, batch=2), (cat,), target="toaster").run(session())


def test_the_images_of_an_earlier_attack_go(cat: Path, coffee: Path, tmp_path: Path) -> None:
    out, quick = tmp_path / "out", PGD(steps=1)
    for paths in ((cat, coffee), (coffee,)):
        result = AttackImages(quick, paths).run(session(out))
        render.save(result, out)
        assert set(result.files) == {f"adversarial/{path.name}" for path in paths}
        assert sorted(path.name for path in (out / "adversarial").iterdir()) == sorted(path.name for path in paths)
    own = AttackImages(quick, (out / "adversarial",)).run(session(out))  # its own output is its input
    assert own.metrics["images"] + own.metrics["misclassified"] == 1

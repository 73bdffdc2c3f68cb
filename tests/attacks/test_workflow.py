"""Attacking from Python: a model object and images in any form, without a folder or the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import deepscope as ds
from deepscope import render
from deepscope.attacks import (
    DDN,
    FGSM,
    PGD,
    AdversarialExamples,
    AttackEvaluation,
    Conditions,
    OnePixel,
    Patch,
    Square,
    Universal,
    attack,
    evaluate_attacks,
)
from deepscope.attacks.criteria import Criterion
from deepscope.attacks.outcome import Outcome
from deepscope.classification import classify
from deepscope.commands.attack import AttackImages
from deepscope.errors import DataError, DeepscopeError, FileError, SettingError
from deepscope.models import VisionModel, load_model
from deepscope.models.preprocessing import Preprocessing
from deepscope.results import Curves
from deepscope.session import Session
from networks import tiny_model

STRONG = PGD(48 / 255, steps=6)
"""Fools the tiny model on some of the images."""


@pytest.fixture
def model() -> VisionModel:
    return tiny_model(seed=3)


@pytest.fixture
def levels() -> Tensor:
    """Six pictures in flat colours with a little noise, as uint8 (6, 3, 16, 16)."""
    rng = torch.Generator().manual_seed(1)
    return (
        torch.randint(60, 190, (6, 3, 1, 1), generator=rng) + torch.randint(40, (6, 3, 16, 16), generator=rng)
    ).byte()


def as_pictures(levels: Tensor) -> list[Image.Image]:
    return [Image.fromarray(one.permute(1, 2, 0).contiguous().numpy()) for one in levels]


@pytest.fixture
def folder(levels: Tensor, tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for row, picture in enumerate(as_pictures(levels)):
        picture.save(tmp_path / "photos" / f"{row}.png")
    return tmp_path / "photos"


def as_pairs(levels: Tensor) -> list[tuple[Image.Image, None]]:
    return [(picture, None) for picture in as_pictures(levels)]


FORMS: dict[str, Callable[[Tensor], Any]] = {
    "uint8 tensor": lambda levels: levels,
    "float tensor": lambda levels: levels.float() / 255,
    "array": lambda levels: levels.permute(0, 2, 3, 1).numpy(),
    "pictures": as_pictures,
    "pairs": as_pairs,
}


def seen(model: VisionModel, levels: Tensor) -> list[int]:
    with torch.no_grad():
        return model(levels.float() / 255).argmax(1).tolist()


def same(first: Outcome, second: Outcome) -> bool:
    return (
        torch.equal(first.images, second.images)
        and str(first.verdicts) == str(second.verdicts)  # NaN of a target that there is not is not equal to itself
        and torch.equal(first.queries, second.queries)
    )


@pytest.mark.parametrize("form", FORMS)
def test_images_in_any_form_give_what_their_files_give(
    form: str, model: VisionModel, levels: Tensor, folder: Path
) -> None:
    expected = attack(model, folder, STRONG)
    assert 0 < int(expected.success.sum()) < len(expected) == 6
    found = attack(model, FORMS[form](levels), STRONG)
    assert same(found.outcome, expected.outcome)
    assert [path.name for path in found.paths] == [f"image-{row}" for row in range(6)]
    command = AttackImages(STRONG, (folder,)).settings()["method"]
    assert command == {"method": "pgd", **STRONG.settings()}


def test_success_is_what_the_model_says_of_the_images_and_within_the_radius(model: VisionModel, levels: Tensor) -> None:
    """Decided here in plain PyTorch, from what the caller is given."""
    found = attack(model, levels, STRONG)
    assert found.images.dtype == torch.uint8 and found.images.shape == levels.shape
    assert torch.equal(found.pixels, found.images.float() / 255) and found.success.dtype == torch.bool
    with torch.no_grad():
        before, after = (model(pixels.float() / 255).argmax(1) for pixels in (levels, found.images))
    assert found.success.tolist() == (before != after).tolist()
    assert (found.images.int() - levels.int()).abs().max() <= 48


def test_a_target_is_reached_or_it_is_no_success(model: VisionModel, levels: Tensor) -> None:
    with torch.no_grad():
        wanted = int(model(levels.float() / 255).sum(0).argsort()[-2])
    found = attack(model, levels, PGD(0.5, steps=10), target=wanted)
    named = attack(model, levels, PGD(0.5, steps=10), target=model.categories[wanted])
    assert same(found.outcome, named.outcome)
    with torch.no_grad():
        assert found.success.tolist() == (model(found.pixels).argmax(1) == wanted).tolist()
    assert found.success.any()


def test_labels_that_are_given_say_what_is_wrong_without_an_attack(model: VisionModel, levels: Tensor) -> None:
    predicted = seen(model, levels)
    labels = [(label + (row == 2)) % 4 for row, label in enumerate(predicted)]
    found = attack(model, list(zip(levels, labels)), "fgsm")
    assert [(one.path.name, one.predicted) for one in found.misclassified] == [("image-2", predicted[2])]
    assert len(found) == 5 and found.subjects.labels.tolist() == predicted[:2] + predicted[3:]
    assert found.result().metrics["misclassified"] == 1


def test_a_seed_gives_the_same_examples_and_another_one_others(model: VisionModel, levels: Tensor) -> None:
    method = Square(0.2, queries=10)
    one, again, other = (attack(model, levels, method, seed=seed).images for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert torch.equal(attack(model, levels, method, seed=5, session=Session(quiet=True, seed=1)).images, one)


def test_saved_images_are_those_in_memory(model: VisionModel, levels: Tensor, tmp_path: Path) -> None:
    found = attack(model, levels, STRONG)
    filed = attack(model, levels, STRONG, save_to=tmp_path / "examples")
    assert same(filed.outcome, found.outcome)
    assert found.save(tmp_path / "result") == tmp_path / "result"
    for row, name in enumerate(found.names):
        for place in (tmp_path / "examples", tmp_path / "result" / "adversarial"):
            read = np.asarray(Image.open(place / name))
            assert torch.equal(torch.from_numpy(read.copy()).permute(2, 0, 1), found.images[row])
    loaded = render.load(tmp_path / "result")
    assert np.array_equal(loaded.arrays["adversarial"], found.images.numpy())
    assert np.array_equal(loaded.arrays["original"], levels.numpy())
    attack(model, levels[:2], STRONG).save(tmp_path / "result")  # another result: the files of the first one go
    assert sorted(path.name for path in (tmp_path / "result" / "adversarial").iterdir()) == [
        "image-0.png",
        "image-1.png",
    ]


def test_a_saved_example_misleads_the_model_that_takes_it_as_it_is(
    model: VisionModel, levels: Tensor, tmp_path: Path
) -> None:
    model = replace(model, preprocessing=Preprocessing(resize=20, crop=16))  # which resizes what has 16 x 16 pixels
    found = attack(model, as_pictures(levels), STRONG)
    assert found.success.any()
    folder = found.save(tmp_path / "result") / "adversarial"
    session = Session(models={"own": model}, quiet=True)
    seen = classify(load_model("own", session, preprocessing="resize 16 x 16"), folder, session=session)
    assert seen.labels == [model.categories[verdict.after] for verdict in found.verdicts]


def test_examples_become_a_table_and_show_themselves(model: VisionModel, levels: Tensor) -> None:
    found = attack(model, levels, STRONG, target="snail", trace=True)
    frame = found.to_pandas()
    assert len(frame) == len(found) and frame["success"].tolist() == found.success.tolist()
    change = (found.pixels - found.subjects.levels.float() / 255).flatten(1)
    assert frame["l2"].tolist() == pytest.approx(change.norm(dim=1).tolist(), rel=1e-4)
    with torch.no_grad():
        probabilities = model(found.pixels).softmax(1)
    snail = model.categories.index("snail")
    assert frame["target_after"].tolist() == pytest.approx(probabilities[:, snail].tolist(), rel=1e-4)
    assert frame["after"].tolist() == [model.categories[row] for row in probabilities.argmax(1).tolist()]
    assert found.trace is not None and torch.allclose(found.trace.pixels[0], found.subjects.levels[0] / 255, atol=0.2)
    assert "pgd on tiny" in found._repr_html_()


def test_images_that_are_all_wrong_leave_an_empty_result(model: VisionModel, levels: Tensor, tmp_path: Path) -> None:
    predicted = seen(model, levels)
    wrong = [(one, (label + 1) % 4) for one, label in zip(levels, predicted)]
    for target in (None, "random", "snail"):
        found = attack(model, wrong, "fgsm", target=target, trace=True)
        assert len(found) == 0 and len(found.misclassified) == 6 and found.success.tolist() == []
        assert len(found.to_pandas()) == 0 and found.result().metrics["images"] == 0
        found.save(tmp_path)
    with pytest.raises(DataError, match="gets none of these images right"):
        evaluate_attacks(model, wrong)


@pytest.mark.parametrize(
    ("run", "setting"),
    [
        (lambda model, images: attack(model, images, target=seen(model, images)[0]), "target"),
        (lambda model, images: attack(model, images, limit=0), "limit"),
        (lambda model, images: attack(model, images, batch_size=0), "batch_size"),
        (lambda model, images: evaluate_attacks(model, images, batch_size=0), "batch_size"),
        (lambda model, images: evaluate_attacks(model, images, conditions=Conditions(radii=[4])), "radii"),
        (lambda model, images: evaluate_attacks(model, images, conditions=Conditions(l2_radii=[0.0])), "l2_radii"),
        (lambda model, images: evaluate_attacks(model, images, []), "methods"),
        (lambda model, images: evaluate_attacks(model, images, [PGD(), PGD(steps=3)]), "methods"),
        (
            lambda model, images: evaluate_attacks(
                model, images, conditions=Conditions(transfer_to=[tiny_model(classes=5)])
            ),
            "transfer_to",
        ),
        (
            lambda model, images: evaluate_attacks(
                model, images, conditions=Conditions(transfer_to=[model, tiny_model()])
            ),
            "transfer_to",
        ),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    run: Callable[[VisionModel, Tensor], object], setting: str, model: VisionModel, levels: Tensor
) -> None:
    with pytest.raises(SettingError) as caught:
        run(model, levels[:1])
    assert caught.value.setting == setting and "--" not in str(caught.value)


def test_bad_images_methods_and_classes_are_refused(model: VisionModel, levels: Tensor) -> None:
    with pytest.raises(DataError):
        attack(model, [])
    with pytest.raises(DataError, match="at least 2"):
        attack(model, levels[:1], Patch(steps=1, batch=1))
    with pytest.raises(DeepscopeError, match="deepfool"):
        attack(model, levels, "deepfol")
    with pytest.raises(DeepscopeError, match="did you mean 'snail'"):
        attack(model, levels, target="snial")


def test_no_image_that_was_given_is_overwritten(model: VisionModel, folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    linked = folder.parent / "linked"
    linked.symlink_to(folder)
    for place in (folder, linked):
        with pytest.raises(SettingError, match="one of the images under attack") as caught:
            attack(model, folder, "fgsm", save_to=place)
        assert caught.value.setting == "save_to"
    below = folder.rename(folder.parent / "fgsm")
    with pytest.raises(SettingError, match="one of the images under attack"):
        evaluate_attacks(model, below, "fgsm", save_to=below.parent)
    folder = below.rename(folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    (folder.parent / "file").touch()
    with pytest.raises(FileError):
        attack(model, folder, "fgsm", save_to=folder.parent / "file")
    with pytest.raises(FileError):
        attack(model, folder, "fgsm").save(folder.parent / "file")


METHODS = (FGSM(0.2), DDN(steps=6), OnePixel(queries=20, population=5))


@pytest.mark.parametrize("form", FORMS)
def test_evaluation_of_images_in_any_form(form: str, model: VisionModel, levels: Tensor, folder: Path) -> None:
    expected, found = (
        evaluate_attacks(
            model, images, METHODS, Conditions([0.1, 0.3], l2_radii=[1.0], transfer_to=[tiny_model(seed=4)])
        )
        for images in (folder, FORMS[form](levels))
    )
    assert dict(found.columns()).keys() and str(found.columns()) == str(expected.columns())
    assert found.right == expected.right
    for ours, theirs in zip(found.methods, expected.methods, strict=True):
        assert same(ours.outcome, theirs.outcome)
        assert (ours.right, ours.transferred) == (theirs.right, theirs.transferred)


def test_an_evaluation_counts_what_the_examples_show(model: VisionModel, levels: Tensor) -> None:
    """Defences and transfer counted here in plain PyTorch, from the same attack at the largest radius."""
    other = VisionModel("other", tiny_model(seed=4).network, model.preprocessing, model.categories)
    defences = {"darker": lambda pixels: pixels / 2}
    method = PGD(steps=6)
    found = evaluate_attacks(
        model, levels, method, Conditions([48 / 255], transfer_to=[other], defences=defences), keep=len(levels)
    )
    (one,) = found.methods
    pixels, examples = levels.float() / 255, one.outcome.images.float() / 255
    with torch.no_grad():
        labels, after, there = model(pixels).argmax(1), model(examples).argmax(1), other(examples).argmax(1)
        darker = [int((model(images / 2).argmax(1) == labels).sum()) for images in (pixels, examples)]
        usable = (after != labels) & (other(pixels).argmax(1) == labels)
    assert dict(found.right) == {"none": 6, "darker": darker[0]}
    assert dict(one.right) == {"none": int((after == labels).sum()), "darker": darker[1]}
    assert (one.transferred["other"].usable, one.transferred["other"].fooled) == (
        int(usable.sum()),
        int((usable & (there != labels)).sum()),
    )
    assert found.success(one, 0).value == pytest.approx(float((after != labels).float().mean()))
    assert torch.equal(one.outcome.images, attack(model, levels, PGD(48 / 255, steps=6)).images)


def test_an_evaluation_keeps_a_few_images_and_saves_all(model: VisionModel, levels: Tensor, tmp_path: Path) -> None:
    shared = Universal(steps=2, batch=2)
    (part,) = evaluate_attacks(model, levels, shared, Conditions([0.2]), keep=9).methods
    assert len(part) == len(part.examples) == 3 and part.examples.learn_from is None
    found = evaluate_attacks(
        model, levels, ["fgsm", DDN(steps=4)], Conditions([0.2]), keep=2, save_to=tmp_path / "examples"
    )
    for method in found.methods:
        assert method.outcome.images.shape[0] == len(method.examples) == 2 and len(method) == 6
        assert method.outcome.images.untyped_storage().nbytes() == 2 * 3 * 16 * 16
        assert len(method.files) == 6
        for row, file in enumerate(method.files[:2]):
            read = np.asarray(Image.open(tmp_path / "examples" / file))
            assert torch.equal(torch.from_numpy(read.copy()).permute(2, 0, 1), method.outcome.images[row])
    frame = found.to_pandas()
    assert frame[["method", "radius"]].values.tolist() == [
        ["fgsm", 0.2],
        *(["ddn", radius] for radius in (0.25, 0.5, 1.0, 2.0, float("inf"))),
    ]
    assert "under attack: 6 images" in found._repr_html_()
    found.save(tmp_path / "result")
    assert render.load(tmp_path / "result").metrics == found.result().metrics


def test_the_data_are_presented_by_the_commands(model: VisionModel, levels: Tensor) -> None:
    examples, evaluation = (
        attack(model, levels, "fgsm"),
        evaluate_attacks(model, levels, "fgsm", Conditions(defences={})),
    )
    assert isinstance(examples, AdversarialExamples) and isinstance(evaluation, AttackEvaluation)
    assert not evaluation.right and not evaluation.methods[0].right
    for result in (examples.result(), evaluation.result()):
        assert result.provenance.models == {model.name: model.fingerprint}
        assert result.provenance.data.startswith("6 images, sha256 ")


class Averages(nn.Module):
    """Three logits: the mean red, green and blue of an image."""

    def forward(self, pixels: Tensor) -> Tensor:
        return 20 * pixels.mean((2, 3))


def flat(*colours: tuple[int, int, int]) -> Tensor:
    return torch.tensor(colours, dtype=torch.uint8)[:, :, None, None].expand(-1, -1, 8, 8).contiguous()


def shifted(attack: FGSM, model: VisionModel, pixels: Tensor, criterion: Criterion, **_: object) -> Tensor:
    """Images become bluer up to a radius of 0.15, and greener beyond it: known predictions at each radius."""
    change = torch.zeros(3)
    change[1 if attack.radius > 0.15 else 2] = attack.radius
    return (pixels + change[:, None, None]).clamp(0, 1)


def test_accuracy_with_a_target_counts_images_of_the_target_and_pushes_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Worked out by hand: of five images, one is wrong from the start and two already show the target."""
    monkeypatch.setattr(FGSM, "__call__", shifted)
    model = ds.wrap(
        Averages(),
        ("red", "green", "blue"),
        preprocessing=ds.Preprocessing(8, 8, mean=(0.0,) * 3, std=(1.0,) * 3),
    )
    near_blue, near_green = (120, 90, 110), (120, 100, 20)
    levels = flat(near_blue, near_green, (10, 200, 10), (20, 200, 10), (10, 20, 200))
    given = list(zip(levels, (0, 0, 1, 1, 0)))
    found = evaluate_attacks(model, given, "fgsm", Conditions([26 / 255, 52 / 255], defences={}), target="green")
    (method,) = found.methods
    assert len(found) == 2 and found.at_target == 2 and len(found.misclassified) == 1
    assert found.clean.value == pytest.approx(4 / 5)
    # at the first radius the first image becomes blue, which is no success but wrong; at the second both become green
    assert [found.success(method, place).value for place in (0, 1)] == [0, 1]
    assert [found.accuracy(method, place).value for place in (0, 1)] == pytest.approx([3 / 5, 2 / 5])
    result = found.result()
    assert result.metrics["accuracy/clean"] == pytest.approx(4 / 5)
    assert result.metrics["accuracy/fgsm/0.102"] == pytest.approx(3 / 5)
    (curves,) = (block for block in result.blocks if isinstance(block, Curves))
    assert list(curves.series[0].y) == pytest.approx([4 / 5, 3 / 5, 2 / 5])
    assert "already show the target" in found._repr_html_()


def test_a_label_is_attacked_by_its_number_as_by_its_name() -> None:
    model = ds.wrap(
        Averages(),
        ("red", "green", "blue"),
        preprocessing=ds.Preprocessing(8, 8, mean=(0.5,) * 3, std=(1.0,) * 3),
        head="multilabel",
    )
    levels = flat((200, 90, 110), (120, 140, 20))
    by_name, by_number = (attack(model, levels, "fgsm", target=target) for target in ("blue", 2))
    assert same(by_name.outcome, by_number.outcome)
    assert by_number.result().title == by_name.result().title

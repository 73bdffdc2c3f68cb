"""The sequence of attacks: survivors only, the union per image, judged from saved files; and attacks in other norms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from deepscope.ascent import L1Ball, Streams
from deepscope.ascent.loop import State
from deepscope.attacks import (
    AutoPGD,
    HopSkipJump,
    Norm,
    Spatial,
    Square,
    Strength,
    Targeted,
    Untargeted,
    WorstCase,
    distance,
    worst_case,
)
from deepscope.attacks.auto import standard
from deepscope.attacks.competitors import competitors
from deepscope.attacks.hyperplane import reach
from deepscope.attacks.spatial import transformed
from deepscope.attacks.squares import bumps
from deepscope.commands.attack_auto import AttackAuto
from deepscope.errors import DeepscopeError, SettingError
from deepscope.models import Preprocessing, VisionModel, wrap
from deepscope.results import Table
from deepscope.session import Session
from networks import tiny_model

SIDE = 8
QUICK = Strength(steps=6, targets=2, queries=20)


def linear_model(classes: int = 4) -> VisionModel:
    layer = nn.Linear(3 * SIDE * SIDE, classes).double()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(0)))
        layer.bias.zero_()
    bare = Preprocessing(resize=SIDE, crop=SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return VisionModel("linear", nn.Sequential(nn.Flatten(), layer), bare, tuple("abcdef"[:classes]))


def images(count: int = 4, side: int = SIDE) -> Tensor:
    levels = torch.randint(60, 196, (count, 3, side, side), generator=torch.Generator().manual_seed(1))
    return levels.double() / 255


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def smallest(model: VisionModel, pixels: Tensor, norm: Norm) -> Tensor:
    """(N,) the length of the smallest change that misleads a linear network."""
    weights, logits = model.network.get_parameter("1.weight"), model(pixels).detach()
    own, row, found = logits.argmax(1), torch.arange(len(pixels)), []
    for k in range(logits.shape[1]):
        normal = (weights[k] - weights[own]).view_as(pixels)
        change = reach(pixels, normal, logits[row, own] - logits[row, k], norm)
        found.append(distance(pixels + change, pixels, norm).where(own != k, torch.inf))
    return torch.stack(found).amin(0)


def test_the_projection_onto_an_l1_ball_and_the_box_is_the_nearest_point() -> None:
    """Of many allowed points none is nearer, and a point inside stays."""
    centre, far = images(3, 2).float(), 0.5 + torch.randn(3, 3, 2, 2, generator=rng())
    every = torch.arange(3)
    state = State(0, every, far, far[:, 0, 0, 0], far[:, 0, 0, 0], every.bool())
    found = L1Ball(centre, 0.8)(far, state)
    assert found.min() >= 0 and found.max() <= 1
    torch.testing.assert_close(distance(found, centre, "l1"), torch.full((3,), 0.8))
    torch.testing.assert_close(L1Ball(centre, 0.8)(found, state), found)
    for point, middle, nearest in zip(far, centre, found):
        other = (middle + 0.3 * torch.randn(4000, 3, 2, 2, generator=rng())).clamp(0, 1)
        change = other - middle
        size = change.abs().flatten(1).sum(1).view(-1, 1, 1, 1)
        other = middle + change * (0.8 / size).clamp_max(1)
        assert (other - point).flatten(1).norm(dim=1).min() >= (nearest - point).norm() - 1e-4


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_auto_pgd_succeeds_just_beyond_the_smallest_change_and_never_below(norm: str) -> None:
    model, pixels = linear_model(2), images()
    least = smallest(model, pixels, norm)  # type: ignore[arg-type]
    criterion = Untargeted(model(pixels).argmax(1))
    for part, succeeds in ((0.95, False), (1.1, True)):
        for row in range(len(pixels)):
            attack = AutoPGD("logit-ratio", float(part * least[row]), steps=40, norm=norm, levels=0)  # type: ignore[arg-type]
            at = torch.tensor([row])
            moved = attack(model, pixels[at], criterion[at], rng=rng())
            assert bool(criterion[at].met(model(moved))) is succeeds, (norm, part)
            assert distance(moved, pixels[at], norm) <= attack.reach * (1 + 1e-5) + 1e-6  # type: ignore[arg-type]


def test_targets_are_the_most_probable_other_classes() -> None:
    model, pixels = linear_model(5), images()
    logits = model(pixels)
    criterion = Untargeted(logits.argmax(1))
    aims = competitors(model, pixels, criterion, 9)
    assert torch.equal(torch.stack([aim.classes for aim in aims], 1), logits.argsort(1, descending=True)[:, 1:])
    target = Targeted(logits.argmin(1))
    assert competitors(model, pixels, target, 9) == [target]


def test_aiming_at_classes_in_turn_finds_the_one_that_cross_entropy_leaves_aside() -> None:
    """Class b is second everywhere and out of reach; class c is third, and near along one channel."""

    class Trap(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            reds, rest = images[:, 0].flatten(1).mean(1), images[:, 1:].flatten(1).mean(1)
            capped = 30 * (rest - 0.5).clamp_max(0.02)
            return torch.stack([torch.ones_like(reds), 0.3 + capped, 14 * (reds - 0.5) - 0.2], 1)

    bare = Preprocessing(resize=SIDE, crop=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3)
    model = VisionModel("trap", Trap(), bare, ("a", "b", "c"))
    model.outputs.kind = "logits"
    pixels = torch.full((1, 3, SIDE, SIDE), 0.5)
    criterion = Untargeted(torch.zeros(1).long())
    settings = {"radius": 0.11, "steps": 20, "levels": 0}
    aimed = AutoPGD("logit-ratio", targets=2, **settings)(model, pixels, criterion, rng=rng())
    assert criterion.met(model(aimed)).all()
    only = AutoPGD("logit-ratio", targets=1, **settings)(model, pixels, criterion, rng=rng())
    assert aimed[:, 0].mean() > 0.6 and model(aimed).argmax(1) == 2
    assert only.shape == aimed.shape


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_square_spends_its_length_in_other_norms(norm: str) -> None:
    model, pixels = linear_model(2), images()
    criterion = Untargeted(model(pixels).argmax(1))
    radius = float(0.9 * smallest(model, pixels, norm).min())  # type: ignore[arg-type]
    attack = Square(radius, queries=300, norm=norm, levels=0, first=0.5)  # type: ignore[arg-type]
    moved = attack(model, pixels, criterion, rng=rng())
    torch.testing.assert_close(distance(moved, pixels, norm), torch.full((4,), radius).double(), rtol=1e-3, atol=0)  # type: ignore[arg-type]
    first = attack._squares(_streams(4)).first(pixels, torch.arange(4))
    assert (criterion.margin(model(moved)) > criterion.margin(model(first))).all()
    assert not criterion.met(model(moved)).any()


def _streams(count: int) -> Streams:
    return Streams.split(rng(), count)


@pytest.mark.parametrize("side", [1, 2, 3, 8])
def test_bumps_have_length_one_and_opposite_signs(side: int) -> None:
    pattern = bumps(side)
    torch.testing.assert_close(pattern.norm(), torch.tensor(1.0))
    if side > 1:
        assert (pattern[: side // 2] > 0).all() and (pattern[side // 2 :] < 0).all()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_hop_skip_jump_comes_near_the_smallest_change(norm: str) -> None:
    model, pixels = linear_model(2), images(3)
    criterion = Untargeted(model(pixels).argmax(1))
    asked = 0

    def count(_: nn.Module, given: tuple[Tensor]) -> None:
        nonlocal asked
        asked += len(given[0])

    model.network.register_forward_pre_hook(count)
    attack = HopSkipJump(norm, queries=2000, coarse=1, levels=0)  # type: ignore[arg-type]
    moved = attack(model, pixels, criterion, rng=rng())
    assert asked <= 3 * 2000
    assert criterion.met(model(moved)).all()
    ratio = distance(moved, pixels, norm) / smallest(model, pixels, norm)  # type: ignore[arg-type]
    assert ratio.max() < (1.35 if norm == "l2" else 2.5), ratio


def test_rotations_and_shifts_are_numpys() -> None:
    pixels = images(1, 6).float()
    turned = transformed(pixels, torch.tensor([90.0]), torch.zeros(1, 2))
    torch.testing.assert_close(turned, torch.rot90(pixels, 1, (2, 3)), atol=1e-5, rtol=0)
    moved = transformed(pixels, torch.zeros(1), torch.tensor([[2 / 6, 1 / 6]]))
    expected = np.zeros((3, 6, 6), np.float32)
    expected[:, 1:, 2:] = pixels[0, :, :-1, :-2].numpy()
    torch.testing.assert_close(moved[0].numpy(), expected, atol=1e-5, rtol=0)
    wide = images(1, 6).float()[:, :, :4]
    both = transformed(wide, torch.tensor([180.0]), torch.tensor([[1 / 6, 0.0]]))
    torch.testing.assert_close(both[..., 1:], wide.flip(2, 3)[..., :-1], atol=1e-5, rtol=0)


def test_the_worst_of_many_shifts_is_found() -> None:
    """A network that looks at the left edge alone: only a shift to the right brings black there."""

    class Edge(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.stack([images[..., 0].flatten(1).mean(1), torch.full((len(images),), 0.1)], 1)

    bare = Preprocessing(resize=SIDE, crop=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3)
    model = VisionModel("edge", Edge(), bare, ("a", "b"))
    model.outputs.kind = "logits"
    pixels, criterion = images(4).float(), Untargeted(torch.zeros(4).long())
    moved = Spatial(rotation=0, shift=0.3)(model, pixels, criterion, rng=rng())
    assert criterion.met(model(moved)).all()
    still = Spatial(rotation=0, shift=0.02)(model, pixels, criterion, rng=rng())
    assert not criterion.met(model(still)).any()


def found_on_noise(folder: Path | None = None, radius: float = 8 / 255, batch: int = 16) -> WorstCase:
    levels = torch.randint(256, (8, 3, 16, 16), generator=rng())
    pictures = [Image.fromarray(image.permute(1, 2, 0).byte().numpy()) for image in levels]
    return worst_case(tiny_model(), pictures, radius=radius, strength=QUICK, save_to=folder, batch_size=batch)


def test_each_stage_attacks_the_survivors_and_the_union_counts(tmp_path: Path) -> None:
    found = found_on_noise(tmp_path, radius=2 / 255)
    left = len(found)
    assert [stage.name for stage in found.stages] == ["auto-pgd", "auto-pgd-targeted", "fab", "square"]
    for stage in found.stages:
        assert stage.tried == left and stage.misled == found.by.count(stage.name)
        left -= stage.misled
    assert found.robust.value == left / len(found) and int(found.success.sum()) == len(found) - left
    assert found.clean.value == 1
    read = torch.stack([_read(tmp_path / name) for name in found.names])
    assert torch.equal(read, found.images)
    model = tiny_model()
    answers = model(read.float() / 255).argmax(1)
    assert torch.equal(answers != found.subjects.labels, found.success)
    change = (read.int() - found.subjects.levels.int()).abs().flatten(1).amax(1)
    assert (change[found.success] <= 2).all()


def _read(path: Path) -> Tensor:
    return torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1)


def test_the_worst_case_does_not_depend_on_batches_and_shrinks_with_the_radius() -> None:
    one, many = found_on_noise(batch=1), found_on_noise()
    assert one.by == many.by and torch.equal(one.images, many.images)
    assert many.robust.value <= found_on_noise(radius=1 / 255).robust.value


def test_a_model_without_gradients_is_attacked_by_square_alone() -> None:
    plain = tiny_model()
    model = wrap(
        lambda pixels: plain(pixels).detach().numpy(),
        list(plain.categories),
        preprocessing=Preprocessing(resize=16, crop=16),
        returns="logits",
    )
    found = worst_case(model, torch.rand(3, 3, 16, 16, generator=rng()), strength=QUICK)
    assert [stage.name for stage in found.stages] == ["square"]


def test_the_sequence_is_the_published_one() -> None:
    first, second, third, last = standard("l2", 0.5).values()
    assert isinstance(first, AutoPGD) and isinstance(second, AutoPGD) and isinstance(last, Square)
    assert (first.loss, first.steps, first.targets) == ("cross-entropy", 100, 0)
    assert (second.loss, second.steps, second.targets) == ("logit-ratio", 100, 9)
    assert (third.name, third.norm, last.queries, last.radius) == ("fab", "l2", 5000, 0.5)


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"norm": "l3"}, "norm"),
        ({"radius": 0.0}, "radius"),
        ({"radius": 4.0}, "radius"),
        ({"draws": 0}, "draws"),
        ({"strength": Strength(steps=0)}, "steps"),
    ],
)
def test_a_setting_out_of_range_is_named(settings: dict[str, object], setting: str) -> None:
    with pytest.raises(SettingError) as caught:
        worst_case(tiny_model(), torch.rand(1, 3, 16, 16), **settings)  # type: ignore[arg-type]
    assert caught.value.setting == setting
    assert isinstance(caught.value, DeepscopeError)


def test_the_command_shows_what_each_stage_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for row, image in enumerate(torch.randint(256, (3, 16, 16, 3), generator=rng()).byte().numpy()):
        Image.fromarray(image).save(photos / f"{row}.png")
    monkeypatch.setattr("deepscope.commands.attack_auto.load_model", lambda *_: tiny_model())
    command = AttackAuto(photos, radius=2 / 255, steps=3, targets=1, queries=5)
    session = Session.open(device="cpu", quiet=True, out=out)
    result = command.run(session)
    table = next(block for block in result.blocks if isinstance(block, Table))
    assert [row[0] for row in table.rows] == ["auto-pgd", "auto-pgd-targeted", "fab", "square"]
    misled = sum(int(row[2]) for row in table.rows)  # type: ignore[arg-type]
    assert misled == sum(value for name, value in result.metrics.items() if name.startswith("misled/"))
    assert result.metrics["accuracy/worst"] == pytest.approx(1 - misled / 3)
    assert sorted(result.files) == [f"adversarial/{row}.png" for row in range(3)]
    assert all((out / name).exists() for name in result.files)

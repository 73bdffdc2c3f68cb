from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from deepscope.attacks import (
    DDN,
    PGD,
    Attack,
    Boundary,
    OnePixel,
    Square,
    Subjects,
    Targeted,
    Universal,
    Untargeted,
)
from deepscope.attacks.counting import counted
from deepscope.attacks.defences import bit_depth, jpeg, resize
from deepscope.attacks.evaluator import encoded, evaluate
from deepscope.attacks.outcome import Outcome, run_attack
from deepscope.models import Preprocessing, VisionModel
from deepscope.session import Session
from networks import tiny_model

QUIET = Session(quiet=True)


class Brightness(nn.Module):
    """Two classes: dark and bright, by the mean pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.middle = nn.Parameter(torch.tensor(0.5))

    def forward(self, images: Tensor) -> Tensor:
        mean = images.flatten(1).mean(1)
        return 100 * torch.stack([self.middle - mean, mean - self.middle], 1)


def brightness() -> VisionModel:
    bare = Preprocessing(resize=16, crop=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return VisionModel("brightness", Brightness(), bare, ("dark", "bright"))


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def grey(*levels: float) -> Tensor:
    return torch.stack([torch.full((3, 16, 16), level) for level in levels]) / 255


def paths(folder: Path, count: int) -> list[Path]:
    return [folder / f"{i}.png" for i in range(count)]


def test_only_the_saved_file_counts(tmp_path: Path) -> None:
    model, original = brightness(), grey(127)
    claimed = original + 0.9 / 255
    criterion = Untargeted(torch.zeros(1).long())
    (verdict,), saved = evaluate(model, original, claimed, criterion, criterion.classes, paths(tmp_path, 1))
    read = np.asarray(Image.open(tmp_path / "0.png"))
    assert read.dtype == np.uint8 and read.shape == (16, 16, 3) and (read == 128).all()
    assert torch.equal(saved[0], torch.full((3, 16, 16), 128 / 255))
    assert verdict.success and (verdict.before, verdict.after) == (0, 1)
    assert verdict.true_before > 0.5 > verdict.true_after


def test_in_memory_the_verdicts_and_bytes_are_those_of_files(tmp_path: Path) -> None:
    model, original = tiny_model(), torch.rand(3, 3, 16, 16, generator=rng()).mul(255).round().div(255)
    changed = original + torch.randn(3, 3, 16, 16, generator=rng()) / 10  # beyond [0, 1] and between levels
    labels = model(original).argmax(1)
    criterion = Targeted((labels + 1) % 4)
    in_files, read = evaluate(model, original, changed, criterion, labels, paths(tmp_path, 3))
    in_memory, decoded = evaluate(model, original, changed, criterion, labels)
    assert in_memory == in_files and torch.equal(decoded, read)
    for path, levels in zip(paths(tmp_path, 3), (decoded * 255).round().byte()):
        assert path.read_bytes() == encoded(levels)


def test_the_most_probable_classes_are_those_of_softmax() -> None:
    model, pixels = tiny_model(classes=6), torch.rand(2, 3, 16, 16, generator=rng()).mul(255).round().div(255)
    labels = model(pixels).argmax(1)
    verdicts, _ = evaluate(model, pixels, 1 - pixels, Untargeted(labels), labels)
    for row, verdict in enumerate(verdicts):
        for ranked, image in ((verdict.top_before, pixels[row]), (verdict.top_after, 1 - pixels[row])):
            expected = model(image[None]).softmax(1)[0].sort(descending=True)
            assert [index for index, _ in ranked] == expected.indices[:4].tolist()
            assert [value for _, value in ranked] == pytest.approx(expected.values[:4].tolist(), rel=1e-5)


def test_a_change_that_rounding_removes_is_no_success(tmp_path: Path) -> None:
    model = brightness()
    original = grey(127)
    original[:, :, 0] = 129 / 255  # mean 127.125: still dark
    claimed = original + 0.45 / 255
    criterion = Untargeted(torch.zeros(1).long())
    assert criterion.met(model(claimed)).item()
    (verdict,), saved = evaluate(model, original, claimed, criterion, criterion.classes, paths(tmp_path, 1))
    assert not verdict.success and verdict.l0 == verdict.l2 == verdict.linf == 0 and verdict.ssim == 1
    torch.testing.assert_close(saved, original)


def test_the_evaluator_clips_and_measures(tmp_path: Path) -> None:
    model, original = brightness(), grey(100)
    changed = original.clone()
    changed[0, :, 0, 0] = torch.tensor([1.7, -3.0, 100 / 255])
    changed[0, 1, 5, 6] = 110 / 255
    criterion = Targeted(torch.ones(1).long())
    (verdict,), saved = evaluate(model, original, changed, criterion, torch.zeros(1).long(), paths(tmp_path, 1))
    assert verdict.l0 == 2
    assert verdict.linf == pytest.approx(155 / 255)
    assert verdict.l2 == pytest.approx((155**2 + 100**2 + 10**2) ** 0.5 / 255)
    plain = [image[0].permute(1, 2, 0).double().numpy() for image in (original, saved)]
    assert verdict.ssim == pytest.approx(structural_similarity(*plain, channel_axis=2, data_range=1.0))
    assert verdict.target_before == pytest.approx(1 - verdict.true_before, abs=1e-6)
    assert verdict.target_after > verdict.target_before and not verdict.success


def test_the_network_counts_what_it_is_asked() -> None:
    model, cost = counted(brightness(), grey(90, 120, 120))
    pixels = grey(90, 120, 120).requires_grad_()
    model(pixels[:2].detach())
    logits = model(pixels)
    (logits[1:, 0] - logits[1:, 1]).sum().backward()
    assert (cost.queries, cost.gradients) == (5, 2)


def attack_all(
    attack: Attack, images: Tensor, radii: tuple[float, ...], batch_size: int = 2, *, quick: bool = False
) -> Outcome:
    model = brightness()
    labels = model(images / 255).argmax(1)
    session = Session(quiet=True, precision="bfloat16" if quick else "float32")
    subjects = Subjects(images.byte(), labels, Untargeted(labels))
    return run_attack(attack, model, subjects, session, rng=rng(), radii=radii, batch_size=batch_size)


def test_radii_reuse_what_succeeded_at_smaller_ones() -> None:
    images = grey(126, 124, 120, 100) * 255
    attack = PGD(steps=4, random_start=False)
    found = attack_all(attack, images, (8 / 255, 2 / 255, 4 / 255))
    assert found.radii == (2 / 255, 4 / 255, 8 / 255)
    assert [[v.success for v in row] for row in found.verdicts] == [
        [True, False, False, False],
        [True, True, False, False],
        [True, True, True, False],
    ]
    assert repr(found.verdicts[2][0]) == repr(found.verdicts[0][0])  # NaN is not equal to itself
    alone = attack_all(attack, images[:1], (2 / 255,))
    together = attack_all(attack, images[:1], (2 / 255, 4 / 255, 8 / 255))
    assert torch.equal(alone.queries, together.queries) and torch.equal(alone.gradients, together.gradients)
    assert found.gradients.max() <= 12


def test_evaluation_does_not_depend_on_the_batch() -> None:
    images = torch.randint(90, 165, (5, 3, 16, 16), generator=rng()).float()
    for attack in (PGD(steps=3), OnePixel(queries=40, population=10), DDN(steps=5)):
        one, five = (attack_all(attack, images, (), size) for size in (1, 5))
        assert torch.equal(one.images, five.images)


@pytest.mark.parametrize("attack", [Square(8 / 255, queries=30), OnePixel(queries=40, population=10), Boundary(40)])
def test_queries_are_each_images_own_whatever_shares_its_passes(attack: Attack) -> None:
    images = torch.randint(90, 165, (5, 3, 16, 16), generator=rng()).float()
    images[0], images[1] = 127, 132
    images[0, :, 0, 0] = 254  # the mean is just below the middle: any brighter pixel misleads
    alone, shared = (attack_all(attack, images, (), size) for size in (1, 3))
    assert torch.equal(alone.queries, shared.queries) and torch.equal(alone.images, shared.images)
    assert len(set(alone.queries.tolist())) > 1 or isinstance(attack, Boundary)


def test_square_fills_passes_with_queries_of_images_beyond_the_batch() -> None:
    model, images, passes = brightness(), grey(*[100] * 7) * 255, []
    model.network.register_forward_pre_hook(lambda _, given: passes.append(len(given[0])))
    labels = torch.zeros(7).long()
    run_attack(
        Square(1 / 255, queries=4), model, Subjects(images.byte(), labels, Untargeted(labels)), QUIET, batch_size=4
    )
    assert passes[-12:] == [4, 3] * 4 + [4, 4, 3, 3]  # four queries, then the evaluation before and after


def test_attacks_that_need_small_differences_of_logits_never_run_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(Brightness, "forward", record(Brightness.forward, asked))
    for attack in (Boundary(queries=60), Square(queries=20)):
        attack_all(attack, grey(120) * 255, (), quick=True)
        assert asked and not any(asked)
        asked.clear()
    attack_all(OnePixel(queries=20), grey(120) * 255, (), quick=True)
    assert any(asked)


def record(
    forward: Callable[[Brightness, Tensor], Tensor], asked: list[bool]
) -> Callable[[Brightness, Tensor], Tensor]:
    """The same, and whether bfloat16 was on."""

    def watched(network: Brightness, images: Tensor) -> Tensor:
        asked.append(torch.is_autocast_enabled("cpu"))
        return forward(network, images)

    return watched


def test_minimal_attacks_succeed_at_the_radii_their_change_fits() -> None:
    found = attack_all(DDN(), grey(127, 120) * 255, (0.02, 0.3, 2.0))
    assert found.radii == (0.02, 0.3, 2.0, float("inf"))
    change = [v.l2 for v in found.verdicts[-1]]
    assert all(v.success for v in found.verdicts[-1])
    for radius, verdicts in zip(found.radii, found.verdicts):
        assert [v.success for v in verdicts] == [l2 <= radius * 1.0001 for l2 in change]


def test_a_shared_attack_learns_from_other_images() -> None:
    model = brightness()
    images = (grey(125, 124) * 255).byte()
    labels = torch.zeros(2).long()
    zeros = torch.zeros(3).long()
    others = Subjects((grey(100, 110, 90) * 255).byte(), zeros, Untargeted(zeros))
    subjects = Subjects(images, labels, Untargeted(labels), learn_from=others)
    found = run_attack(Universal(radius=8 / 255, steps=20), model, subjects, QUIET, rng=rng())
    assert all(verdict.success for verdict in found.verdicts[0])
    assert found.gradients.tolist() == [80.0, 80.0], "20 steps of 8 images, shared by two"


class Ceiling(nn.Module):
    """Sees no difference between images that are brighter than 0.5 on average."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.flatten(1).mean(1).clamp(0.1, 0.5)
        return torch.stack([10 * mean - 0.5, 0 * mean], 1)


def test_only_the_images_whose_gradient_vanishes_are_named() -> None:
    images = (grey(100, 200, 90, 250) * 255).byte()
    labels = torch.zeros(4).long()
    subjects = Subjects(images, labels, Untargeted(labels))
    attack, model = PGD(2 / 255, steps=2, random_start=False), replace(brightness(), network=Ceiling())
    found = run_attack(attack, model, subjects, QUIET, rng=rng(), batch_size=3)
    assert found.vanished.tolist() == [False, True, False, True]


def test_defences_are_what_they_say() -> None:
    pixels = torch.rand(2, 3, 32, 32, generator=rng())
    assert bit_depth(pixels).unique().numel() <= 16
    assert (bit_depth(pixels) - pixels).abs().max() <= 0.5 / 15 + 1e-6
    flat = torch.full((1, 3, 32, 32), 0.4)
    torch.testing.assert_close(resize(flat), flat)
    assert resize(pixels).var() < pixels.var() / 2
    assert (jpeg(flat, 90) - flat).abs().max() <= 1.5 / 255
    smooth = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    assert (jpeg(smooth, 90) - smooth).abs().mean() < 0.02 < (jpeg(pixels, 30) - pixels).abs().mean()


def test_quick_passes_are_run_in_full_where_bfloat16_cannot_tell_two_classes_apart() -> None:
    layer = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 1.0, 0.0], [1.001, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    bare = Preprocessing(resize=1, crop=1, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    model = VisionModel("close", nn.Sequential(nn.Flatten(), layer), bare, ("a", "b", "c"))
    pixels = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.1, 0.9], [0.7, 0.2, 0.1]]).view(3, 3, 1, 1)
    watched, cost = counted(model, pixels, quick=True)
    with torch.no_grad():
        found, exact = watched(pixels), model(pixels)
    assert found.argmax(1).tolist() == [1, 2, 1] == exact.argmax(1).tolist()
    assert torch.equal(found[[0, 2]], exact[[0, 2]])
    assert cost.queries == 3 and cost.gradients == 0

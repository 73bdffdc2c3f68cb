"""On a linear network every attack has an answer in closed form."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from deepscope.attacks import (
    DDN,
    FGSM,
    PGD,
    PGDL2,
    AutoPGD,
    Boundary,
    CarliniWagner,
    DeepFool,
    Fooling,
    MomentumPGD,
    OnePixel,
    Square,
    Targeted,
    Universal,
    Untargeted,
    distance,
)
from deepscope.attacks.auto_pgd import checkpoints
from deepscope.attacks.grid import rounded, rounded_within
from deepscope.attacks.one_pixel import paint
from deepscope.attacks.patch import Patch
from deepscope.errors import SettingError
from deepscope.models import Preprocessing, VisionModel

SIDE = 8


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def linear_model(classes: int = 4, seed: int = 0) -> VisionModel:
    """Flatten and one linear layer, in float64, on bare pixels."""
    layer = nn.Linear(3 * SIDE * SIDE, classes).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
        layer.bias.zero_()
    bare = Preprocessing(resize=SIDE, crop=SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return VisionModel("linear", nn.Sequential(nn.Flatten(), layer), bare, tuple("abcd"[:classes]))


def middling(count: int = 5) -> Tensor:
    """Images far from black and white, so that no clipping disturbs the closed form."""
    return 0.4 + 0.2 * torch.rand(count, 3, SIDE, SIDE, generator=rng(), dtype=torch.float64)


def weights(model: VisionModel) -> Tensor:
    return model.network.get_parameter("1.weight")


def projections(model: VisionModel, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest class boundary's distance (N,) and the change (N, 3, H, W) that touches it."""
    logits = model(pixels)
    own = logits.argmax(1)
    normals = weights(model)[None] - weights(model)[own][:, None]
    gaps = logits.gather(1, own[:, None]) - logits
    lengths = (gaps / normals.norm(dim=2).clamp_min(1e-12)).scatter(1, own[:, None], torch.inf)
    nearest = lengths.argmin(1)
    row = torch.arange(len(pixels))
    normal = normals[row, nearest]
    change = (gaps[row, nearest] / normal.square().sum(1))[:, None] * normal
    return lengths[row, nearest], change.view_as(pixels)


def test_fgsm_adds_epsilon_times_the_sign_of_the_gradient() -> None:
    model, pixels = linear_model(2), torch.rand(4, 3, SIDE, SIDE, generator=rng(), dtype=torch.float64)
    own = model(pixels).argmax(1)
    moved = FGSM(radius=0.3, levels=0)(model, pixels, Untargeted(own), rng=rng())
    towards = (weights(model)[1 - own] - weights(model)[own]).view_as(pixels)
    torch.testing.assert_close(moved, (pixels + 0.3 * towards.sign()).clamp(0, 1))


def test_pgd_reaches_the_far_corner_of_the_ball() -> None:
    model, pixels = linear_model(2), middling()
    own = model(pixels).argmax(1)
    towards = (weights(model)[1 - own] - weights(model)[own]).view_as(pixels)
    for attack in (PGD(radius=0.1, steps=20, levels=0, stop_early=False), MomentumPGD(0.1, levels=0, stop_early=False)):
        moved = attack(model, pixels, Untargeted(own), rng=rng())
        torch.testing.assert_close(moved, (pixels + 0.1 * towards.sign()).clamp(0, 1))


def test_pgd_l2_reaches_the_far_point_of_the_ball() -> None:
    model, pixels = linear_model(2), middling()
    own = model(pixels).argmax(1)
    towards = functional.normalize(weights(model)[1 - own] - weights(model)[own], dim=1).view_as(pixels)
    moved = PGDL2(radius=0.5, steps=60, levels=0, stop_early=False)(model, pixels, Untargeted(own), rng=rng())
    torch.testing.assert_close(moved, pixels + 0.5 * towards, atol=1e-4, rtol=0)


@settings(max_examples=25, deadline=None)
@given(radius=st.integers(1, 60), seed=st.integers(0, 10**6), levels=st.sampled_from([0, 256]))
def test_bounded_attacks_stay_in_their_ball(radius: int, seed: int, levels: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    pixels = rounded(torch.rand(3, 3, SIDE, SIDE, generator=generator))
    model = linear_model().network.float()
    model = VisionModel("linear", model, linear_model().preprocessing, tuple("abcd"))
    criterion = Untargeted(model(pixels).argmax(1))
    size = radius / 255
    for attack in (
        FGSM(size, levels=levels),
        PGD(size, steps=4, step_size=0.7, restarts=2, levels=levels, stop_early=False),
        MomentumPGD(size, steps=3, levels=levels, stop_early=False),
        AutoPGD(radius=size, steps=6, levels=levels),
        Square(size, queries=10, levels=levels),
        Universal(size, steps=3, levels=levels),
    ):
        moved = attack(model, pixels, criterion, rng=generator)
        assert moved.min() >= 0 and moved.max() <= 1
        assert (moved - pixels).abs().max() <= size + 1e-6, attack
    moved = PGDL2(size, steps=4, levels=levels, stop_early=False)(model, pixels, criterion, rng=generator)
    assert distance(moved, pixels, "l2").max() <= size * (1 + 1e-5) + 1e-6


@given(radius=st.floats(0.001, 2), spread=st.floats(0.001, 0.5), seed=st.integers(0, 9))
def test_rounding_within_a_ball(radius: float, spread: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    centre = rounded(torch.rand(3, 3, SIDE, SIDE, generator=generator, dtype=torch.float64))
    change = spread * torch.randn(centre.shape, generator=generator, dtype=torch.float64)
    points = (centre + change).clamp(0, 1).requires_grad_()
    seen = rounded_within(points, centre, radius)
    torch.testing.assert_close(seen, rounded(seen), atol=1e-12, rtol=0)
    assert (distance(seen, centre, "l2") <= radius * (1 + 1e-5)).all()
    free = rounded(points)
    fits = distance(free, centre, "l2") <= radius
    assert torch.equal(seen[fits], free[fits])
    assert torch.autograd.grad(seen.sum(), points)[0].eq(1).all()


def test_pgd_l2_succeeds_on_the_grid_where_rounding_alone_would_leave_the_ball() -> None:
    model, pixels = linear_model(2), rounded(middling(4))
    w = weights(model)
    own = model(pixels).argmax(1)
    logits = model(pixels)
    margin = (logits.gather(1, own[:, None])[:, 0] - logits.gather(1, 1 - own[:, None])[:, 0]) / (w[0] - w[1]).norm()
    radius = 2 * float(margin.max())
    moved = PGDL2(radius, random_start=False)(model, pixels, Untargeted(own), rng=rng())
    assert (model(moved).argmax(1) != own).all()
    assert (distance(moved, pixels, "l2") <= radius * (1 + 1e-5)).all()


def test_deepfool_is_the_projection_onto_the_nearest_boundary() -> None:
    model, pixels = linear_model(), middling()
    lengths, change = projections(model, pixels)
    moved = DeepFool(overshoot=1e-6, levels=0)(model, pixels, Untargeted(model(pixels).argmax(1)), rng=rng())
    torch.testing.assert_close(moved - pixels, change, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(distance(moved, pixels, "l2"), lengths, rtol=1e-4, atol=0)


def test_deepfool_reaches_a_target() -> None:
    model, pixels = linear_model(), middling()
    targets = model(pixels).argmin(1)
    moved = DeepFool(levels=0)(model, pixels, Targeted(targets), rng=rng())
    assert model(moved).argmax(1).equal(targets)


@pytest.mark.parametrize(
    ("attack", "classes"),
    [
        (CarliniWagner(steps=200, searches=6, weight=0.05, levels=0), 4),
        (DDN(steps=300, gamma=0.02, levels=0), 2),  # with more classes its direction is a mixture of normals
    ],
    ids=["carlini-wagner", "ddn"],
)
def test_minimal_attacks_reach_the_projection_within_one_per_cent(attack: CarliniWagner | DDN, classes: int) -> None:
    model, pixels = linear_model(classes), middling()
    criterion = Untargeted(model(pixels).argmax(1))
    lengths, _ = projections(model, pixels)
    moved = attack(model, pixels, criterion, rng=rng())
    assert criterion.met(model(moved)).all()
    ratio = distance(moved, pixels, "l2") / lengths
    assert ratio.min() >= 1 - 1e-9 and ratio.max() <= 1.01, ratio


def test_boundary_comes_near_the_projection() -> None:
    model, pixels = linear_model(), middling(3)
    criterion = Untargeted(model(pixels).argmax(1))
    lengths, _ = projections(model, pixels)
    moved = Boundary(queries=4000, levels=0)(model, pixels, criterion, rng=rng())
    assert criterion.met(model(moved)).all()
    assert (distance(moved, pixels, "l2") / lengths).max() < 1.25


def test_fooling_takes_normalised_steps_until_the_prediction_changes() -> None:
    model, pixels = linear_model(2), middling()
    own = model(pixels).argmax(1)
    target = 1 - own
    step = functional.normalize(weights(model)[target], dim=1).view_as(pixels)
    expected = pixels.clone()
    for i in range(len(pixels)):
        while model(expected[[i]]).argmax(1) != target[i]:
            expected[i] = (expected[i] + 0.05 * step[i]).clamp(0, 1)
    moved = Fooling(learning_rate=0.05, largest=1, levels=0)(model, pixels, Targeted(target), rng=rng())
    torch.testing.assert_close(moved, expected)


def test_square_reaches_the_far_corner_where_one_class_owns_each_sign() -> None:
    """With weights of one sign a channel, whole-image squares already are the best change there is."""
    model = linear_model(2)
    with torch.no_grad():
        weights(model).copy_(torch.tensor([-1.0, 1.0]).double()[:, None].expand(2, 3 * SIDE * SIDE))
        model.network.get_parameter("1.bias").copy_(torch.tensor([1000.0, 0.0]))
    pixels = middling(2)
    moved = Square(radius=0.1, queries=1500, levels=0)(model, pixels, Untargeted(torch.zeros(2).long()), rng=rng())
    assert ((moved - (pixels + 0.1)).abs() < 1e-9).double().mean() > 0.95


def best_single_pixel(model: VisionModel, pixels: Tensor, criterion: Untargeted) -> Tensor:
    """(N,) the largest margin that any pixel of any corner colour gives, by trying them all."""
    margins = []
    for y in range(SIDE):
        for x in range(SIDE):
            for colour in range(8):
                changed = pixels.clone()
                changed[:, :, y, x] = torch.tensor([colour & 1, colour >> 1 & 1, colour >> 2]).double()
                margins.append(criterion.margin(model(changed)))
    return torch.stack(margins).amax(0)


def test_one_pixel_finds_what_exhaustive_search_finds() -> None:
    model, pixels = linear_model(2), rounded(middling(4))
    own = model(pixels).argmax(1)
    criterion = Untargeted(own)
    shift = best_single_pixel(model, pixels, criterion) * 1.001  # out of reach, so that the search runs to its end
    with torch.no_grad():
        for i in range(len(pixels)):
            bias = torch.zeros(2).double()
            bias[own[i]] = shift[i].abs() + 5
            model.network.get_parameter("1.bias").copy_(bias)
            aim, image = Untargeted(own[[i]]), pixels[[i]]
            best = best_single_pixel(model, image, aim)
            moved = OnePixel(queries=8000, population=100)(model, image, aim, rng=rng())
            assert distance(moved, image, "l0").item() == 1
            assert aim.margin(model(moved)) <= best + 1e-9
            plain = aim.margin(model(image))
            assert aim.margin(model(moved)) - plain >= 0.9 * (best - plain)


def test_paint_changes_those_pixels_alone() -> None:
    pixels = torch.zeros(2, 3, 4, 6)
    changes = torch.tensor([[[5.9, 0.2, 1.0, 0.5, 0.25]], [[0.0, 3.99, 0.0, 1.0, 0.0]]])
    painted = paint(pixels, changes)
    torch.testing.assert_close(painted[0, :, 0, 5], torch.tensor([255, 128, 64]) / 255)
    torch.testing.assert_close(painted[1, :, 3, 0], torch.tensor([0.0, 1.0, 0.0]))
    assert painted.count_nonzero() == 4


def test_auto_pgd_checkpoints_are_the_papers() -> None:
    assert checkpoints(100)[:6] == (0, 22, 41, 57, 70, 80)
    assert checkpoints(100)[-1] == 100


def test_auto_pgd_halves_its_step_and_beats_a_fixed_one() -> None:
    """A bowl whose top lies inside the ball: a fixed sign step circles around it, a halving one comes close."""
    centre = 0.5 + 0.03 * torch.randn(1, 3, SIDE, SIDE, generator=rng(), dtype=torch.float64)

    class Bowl(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            far = (images - centre).square().flatten(1).sum(1)
            return torch.stack([1 + far, torch.zeros_like(far)], 1)

    model = VisionModel("bowl", Bowl(), linear_model().preprocessing, ("a", "b"))
    pixels, criterion = torch.full((1, 3, SIDE, SIDE), 0.5).double(), Untargeted(torch.zeros(1).long())
    fixed = PGD(radius=0.2, steps=40, levels=0)(model, pixels, criterion, rng=rng())
    tuned = AutoPGD(radius=0.2, steps=40, levels=0)(model, pixels, criterion, rng=rng())
    assert distance(tuned, centre, "l2") < distance(fixed, centre, "l2") / 4


def test_patch_lies_whole_inside_and_covers_its_area() -> None:
    pixels = torch.zeros(64, 3, 64, 64)
    patch = torch.ones(1, 3, 14, 14)
    laid = Patch(rotation=30, scale=0.2).apply(patch, pixels, rng=rng())
    area = laid.amax(1).flatten(1).sum(1) / 64**2
    torch.testing.assert_close(area.mean(), torch.tensor(14**2 / 64**2), rtol=0.1, atol=0)
    assert laid[:, :, 0].sum(-1).max() <= 3 * 18, "an edge may be touched, never crossed by more than the patch is wide"
    straight = Patch(rotation=0, scale=0).apply(patch, pixels, rng=rng())
    assert (straight.amax(1).flatten(1).sum(1) - 14**2).abs().max() <= 2 * 14


def test_patch_learns_a_linear_network() -> None:
    """Where all weights of the target are positive, the best patch is white."""
    model = linear_model(2)
    with torch.no_grad():
        weights(model).copy_(torch.tensor([-1.0, 1.0]).double()[:, None].expand(2, 3 * SIDE * SIDE))
        model.network.get_parameter("1.bias").copy_(torch.tensor([300.0, 0.0]))
    patch = Patch(area=0.3, steps=60).fit(model, middling(8), Targeted(torch.ones(8).long()), rng=rng())
    assert patch.shape == (1, 3, 4, 4) and patch.min() > 0.95


def test_universal_change_of_a_linear_network_is_the_sign_of_its_weights() -> None:
    model, pixels = linear_model(2), middling(6)
    targets = torch.ones(6).long()
    change = Universal(radius=0.1, steps=40, levels=0).fit(model, pixels, Targeted(targets), rng=rng())
    towards = (weights(model)[1] - weights(model)[0]).view(1, 3, SIDE, SIDE)
    torch.testing.assert_close(change, 0.1 * towards.sign())


def test_rounding_shows_the_network_what_is_saved() -> None:
    pixels = torch.rand(2, 3, 4, 4, generator=rng(), requires_grad=True)
    seen = rounded(pixels)
    saved = (pixels.detach() * 255).round().to(torch.uint8)
    assert torch.equal(seen, saved.float().div(255))
    seen.sum().backward()
    assert pixels.grad is not None and pixels.grad.eq(1).all()


def test_goals_agree_with_their_definitions() -> None:
    logits = torch.randn(6, 5, generator=rng())
    classes = torch.tensor([0, 1, 2, 3, 4, 0])
    away, to = Untargeted(classes), Targeted(classes)
    assert torch.equal(away.met(logits), away.margin(logits) > 0)
    assert torch.equal(to.met(logits), to.margin(logits) > 0)
    torch.testing.assert_close(away.cross_entropy(logits), -to.cross_entropy(logits))
    torch.testing.assert_close(away.logit(logits), -to.logit(logits))
    torch.testing.assert_close(to.margin(logits), -away.margin(logits))
    for criterion in (away, to):
        torch.testing.assert_close(criterion.scaled_margin(logits), criterion.scaled_margin(10 * logits))
        assert torch.equal(criterion[torch.tensor([4, 1])].margin(logits[[4, 1]]), criterion.margin(logits)[[4, 1]])
    row, (top, _, third, fourth) = logits[1], logits[1].sort(descending=True).values[:4]
    other = torch.cat([row[:1], row[2:]]).max()
    torch.testing.assert_close(away.scaled_margin(logits)[1], (other - row[1]) / (top - third))
    torch.testing.assert_close(to.scaled_margin(logits)[1], (row[1] - other) / (top - (third + fourth) / 2))


@pytest.mark.parametrize("method", [FGSM, PGD, PGDL2, MomentumPGD, Square, Universal])
def test_radius_zero_attacks_nothing(method: type[FGSM]) -> None:
    with pytest.raises(SettingError, match="radius 0 is out of range") as caught:
        method(radius=0)
    assert caught.value.setting == "radius"


def test_a_setting_out_of_range_is_named_as_it_was_given() -> None:
    for make, setting, got in (
        (lambda: OnePixel(population=3), "population", "population 3 "),
        (lambda: Boundary(queries=30), "queries", "got 30"),
        (lambda: Fooling(largest=4), "largest", "did you mean 4/255"),
        (lambda: PGD(step_size=0), "step_size", "step_size 0 "),
        (lambda: DDN(gamma=0), "gamma", "gamma 0 "),
        (lambda: DDN(levels=1), "levels", "got 1"),
        (lambda: PGD().within(1.5), "radius", "radius 1.5 "),
    ):
        with pytest.raises(SettingError, match=got) as caught:
            make()
        assert caught.value.setting == setting


def test_a_radius_below_one_level_says_so() -> None:
    model, pixels = linear_model(), middling(1)
    for attack, setting in ((PGD(radius=0.5 / 255), "radius"), (Fooling(largest=0.5 / 255), "largest")):
        with pytest.raises(SettingError, match="at least 1/255, one level of the saved image") as caught:
            attack(model, pixels, Untargeted(torch.zeros(1).long()))
        assert caught.value.setting == setting

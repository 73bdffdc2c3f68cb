"""What holds for every registered attack, whoever adds the next one."""

from __future__ import annotations

import dataclasses
import gc
import re

import pytest
import torch
from torch import Tensor, nn

from deepscope.attacks import Attack, Bounded, Criterion, Shared, Subjects, Targeted, Untargeted, distance
from deepscope.attacks.outcome import run_attack
from deepscope.errors import DeepscopeError
from deepscope.models import Preprocessing, VisionModel
from deepscope.models.outputs import Kind
from deepscope.session import Session

DECISIONS = ("boundary", "hop-skip-jump")
QUIET = Session(quiet=True)
METHODS = list(Attack.members().values())
SMALL: dict[str, float] = {
    "steps": 20,
    "queries": 60,
    "population": 8,
    "searches": 5,
    "starts": 5,
    "batch": 2,
    "draws": 20,
}
"""Settings that make a method quick; a method takes those that it has."""


def quick(method: type[Attack], settings: dict[str, float] = SMALL) -> Attack:
    assert dataclasses.is_dataclass(method)
    return method(**{f.name: settings[f.name] for f in dataclasses.fields(method) if f.name in settings})


def small_model(categories: int = 6) -> VisionModel:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(8 * 16, 6),
    )
    return VisionModel("small", network, Preprocessing(resize=16, crop=16), tuple("abcdef"[:categories]))


def images(count: int = 4) -> Tensor:
    return torch.randint(256, (count, 3, 16, 16), generator=torch.Generator().manual_seed(1)).float() / 255


def criteria(model: VisionModel, pixels: Tensor) -> list[Criterion]:
    predicted = model(pixels).argmax(1)
    rarest = int(predicted.bincount(minlength=6).argmin())
    return [Untargeted(predicted), Targeted(torch.full_like(predicted, rarest))]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


@each_method
def test_builds_with_its_defaults_and_is_a_frozen_final_dataclass(method: type[Attack]) -> None:
    attack = method()
    assert dataclasses.is_dataclass(attack)
    with pytest.raises(dataclasses.FrozenInstanceError):
        attack.norm = "l2"  # type: ignore[misc]
    assert not method.__subclasses__()
    assert method.norm in ("l0", "l1", "l2", "linf")
    assert isinstance(attack, Bounded) or not hasattr(attack, "radius")
    if isinstance(attack, Bounded):
        other = 2 if method.norm == "l0" else 0.5
        assert attack.within(other).reach == other and attack.within(attack.reach) == attack


@each_method
def test_documents_its_source_and_every_field(method: type[Attack]) -> None:
    text = method.__doc__ or ""
    assert re.search(r"\(.*\b(19|20)\d\d\b.*\)", text), "the docstring cites the paper"
    for field in dataclasses.fields(method):  # type: ignore[arg-type]
        assert re.search(rf"^ +{field.name}: \S", text, re.MULTILINE), field.name


@each_method
def test_gives_pixels_of_the_same_shape_and_leaves_its_input_alone(method: type[Attack]) -> None:
    model, pixels = small_model(), images()
    before = pixels.clone()
    for criterion in criteria(model, pixels):
        moved = quick(method)(model, pixels, criterion, rng=rng())
        assert moved.shape == pixels.shape and moved.dtype == pixels.dtype
        assert moved.min() >= 0 and moved.max() <= 1 and not moved.requires_grad
        assert torch.equal(pixels, before)


@each_method
def test_brings_saved_images_closer_to_the_criterion(method: type[Attack]) -> None:
    model, pixels = small_model(), images(6)
    for criterion in criteria(model, pixels):
        # a shared change is learnt slowly, and 5 % of so small an image are too few pixels
        attack = quick(method, {"area": 0.1} if issubclass(method, Shared) else SMALL)
        moved = attack(model, pixels, criterion, rng=rng())
        saved = (moved * 255).round() / 255
        if method.name not in DECISIONS or isinstance(criterion, Untargeted):  # noise need not be taken for a target
            assert criterion.margin(model(saved)).mean() > criterion.margin(model(pixels)).mean()


@each_method
def test_the_same_rng_gives_the_same_bits(method: type[Attack]) -> None:
    model, pixels = small_model(), images()
    criterion = criteria(model, pixels)[0]
    first, second = (quick(method)(model, pixels, criterion, rng=rng(3)) for _ in range(2))
    assert torch.equal(first, second)
    torch.manual_seed(7)  # without a generator, the one seeded with 0: never the global one
    assert torch.equal(quick(method)(model, pixels, criterion), quick(method)(model, pixels, criterion, rng=rng(0)))


@each_method
def test_an_image_does_not_depend_on_its_batch(method: type[Attack]) -> None:
    if issubclass(method, Shared):
        pytest.skip("one change for all images depends on all of them")
    model, pixels = small_model(), images(5).double()
    model = VisionModel("small", model.network.double(), model.preprocessing, model.categories)
    for criterion in criteria(model, pixels):
        together = quick(method)(model, pixels, criterion, rng=rng())
        generator = rng()
        parts = [torch.arange(0, 1), torch.arange(1, 3), torch.arange(3, 5)]
        apart = torch.cat([quick(method)(model, pixels[rows], criterion[rows], rng=generator) for rows in parts])
        torch.testing.assert_close(together, apart, rtol=1e-7, atol=1e-7)


@each_method
def test_leaves_the_network_as_it_was(method: type[Attack]) -> None:
    model, pixels = small_model(), images()
    network = model.network
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    marker = torch.ones(8, 3, 3, 3)
    weight = network.get_parameter("0.weight")
    weight.grad = marker
    quick(method)(model, pixels, criteria(model, pixels)[0], rng=rng())
    assert weight.grad is marker and marker.eq(1).all()
    assert all(parameter.grad is None for name, parameter in network.named_parameters() if name != "0.weight")
    assert not network.training and torch.is_grad_enabled()
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@each_method
@pytest.mark.usefixtures("only_new_objects")
def test_leaves_no_tensors_behind(method: type[Attack]) -> None:
    model, pixels = small_model(), images(2)
    criterion = criteria(model, pixels)[0]

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(item), Tensor) for item in gc.get_objects())

    quick(method)(model, pixels, criterion, rng=rng())
    before = tensors()
    for _ in range(3):
        quick(method)(model, pixels, criterion, rng=rng())
    assert tensors() <= before


class Scaled(nn.Module):
    """Another network's logits times a constant."""

    def __init__(self, network: nn.Module, factor: float) -> None:
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs) * self.factor


class FirstClasses(nn.Module):
    """The first logits of more."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, logits: Tensor) -> Tensor:
        return logits[:, : self.count]


@each_method
@pytest.mark.parametrize("classes", [2, 6])
def test_the_scale_of_the_logits_changes_nothing(method: type[Attack], classes: int) -> None:
    """Up to 1e6, where softmax is 0 or 1 in double precision, and down to 1e-6, where it is uniform."""
    model, pixels = small_model(), images(6).double()
    network = nn.Sequential(model.network.double(), FirstClasses(classes))
    plain = dataclasses.replace(model, network=network, categories=model.categories[:classes])
    labels = plain(pixels).argmax(1)
    target = int(labels.bincount(minlength=classes).argmin())
    for criterion in (Untargeted(labels), Targeted(torch.full_like(labels, target))):
        expected = quick(method)(plain, pixels, criterion, rng=rng())
        for factor in (1e-6, 1e-3, 1e3, 1e6):
            scaled = dataclasses.replace(plain, network=Scaled(network, factor))
            moved = quick(method)(scaled, pixels, criterion, rng=rng())
            assert torch.equal(criterion.met(plain(moved)), criterion.met(plain(expected))), factor
            torch.testing.assert_close(moved, expected, rtol=0, atol=1e-3 / 255)


WITHOUT_GRADIENTS = (*DECISIONS, "square", "one-pixel", "spatial")


@pytest.mark.parametrize(
    "method", [m for m in METHODS if m.name not in WITHOUT_GRADIENTS], ids=lambda method: method.name
)
def test_a_saturated_network_is_no_harder_to_fool(method: type[Attack]) -> None:
    """In single precision, as networks are: gradients of the plain cross-entropy are exactly zero here."""
    model, pixels = small_model(), images(6)
    saturated = dataclasses.replace(model, network=Scaled(model.network, 1e4))
    labels = model(pixels).argmax(1)
    points = pixels.clone().requires_grad_()
    loss = nn.functional.cross_entropy(saturated(points), labels)
    assert not torch.autograd.grad(loss, points)[0].any()
    criterion = Untargeted(labels)
    found = [criterion.met(model(quick(method)(m, pixels, criterion, rng=rng()))) for m in (model, saturated)]
    assert found[1].sum() >= found[0].sum()


@each_method
def test_refuses_a_network_without_classes(method: type[Attack]) -> None:
    model, pixels = small_model(categories=0), images(2)
    with pytest.raises(DeepscopeError, match="features only"):
        quick(method)(model, pixels, Untargeted(torch.zeros(2).long()), rng=rng())


@each_method
def test_a_shared_change_may_be_laid_on_other_images(method: type[Attack]) -> None:
    attack = quick(method)
    if not isinstance(attack, Shared):
        pytest.skip("each image has its own change")
    model, pixels = small_model(), images(4)
    criterion = criteria(model, pixels)[0]
    change = attack.fit(model, pixels[:3], criterion[torch.arange(3)], rng=rng())
    moved = attack.apply(change, pixels[3:], rng=rng())
    assert moved.shape == pixels[3:].shape and distance(moved, pixels[3:], "linf") > 0


class Saturated(nn.Module):
    """Softmax of logits that differ by so much that it is constant at most images."""

    def __init__(self, network: nn.Module, factor: float) -> None:
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, inputs: Tensor) -> Tensor:
        return (self.network(inputs) * self.factor).softmax(1)


@each_method
@pytest.mark.parametrize(
    ("returns", "factor"), [("probabilities", 30.0), ("logits", 1e3), ("logits", 1e4), ("probabilities", 1e4)]
)
def test_a_gradient_of_zero_moves_nothing(method: type[Attack], factor: float, returns: Kind) -> None:
    """A softmax of the network's own: a step along a gradient divided by its length is 0 / 0."""
    model, pixels = small_model(), images(6)
    model = model.with_network(Saturated(model.network, factor), returns=returns)
    labels = model(pixels).argmax(1)
    slow = {"targets", "searches"} & set(method.__annotations__)  # these take all their steps several times
    attack = quick(
        method, SMALL if slow else {**SMALL, "steps": 150}
    )  # a radius that grows at each step overflows late
    for criterion in (Untargeted(labels), Targeted((labels + 1) % 6)):
        moved = attack(model, pixels, criterion, rng=rng())
        assert moved.isfinite().all() and moved.min() >= 0 and moved.max() <= 1
    levels, criterion = (pixels * 255).round().byte(), Untargeted(labels)
    found = run_attack(attack, model, Subjects(levels, labels, criterion), QUIET, rng=rng())
    withstood = torch.tensor([not verdict.success for verdict in found.verdicts[-1]])
    assert not (found.vanished & ~withstood).any()
    if factor == 1e4 and method.name in ("square", "one-pixel"):  # the scores of some images change now and then
        assert found.vanished.any()
    elif factor == 1e4 and method.name not in (*DECISIONS, "spatial"):
        assert torch.equal(found.vanished, withstood)


@each_method
def test_runs_alike_in_inference_mode(method: type[Attack]) -> None:
    model, pixels = small_model(), images(3)
    criterion = criteria(model, pixels)[0]
    expected = quick(method)(model, pixels, criterion, rng=rng())
    with torch.inference_mode():
        made = pixels.clone()
        moved = quick(method)(model, made, criteria(model, made)[0], rng=rng())
        levels = (made * 255).round().byte()
        subjects = Subjects(levels, criterion.classes.clone(), criteria(model, made)[0])
        run_attack(quick(method), model, subjects, QUIET, rng=rng())
    assert torch.equal(moved, expected)
    with torch.no_grad():
        assert torch.equal(quick(method)(model, pixels, criterion, rng=rng()), expected)

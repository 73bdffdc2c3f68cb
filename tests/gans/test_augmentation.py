"""The augmentation, against a plain re-implementation per image; and that it does not leak into samples."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from deepscope.errors import FileError, SettingError
from deepscope.gans import (
    Architecture,
    Discriminator,
    GANStep,
    Generator,
    LeastSquares,
    Recipe,
    WassersteinGP,
    augmentation,
    fitting,
)
from deepscope.gans.augmentation import FEW, TARGET, Augmentation, Transform, chosen
from deepscope.session import Session
from deepscope.training import Moment
from gan_commands import changed, session

SIDE = 16
TINY = Architecture(side=SIDE, latent=3, width=2, normalisation="none")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, channels: int = 3) -> Tensor:
    return torch.rand(count, channels, SIDE, SIDE, generator=rng(1)) * 2 - 1


def plain(image: Tensor, drawn: Transform, row: int) -> Tensor:
    """One image (C, H, W), a pixel at a time."""
    image = image + drawn.brightness[row]
    grey = sum(image[channel] for channel in range(len(image))) / len(image)
    image = torch.stack([(channel - grey) * drawn.saturation[row] + grey for channel in image])
    image = (image - image.mean()) * drawn.contrast[row] + image.mean()
    down, right = drawn.shift[row].tolist()
    top, left = drawn.cutout[row].tolist()
    found = torch.zeros_like(image)
    for y in range(SIDE):
        for x in range(SIDE):
            comes_from_inside = 0 <= y - down < SIDE and 0 <= x - right < SIDE
            is_cut = top <= y < top + SIDE // 2 and left <= x < left + SIDE // 2
            if comes_from_inside and not is_cut:
                found[:, y, x] = image[:, y - down, x - right]
    return found


@pytest.mark.parametrize("channels", [1, 3])
def test_transforms_are_those_of_a_plain_loop_and_so_are_their_gradients(channels: int) -> None:
    drawn = Transform.drawn(6, SIDE, 0.8, rng(), cutout=True)
    assert drawn.shift.any() and (drawn.cutout < SIDE).any() and (drawn.cutout == SIDE).any()
    weights = torch.randn(6, channels, SIDE, SIDE, generator=rng(2))
    results = []
    for transform in (drawn, lambda x: torch.stack([plain(image, drawn, row) for row, image in enumerate(x)])):
        x = images(6, channels).requires_grad_()
        made = transform(x)
        (gradient,) = torch.autograd.grad((made * weights).sum(), x)
        results.append((made.detach(), gradient))
    torch.testing.assert_close(*(made for made, _ in results))
    torch.testing.assert_close(*(gradient for _, gradient in results))
    assert results[0][1].abs().sum() > 0


def test_with_a_probability_of_0_nothing_is_changed_and_with_1_every_image_is() -> None:
    x = images(8)
    assert torch.equal(Transform.drawn(8, SIDE, 0.0, rng(), cutout=True)(x), x)
    assert (Transform.drawn(8, SIDE, 1.0, rng())(x) != x).flatten(1).any(1).all()


def test_random_numbers_are_those_of_the_publication() -> None:
    drawn = Transform.drawn(20_000, 32, 1.0, rng(), cutout=True)
    assert (Transform.drawn(20, 32, 1.0, rng()).cutout == 32).all()  # far outside: none unless asked for
    for values, low, high in ((drawn.brightness, -0.5, 0.5), (drawn.saturation, 0, 2), (drawn.contrast, 0.5, 1.5)):
        quantiles = torch.quantile(values, torch.linspace(0, 1, 5))
        torch.testing.assert_close(quantiles, torch.linspace(low, high, 5), atol=0.03, rtol=0)
    assert drawn.shift.unique().tolist() == list(range(-4, 5))
    assert drawn.cutout.unique().tolist() == list(range(-8, 25))
    half = Transform.drawn(20_000, 32, 0.5, rng(), cutout=True)
    assert float((half.brightness != 0).float().mean()) == pytest.approx(0.5, abs=0.02)
    assert float((half.cutout[:, 0] < 32).float().mean()) == pytest.approx(0.5, abs=0.02)
    # each on its own, as ADA was published: where they came together, half of the images would stay as they are
    changed = (
        half.brightness != 0,
        half.saturation != 1,
        half.contrast != 1,
        half.shift.any(1),
        half.cutout[:, 0] < 32,
    )
    unchanged = torch.stack(changed).any(0).logical_not()
    assert float(unchanged.float().mean()) == pytest.approx(0.5**5, abs=0.01)


def update(loss: Tensor, optimiser: Optimizer) -> None:
    optimiser.zero_grad()
    loss.backward(inputs=[p for group in optimiser.param_groups for p in group["params"]])
    optimiser.step()


def step_of(augmentation: Augmentation | None, recipe: Recipe = Recipe(batch_size=4)) -> GANStep:
    torch.manual_seed(0)
    return GANStep(Generator(TINY, 1, 0), Discriminator(TINY, 1, 0), recipe, augmentation)


def batch(count: int = 4) -> tuple[Tensor, Tensor]:
    made = torch.randint(0, 256, (1, count, 1, SIDE, SIDE), dtype=torch.uint8, generator=rng(1))
    return made, torch.zeros(1, count, dtype=torch.int64)


def test_every_image_that_the_discriminator_sees_is_transformed_by_numbers_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn, seen, kept = [], [], Transform.drawn

    def watched(count: int, side: int, probability: float, rng: torch.Generator, *, cutout: bool) -> Transform:
        drawn.append(((count, side, probability, cutout), kept(count, side, probability, rng, cutout=cutout)))
        return drawn[-1][1]

    monkeypatch.setattr(Transform, "drawn", watched)
    step = step_of(Augmentation("diffaugment", cutout=True), Recipe(batch_size=4, r1=1.0))
    step.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    twin = copy.deepcopy(step.generator)
    moment = Moment(0, 10, Session(quiet=True))
    step(batch(), moment, update)
    real = batch()[0][0].float() / 127.5 - 1
    fake = twin(torch.randn(4, 3, generator=moment.rng("z", "0")), torch.zeros(4, dtype=torch.int64)).detach()
    # real images, generated images, the penalty on the same real images, and the generator's update
    assert [about for about, _ in drawn] == [(4, SIDE, 1.0, True)] * 3
    (_, first), (_, second), (_, third) = drawn
    for found, expected in zip(seen, (first(real), second(fake), first(real), third(fake)), strict=True):
        torch.testing.assert_close(found, expected)
    assert not any(torch.equal(first.brightness, other.brightness) for other in (second, third))


def test_without_augmentation_a_step_is_as_before() -> None:
    plain_step, kept = step_of(None), step_of(Augmentation("ada"))  # at its first probability, 0
    for step in (plain_step, kept):
        step(batch(), Moment(0, 10, Session(quiet=True)), update)
    for ours, theirs in zip(plain_step.generator.parameters(), kept.generator.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert "augmentation" not in plain_step.parts and "augmentation" in kept.parts


def test_ada_follows_the_signs_of_real_images() -> None:
    augmentation = Augmentation("ada")
    sure, unsure = torch.ones(1000), torch.tensor([1.0] * 700 + [-1.0] * 300)
    assert float(unsure.sign().mean()) < TARGET
    for expected in (0.01, 0.02):
        augmentation.adapt(sure)
        assert float(augmentation.probability) == pytest.approx(expected)
    for expected in (0.01, 0.0, 0.0):
        augmentation.adapt(unsure)
        assert float(augmentation.probability) == pytest.approx(expected, abs=1e-7)
    for _ in range(101):
        augmentation.adapt(sure)
    assert float(augmentation.probability) == 1
    packed = Augmentation("ada")
    packed.adapt(sure[:500], packing=2)
    assert float(packed.probability) == pytest.approx(0.01)
    fixed = Augmentation("diffaugment")
    fixed.adapt(unsure)
    assert float(fixed.probability) == 1


def test_ada_reads_the_logits_as_the_loss_does() -> None:
    step = step_of(Augmentation("ada"), Recipe(batch_size=4, objective=LeastSquares()))
    nn.init.zeros_(step.discriminator.head.weight)  # every logit is 0: below 0.5, generated
    figures = step(batch(), Moment(0, 10, Session(quiet=True)), update)
    assert figures["augmentation/probability"].item() == 0
    with pytest.raises(SettingError, match="augment must be diffaugment, none or auto: wgan-gp does not say"):
        Recipe(objective=WassersteinGP(), augment="ada").require_trainable(TINY)
    Recipe(objective=WassersteinGP(), augment="diffaugment").require_trainable(TINY)


def test_few_images_are_augmented_unless_asked_otherwise() -> None:
    assert [chosen("auto", FEW - 1), chosen("auto", FEW)] == ["diffaugment", "none"]
    assert [chosen("none", 10), chosen("ada", 10**6)] == ["none", "ada"]


def test_older_trainings_are_resumed() -> None:
    assert "augment" not in Recipe(augment="none").recorded()
    assert Recipe(augment="ada").recorded()["augment"] == "ada"


class Blob(nn.Module):
    """A generator of one bright spot; its brightness and place vary as far as it has learnt to vary them."""

    latent, classes = 3, 0

    def __init__(self, brightness: float, place: float) -> None:
        super().__init__()
        self.spread = nn.Parameter(torch.tensor([brightness, place, place]))

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        offset, y, x = (z * self.spread)[:, :, None, None].unbind(1)
        places = torch.arange(SIDE, dtype=torch.float32) - SIDE / 2
        spot = torch.exp(-((places[:, None] - y) ** 2 + (places[None, :] - x) ** 2) / 8)
        return (spot - 0.5 + offset)[:, None]


class LeakyStep(GANStep):
    """Augments real images alone, so that the generator has to show what the augmentation does."""

    def _augmented(self, images: Tensor, moment: Moment, stream: str) -> Tensor:
        return super()._augmented(images, moment, stream) if stream.startswith("real") else images


@pytest.mark.parametrize("kind", [GANStep, LeakyStep])
def test_samples_do_not_show_the_augmentation(kind: type[GANStep]) -> None:
    """All real spots are alike; samples start with the spread of the augmentation itself, and have to unlearn it."""
    torch.manual_seed(0)
    generator = Blob(brightness=0.29, place=1.2)
    discriminator = Discriminator(replace(TINY, width=8), 1, 0)
    recipe = Recipe(batch_size=32, rate=1e-2, beta1=0.0, beta2=0.99, r1=1.0, average=0.9)
    step = kind(generator, discriminator, recipe, Augmentation("diffaugment"))  # type: ignore[arg-type]
    spots = Blob(0.0, 0.0)(torch.zeros(32, 3), torch.zeros(32)).detach()
    pixels = ((spots + 1) * 127.5).round().byte()[None]
    for number in range(200):
        step((pixels, torch.zeros(1, 32, dtype=torch.int64)), Moment(number, 200, Session(quiet=True)), update)
    brightness, down, right = step.average.spread.abs().tolist()  # type: ignore[union-attr,operator]
    if kind is LeakyStep:
        assert min(down, right) > 1.8
    else:
        assert brightness < 0.1 and max(down, right) < 0.9


def test_a_training_with_ada_resumes_with_its_probability(
    few_digits: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augmentation, "TARGET", -2.0)  # the probability rises in every step
    command = changed(augment="ada")
    keep, calls = fitting.save, []

    def stop(*arguments: object) -> None:
        keep(*arguments)  # type: ignore[arg-type]
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    command.run(session(tmp_path / "whole"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fitting, "save", stop)
        command.run(session(tmp_path / "stopped"))
    command.run(session(tmp_path / "stopped"))
    whole, stopped = (tmp_path / name / "generator.safetensors" for name in ("whole", "stopped"))
    assert whole.read_bytes() == stopped.read_bytes()
    held = torch.load(tmp_path / "stopped" / "checkpoint.pt", weights_only=True)
    assert float(held["parts"]["augmentation"]["probability"]) == pytest.approx(8 * 20 / 100_000)
    with pytest.raises(FileError, match=r"augment 'ada', now None"):
        changed(augment="none").run(session(tmp_path / "stopped"))

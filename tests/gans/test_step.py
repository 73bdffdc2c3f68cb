"""The step, against the plain loop of PyTorch's example re-implemented with its own optimisers."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from deepscope.errors import DeepscopeError
from deepscope.gans import (
    Architecture,
    Discriminator,
    GANBatches,
    GANStep,
    Generator,
    Hinge,
    Labelled,
    Recipe,
    WassersteinGP,
)
from deepscope.session import Session
from deepscope.training import Moment

TINY = Architecture(side=16, latent=3, width=2)
MOMENT = Moment(0, 10, Session(quiet=True))


def networks(*, classes: int = 0) -> tuple[Generator, Discriminator]:
    torch.manual_seed(0)
    return Generator(TINY, 1, classes), Discriminator(TINY, 1, classes)


def data(turns: int = 1) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (turns, 4, 1, 16, 16), dtype=torch.uint8, generator=rng)
    return images, torch.tensor([0, 1, 2, 0]).repeat(turns, 1)


def update(loss: Tensor, optimiser: Optimizer) -> None:
    optimiser.zero_grad()
    loss.backward(inputs=[p for group in optimiser.param_groups for p in group["params"]])
    optimiser.step()


def test_a_step_is_that_of_the_plain_loop() -> None:
    generator, discriminator = networks(classes=3)
    plain_g, plain_d = copy.deepcopy(generator), copy.deepcopy(discriminator)
    step = GANStep(generator, discriminator, Recipe(batch_size=4))
    images, labels = data()
    figures = step((images, labels), MOMENT, update)

    adam_g, adam_d = (torch.optim.Adam(n.parameters(), 5e-4, betas=(0.5, 0.999)) for n in (plain_g, plain_d))
    real, y = images[0].float() / 127.5 - 1, labels[0]
    fake = plain_g(torch.randn(4, 3, generator=MOMENT.rng("z", "0")), y)
    one, zero = torch.ones(4), torch.zeros(4)
    loss_d = cross_entropy(plain_d(real, y), one) + cross_entropy(plain_d(fake.detach(), y), zero)
    loss_d.backward()
    adam_d.step()
    loss_g = cross_entropy(plain_d(fake, y), one)
    loss_g.backward()
    adam_g.step()

    assert figures["loss/discriminator"].item() == pytest.approx(loss_d.item())
    assert figures["loss/generator"].item() == pytest.approx(loss_g.item())
    for ours, plain in ((generator, plain_g), (discriminator, plain_d)):
        for key, value in plain.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[key], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("d_steps", "g_steps", "expected"), [(1, 1, (1, 3)), (5, 1, (5, 11)), (1, 5, (5, 7))])
def test_no_image_is_generated_or_evaluated_in_vain(d_steps: int, g_steps: int, expected: tuple[int, int]) -> None:
    generator, discriminator = networks()
    calls = [0, 0]
    for row, network in enumerate((generator, discriminator)):

        def count(*_: object, row: int = row) -> None:
            calls[row] += 1

        network.register_forward_pre_hook(count)
    recipe = Recipe(batch_size=4, discriminator_steps=d_steps, generator_steps=g_steps)
    GANStep(generator, discriminator, recipe)(data(d_steps), MOMENT, update)
    assert tuple(calls) == expected


def test_weights_get_gradients_in_their_own_turn_alone() -> None:
    generator, discriminator = networks()
    step = GANStep(generator, discriminator, Recipe(batch_size=4))

    def watched(loss: Tensor, optimiser: Optimizer) -> None:
        own = {id(p) for group in optimiser.param_groups for p in group["params"]}
        others = [p for n in (generator, discriminator) for p in n.parameters() if id(p) not in own]
        before = [None if p.grad is None else p.grad.clone() for p in others]
        update(loss, optimiser)
        for p, old in zip(others, before, strict=True):
            assert (p.grad is None) if old is None else torch.equal(p.grad, old)  # type: ignore[arg-type]

    step(data(), MOMENT, watched)


class WeightGradients(TorchDispatchMode):
    """Counts the channels of each convolution whose weights get a gradient, as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.channels: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution_backward.default and args[10][1]:  # output_mask: input, weight, bias
            self.channels.append(args[2].shape[0])
        return func(*args, **(kwargs or {}))


def test_the_generator_s_turn_computes_no_gradient_of_the_discriminator() -> None:
    step = GANStep(*networks(), Recipe(batch_size=4))
    with WeightGradients() as seen:
        step(data(), MOMENT, update)
    assert seen.channels == [4, 2, 4, 2, 2, 4], (
        "the discriminator's for generated and real images, then the generator's"
    )


@pytest.mark.parametrize(
    ("left", "settings"), [("generator", {"generator_steps": 0}), ("discriminator", {"discriminator_steps": 0})]
)
def test_with_one_equation_alone_the_other_network_stays(left: str, settings: dict[str, int]) -> None:
    generator, discriminator = networks()
    step = GANStep(generator, discriminator, replace(Recipe(batch_size=4), **settings))  # type: ignore[arg-type]
    before = {
        name: [p.clone() for p in n.parameters()]
        for name, n in (("generator", generator), ("discriminator", discriminator))
    }
    step(data(), MOMENT, update)
    for name, network in (("generator", generator), ("discriminator", discriminator)):
        same = [torch.equal(p, old) for p, old in zip(network.parameters(), before[name], strict=True)]
        assert all(same) == (name == left)


def test_mixed_precision_evaluates_with_the_weights_as_they_are_now() -> None:
    # Autocast keeps the weights that it has rounded: the generator must not be evaluated by those before the update.
    generator, discriminator = networks()
    step = GANStep(generator, discriminator, Recipe(batch_size=4, rate=0.5, generator_steps=1))
    seen = []

    def watched(loss: Tensor, optimiser: Optimizer) -> None:
        update(loss, optimiser)
        seen.append(copy.deepcopy(discriminator))

    with torch.autocast("cpu", torch.bfloat16):
        fresh = copy.deepcopy(generator)
        figures = step(data(), MOMENT, watched)
    z = torch.randn(4, 3, generator=MOMENT.rng("z", "0"))
    labels = torch.zeros(4, dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        expected = step.recipe.objective.generator(seen[0](fresh(z, labels), labels))
    assert figures["loss/generator"].item() == pytest.approx(expected.item(), rel=1e-3)


def test_the_average_follows_the_generator() -> None:
    generator, discriminator = networks()
    step = GANStep(generator, discriminator, Recipe(batch_size=4, average=0.9))
    start = [p.clone() for p in generator.parameters()]
    step(data(), MOMENT, update)
    for kept, new, old in zip(step.average.parameters(), generator.parameters(), start, strict=True):
        torch.testing.assert_close(kept, old + 0.9 * (new - old))  # the first decay is 1 / 10


@pytest.mark.parametrize(
    "recipe", [Recipe(objective=WassersteinGP()), Recipe(r1=1.0), Recipe(r1=1.0, objective=Hinge())]
)
def test_penalties_need_images_evaluated_one_by_one(recipe: Recipe) -> None:
    with pytest.raises(DeepscopeError, match="normalisation must be none, layer"):
        recipe.require_trainable(TINY)
    recipe.require_trainable(replace(TINY, normalisation="layer"))


def unnormalised(recipe: Recipe) -> GANStep:
    plain = replace(TINY, normalisation="none")
    torch.manual_seed(0)
    return GANStep(Generator(plain, 1, 0), Discriminator(plain, 1, 0), replace(recipe, batch_size=4))


def test_the_gradient_penalty_is_part_of_the_loss() -> None:
    assert unnormalised(Recipe(objective=WassersteinGP()))(data(), MOMENT, update)["loss/penalty"].item() > 0


def test_r1_is_a_step_of_its_own_every_16_steps() -> None:
    losses: list[float] = []

    def watched(loss: Tensor, optimiser: Optimizer) -> None:
        losses.append(loss.item())
        update(loss, optimiser)

    step, plain = unnormalised(Recipe(r1=0.5)), unnormalised(Recipe())
    plain(data(), MOMENT, update)
    step(data(), MOMENT, watched)
    assert len(losses) == 3  # the discriminator's, the penalty, the generator's
    real = (data()[0][0].float() / 127.5 - 1).requires_grad_()
    twin = unnormalised(Recipe())
    # after the discriminator's own step, before the generator's, both discriminators are the same
    twin.discriminator.load_state_dict(plain.discriminator.state_dict())
    (gradient,) = torch.autograd.grad(twin.discriminator(real, data()[1][0]).sum(), real)
    assert losses[1] == pytest.approx(16 * 0.5 * float(gradient.square().sum((1, 2, 3)).mean()) / 2, rel=1e-5)
    losses.clear()
    step(data(), replace(MOMENT, step=1, steps=100), watched)
    assert len(losses) == 2


def test_r1_falls_by_the_same_factor_each_step_to_its_last_weight() -> None:
    recipe = Recipe(r1=1.0, r1_last=0.01)
    found = [recipe.r1_at(step) for step in (0, 624, 1872, 9008)]
    assert found == pytest.approx([16, 16 * 0.01 ** (1 / 3), 0.16, 0.16])
    assert recipe.r1_at(17) == 0
    assert Recipe(r1=2.0).r1_at(32) == 32
    for wrong in (Recipe(r1=1.0, r1_last=2.0), Recipe(r1_last=0.1), Recipe(beta2=1.0)):
        with pytest.raises(DeepscopeError, match=r"r1_last must|beta2 must"):
            wrong.require_trainable(replace(TINY, normalisation="none"))


class Faded(torch.nn.Module):
    """One pattern or its negative, in a third of the contrast of the real ones."""

    def __init__(self) -> None:
        super().__init__()
        self.latent, self.contrast = 1, torch.nn.Parameter(torch.tensor(0.3))

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return self.contrast * z.sign()[:, :, None, None] * PATTERN


PATTERN = torch.randn(16, 16, generator=torch.Generator().manual_seed(2)).sign()


@pytest.mark.parametrize("normalisation", ["none", "spectral"])
def test_a_discriminator_whose_normalisation_shifts_nothing_learns_contrast(normalisation: str) -> None:
    # without a bias each logit is proportional to the contrast: both kinds of images are then on the same side of 0
    torch.manual_seed(0)
    architecture = replace(TINY, width=4, normalisation=normalisation)  # type: ignore[arg-type]
    recipe = Recipe(batch_size=32, rate=1e-2, generator_steps=0)
    step = GANStep(Faded(), Discriminator(architecture, 1, 0), recipe)  # type: ignore[arg-type]
    signs = torch.ones(32).index_fill(0, torch.arange(16), -1)[:, None, None, None]
    batch = ((signs * 0.9 * PATTERN + 1) * 127.5).round().byte()[None], torch.zeros(1, 32, dtype=torch.int64)
    figures = [step(batch, Moment(number, 1000, Session(quiet=True)), update) for number in range(300)]
    assert figures[-1]["score/real"] > 0.8 > 0.4 > figures[-1]["score/fake"]


def test_the_rate_falls_over_the_second_half() -> None:
    assert [Recipe(rate=2.0).rate_at(p) for p in (0, 0.5, 0.75, 1)] == [2, 2, 1, 0]


def test_every_turn_has_images_of_its_own() -> None:
    labels = torch.arange(40)
    rows = GANBatches(Labelled(torch.zeros(40, 1, 1, 1), labels), 4, 5, Session(quiet=True))
    assert rows.steps == 2
    seen = torch.cat([rows(replace(MOMENT, step=step))[1].flatten() for step in range(2)])
    assert sorted(seen.tolist()) == labels.tolist()

"""Every registered method that computes on the device, as functions of device and dtype."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from deepscope import adaptation, gans
from deepscope.adaptation import Adaptation
from deepscope.adaptation.step import AdaptationStep
from deepscope.attacks import Attack, Criterion, Targeted, Untargeted, distance
from deepscope.attributions import Attribution, IntegratedGradients, Saliency
from deepscope.attributions.attribution import per_pixel
from deepscope.attributions.faithfulness import Explanation, Measure
from deepscope.gans import Objective
from deepscope.session import Session
from deepscope.training import Moment
from deepscope.transfer.heads import Head, folds_of

from .check import rng
from .networks import images, tiny

FEWER = {"samples": 5, "masks": 30, "steps": 20, "queries": 60, "population": 8, "searches": 5, "starts": 5, "batch": 2}
"""What random sampling and long iterations cost is cut down; every other setting is the default."""
FEWEST = {**FEWER, "masks": 8, "steps": 4, "queries": 30, "searches": 2, "targets": 2}
"""The same on small networks, where the question is whether it runs."""
CPU, DOUBLE = torch.device("cpu"), torch.float64
COUNT = 3


@dataclass(frozen=True)
class Case:
    """A method to run.

    Attributes:
        name: family and method.
        run: device and dtype -> what the method puts out, on any device.
        outcome: for a method whose path rounding may change: what it puts out -> (N,) whether it succeeded.
        note: what is compared, where that is not the method's output itself.
        double: whether it computes in float64 where it is given float64.
    """

    name: str
    run: Callable[[torch.device, torch.dtype], Tensor]
    outcome: Callable[[Tensor], Tensor] | None = None
    note: str = ""
    double: bool = True


FAMILIES: tuple[Any, ...] = (Attribution, Attack, Measure, Head, Objective, Adaptation)
"""The families whose methods compute on the session's device."""


def cases(*, small: bool) -> Iterator[Case]:
    """One case per registered method, with as few samples and steps as `small` asks for."""
    few = FEWEST if small else FEWER
    attribution, attack = partial(_attribution, few=few), partial(_attack, few=few)
    makers = dict(zip(FAMILIES, (attribution, attack, _measure, _head, _objective, _adaptation)))
    for family, make in makers.items():
        for method in family.members().values():
            yield make(method)
    note = "losses of two steps; the networks compute in float32"
    yield Case("gan-step/steady", lambda device, _: _gan_steps(device, steady=True), note=note, double=False)


def quick(method: type[Any], few: dict[str, int]) -> Any:
    """The method, where it can be had with fewer samples or steps."""
    if method is IntegratedGradients:
        # At a baseline of one colour max pooling sees nothing but ties, which rounding breaks: maps then differ between
        # any two ways to compute them by up to the method's own error.
        return IntegratedGradients(baseline="blurred")
    given = {each.name: each.default for each in dataclasses.fields(method)}
    return method(**{name: value for name, value in few.items() if given.get(name)})  # 0 steps: as many as it takes


def _attribution(method: type[Attribution], few: dict[str, int]) -> Case:
    def run(device: torch.device, dtype: torch.dtype) -> Tensor:
        model = tiny(device, dtype, transformer=method.of_transformers)
        return quick(method, few)(model, images(COUNT, model, dtype), torch.tensor([0, 3, 1]).to(device), rng=rng(7))

    return Case(f"attribution/{method.name}", run)


def _goals() -> list[Criterion]:
    """Away from the prediction, and to the class that is predicted least."""
    model = tiny(CPU, DOUBLE)
    logits = model(images(COUNT, model, DOUBLE))
    return [Untargeted(logits.argmax(1)), Targeted(logits.topk(2).indices[:, 1])]


def _attack(method: type[Attack], few: dict[str, int]) -> Case:
    def run(device: torch.device, dtype: torch.dtype) -> Tensor:
        model = tiny(device, dtype)
        pixels = images(COUNT, model, dtype)
        return torch.cat([quick(method, few)(model, pixels, goal.to(device), rng=rng(3)) for goal in _goals()])

    def outcome(moved: Tensor) -> Tensor:
        model = tiny(CPU, DOUBLE)
        pixels = images(COUNT, model, DOUBLE)
        parts = zip(_goals(), moved.detach().cpu().double().split(COUNT), strict=True)
        changed = distance(moved.detach().cpu().double(), pixels.repeat(2, 1, 1, 1), method.norm) > 0
        return torch.cat([goal.met(model(part)) for goal, part in parts]) & changed

    return Case(f"attack/{method.name}", run, outcome)


def _measure(method: type[Measure]) -> Case:
    def run(device: torch.device, dtype: torch.dtype) -> Tensor:
        model = tiny(device, dtype)
        pixels, target = images(COUNT, model, dtype), torch.tensor([0, 3, 1]).to(device)

        def explain(changed: Tensor) -> Tensor:
            return per_pixel(Saliency()(model, changed, target, rng=rng(7)))

        def explain_class(other: Tensor) -> Tensor:
            return per_pixel(Saliency()(model, pixels, other, rng=rng(7)))

        maps = explain(pixels)
        return method()(Explanation(model, pixels, target, maps, explain, rng(5), explain_class=explain_class))

    return Case(f"measure/{method.name}", run)


def _head(method: type[Head]) -> Case:
    def run(device: torch.device, dtype: torch.dtype) -> Tensor:
        labels = torch.arange(4).repeat(8)
        features = nn.functional.normalize(torch.randn(32, 12, generator=rng()) + labels[:, None].eq(torch.arange(12)))
        fitted = method().fit(features, labels, folds_of(labels, seed=0))
        scores = copy.deepcopy(fitted.scores).to(device, dtype)
        with torch.no_grad():
            return scores(features.to(device, dtype))

    return Case(f"head/{method.name}", run, note="fitted on the CPU, where features are kept; scores on the device")


def _objective(method: type[Objective]) -> Case:
    def run(device: torch.device, dtype: torch.dtype) -> Tensor:
        real, fake = torch.randn(2, 8, generator=rng(1), dtype=DOUBLE).to(device, dtype)
        pictures = torch.rand(2, 4, 1, 8, 8, generator=rng(2), dtype=DOUBLE).to(device, dtype)
        weight = torch.randn(64, generator=rng(3), dtype=DOUBLE).to(device, dtype)
        objective = method()
        losses = [objective.discriminator(real, fake), objective.generator(fake), *objective.score(fake)]
        penalty = objective.penalty(lambda x: (x.flatten(1) @ weight).tanh(), pictures[0], pictures[1], rng(4))
        found = torch.stack([*losses, *([] if penalty is None else [penalty])])
        return found if dtype == DOUBLE else torch.cat([found, _gan_steps(device, objective=objective)])

    return Case(f"objective/{method.name}", run, note="float64: the losses; float32: also those of two training steps")


def _update(loss: Tensor, optimiser: Optimizer) -> None:
    optimiser.zero_grad()
    loss.backward(inputs=[p for group in optimiser.param_groups for p in group["params"]])
    optimiser.step()


def _gan_steps(device: torch.device, objective: Objective | None = None, *, steady: bool = False) -> Tensor:
    """Losses of two steps on labelled images, without gradients' norms, whose last digits differ."""
    architecture = gans.Architecture(side=16, latent=8, width=8, normalisation="layer")
    recipe = gans.Recipe(batch_size=8, objective=objective or gans.NonSaturating())
    if steady:
        architecture, recipe = gans.r1_regularised(architecture, recipe)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator, discriminator = gans.Generator(architecture, 1, 3), gans.Discriminator(architecture, 1, 3)
    step = gans.GANStep(generator.to(device), discriminator.to(device), recipe)
    step.average.to(device)
    pictures = torch.randint(256, (1, 8, 1, 16, 16), dtype=torch.uint8, generator=rng(1)).to(device)
    labels = (torch.arange(8) % 3)[None].to(device)
    found = []
    for number in range(2):
        figures = step((pictures, labels), Moment(number, 10, Session(quiet=True)), _update)
        found += [value.detach() for name, value in figures.items() if not name.startswith("gradient")]
    return torch.stack(found)


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _adaptation(method: type[Adaptation]) -> Case:
    def run(device: torch.device, dtype: torch.dtype) -> Tensor:
        found = [_adaptation_steps(method, device, dtype, digits=False)]
        if dtype == torch.float32:
            found.append(_adaptation_steps(method, device, dtype, digits=True))
        return torch.cat(found)

    return Case(f"adaptation/{method.name}", run, note="losses of two steps without dropout; digits in float32 only")


def _adaptation_steps(method: type[Adaptation], device: torch.device, dtype: torch.dtype, *, digits: bool) -> Tensor:
    made, recipe = method(), adaptation.Recipe(batch_size=8, dropout=0.0)
    with _default(dtype), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if digits:
            network: Any = recipe.digit_network(made)
            inputs = torch.randint(256, (2, 8, 3, 28, 28), dtype=torch.uint8, generator=rng(1))
        else:
            network = recipe.feature_network(12, 4, made)
            inputs = torch.randn(2, 8, 12, generator=rng(1), dtype=dtype)
        labels = torch.arange(8) % 4
        network.calibrate(*inputs)
        step = AdaptationStep(network, made, recipe)
        for part in step.parts.values():
            if isinstance(part, nn.Module):
                part.to(device).train()
        target = inputs[1] if made.uses_target else inputs[1][:0]
        batch = inputs[0].to(device), labels.to(device), target.to(device)
        found = []
        for number in range(2):
            figures = step(batch, Moment(5 + number, 10, Session(quiet=True)), _update)
            found += [value.detach().to(dtype) for value in figures.values()]
    return torch.stack(found)

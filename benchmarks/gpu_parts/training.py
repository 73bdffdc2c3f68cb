"""Training steps and class images: the losses of the CPU, and how fast."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from deepscope import adaptation, gans
from deepscope.adaptation.step import AdaptationStep, DomainBatches
from deepscope.ascent import Streams
from deepscope.session import Session
from deepscope.training import Log, fit
from deepscope.visualization import ClassObjective, Recipe, climb, preset

from .check import Check, Outcome, Record, as_commands_run, exact, relative, rng, verdict
from .networks import large, tiny

CPU = torch.device("cpu")


def training(check: Check) -> Iterator[Record]:
    """GANs, DANN and class images by deepscope's own loops."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before cuBLAS reads it
    for name, trained in (("gan", _gan), ("dann", _dann)):
        yield check.attempt(f"{name}/losses", lambda trained=trained: _losses(check, trained))
        yield check.attempt(f"{name}/repeat", lambda trained=trained: _repeat(check, trained))
        for precision in ("float32", "bfloat16"):
            yield check.attempt(f"{name}/{precision}", lambda t=trained, p=precision: _speed(check, t, p))
    for name in ("default", "report"):
        yield check.attempt(f"class-image/{name}/scores", lambda name=name: _scores(check, name))
        for bfloat16 in (False, True):
            label = f"class-image/{name}/{'bfloat16' if bfloat16 else 'float32'}"
            yield check.attempt(label, lambda n=name, b=bfloat16: _climbing(check, n, b))
    yield check.attempt("adapt/whole", lambda: _adapt(check))


Trained = Callable[[Session, int, int], "list[float]"]
"""Session, width and steps -> the losses of each step."""


def _gan(session: Session, width: int, steps: int) -> list[float]:
    architecture = gans.Architecture(latent=64, width=width)
    recipe = gans.Recipe(batch_size=128 if width > 16 else 16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        step = gans.GANStep(gans.Generator(architecture, 1, 10), gans.Discriminator(architecture, 1, 10), recipe)
    count = 2 * recipe.batch_size
    pictures = torch.randint(256, (count, 1, 32, 32), dtype=torch.uint8, generator=rng(1))
    data = gans.Labelled(pictures, torch.arange(count) % 10)
    history = fit(
        step, gans.GANBatches(data, recipe.batch_size, 1, session), steps=steps, session=session, log=Log(record=1)
    )
    return [row[name] for row in history.rows for name in ("loss/discriminator", "loss/generator")]


def _dann(session: Session, width: int, steps: int) -> list[float]:
    recipe, method = adaptation.Recipe(batch_size=128 if width > 16 else 16, dropout=0.0), adaptation.Dann()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = recipe.digit_network(method)
        step = AdaptationStep(network, method, recipe)
    count = 2 * recipe.batch_size
    source, target = torch.randint(256, (2, count, 3, 28, 28), dtype=torch.uint8, generator=rng(1))
    network.calibrate(source, target)
    labelled = adaptation.Labelled(source, torch.arange(count) % 10)
    batches = DomainBatches(labelled, target, recipe.batch_size, session, uses_target=True)
    history = fit(step, batches, steps=steps, session=session, log=Log(record=1))
    return [row[name] for row in history.rows for name in ("loss/source", "loss/domain")]


def _losses(check: Check, trained: Trained) -> Outcome:
    with exact():
        found, wanted = (
            torch.tensor(trained(Session(device=device, quiet=True), 16, 3)) for device in (check.device, CPU)
        )
    first, all_ = relative(found[:2], wanted[:2]), relative(found, wanted)
    note = "float32, in which these networks compute; before any weight has moved, and over three steps"
    return verdict(first <= 1e-4 and all_ <= 1e-2), {"first-step": first, "three-steps": all_}, note


def _repeat(check: Check, trained: Trained) -> Outcome:
    with as_commands_run(check) as session:
        first, second = (trained(session, 16, 20) for _ in range(2))
    figures = {"equal": first == second, "difference": relative(torch.tensor(first), torch.tensor(second))}
    return verdict(first == second), figures, "20 steps of the same seed, in a session as the command line opens it"


def _speed(check: Check, trained: Trained, precision: Any) -> Outcome:
    session = Session(device=check.device, precision=precision, quiet=True)
    few, many, width = (1, 2, 16) if check.small else (10, 110, 64)
    short = check.clock(lambda: trained(session, width, few))
    short = min(short, check.clock(lambda: trained(session, width, few)))
    losses: list[float] = []
    long = check.clock(lambda: losses.extend(trained(session, width, many)))
    rate = (many - few) / max(long - short, 1e-9)
    size = 128 if width > 16 else 16
    finite = bool(torch.tensor(losses).isfinite().all())
    return (
        verdict(finite),
        {"steps/s": rate, "images/s": rate * size, "batch": size},
        f"width {width}, losses recorded each step",
    )


def _recipe(check: Check, name: str, iterations: int) -> Recipe:
    recipe = replace(preset(name), iterations=iterations)
    return replace(recipe, view=min(recipe.view or 0, 32) if check.small else recipe.view)


def _scores(check: Check, name: str) -> Outcome:
    """Scores along three steps in float64, from the same start."""
    found = []
    for device in (check.device, CPU):
        model = tiny(device, torch.float64)
        targets = torch.tensor([0, 3])
        recipe = replace(_recipe(check, name, 3), view=32 if preset(name).view else 0)
        start = torch.rand(2, 3, 48, 48, generator=rng(2), dtype=torch.float64)
        streams = Streams(tuple(rng(seed) for seed in (5, 6)))
        frames = climb(ClassObjective.of(model, targets, recipe), recipe, streams, start=start)
        found.append(torch.stack([frame.scores.cpu() for frame in frames]))
    return verdict(relative(*found) <= 1e-6), {"float64": relative(*found)}, "random views are drawn in float32"


def _climbing(check: Check, name: str, bfloat16: bool) -> Outcome:
    model = large("resnet50", check.device, small=check.small)
    count, few, many = (2, 1, 2) if check.small else (8, 5, 55)
    targets = torch.arange(count)

    def run(iterations: int) -> Tensor:
        recipe = _recipe(check, name, iterations)
        streams = Streams(tuple(rng(seed) for seed in range(count)))
        *_, frame = climb(ClassObjective.of(model, targets, recipe), recipe, streams, bfloat16=bfloat16)
        return frame.pixels

    pixels = run(few)
    short, long = check.clock(lambda: run(few)), check.clock(lambda: run(many))
    fine = bool(pixels.isfinite().all())
    return verdict(fine), {"steps/s": (many - few) / max(long - short, 1e-9), "images": count}, "resnet50"


def _adapt(check: Check) -> Outcome:
    """A whole adaptation, and its network saved for the target: what a person runs."""
    session = Session(device=check.device, quiet=True)
    recipe = adaptation.Recipe(epochs=1, batch_size=16)
    source, target = torch.randint(256, (2, 64, 3, 28, 28), dtype=torch.uint8, generator=rng(1))
    labelled = adaptation.Labelled(source, torch.arange(64) % 10)
    method = adaptation.Dann()
    adapted = adaptation.adapt_network(
        lambda: recipe.digit_network(method), labelled, target, method=method, recipe=recipe, session=session
    )
    network = adapted.network
    assert isinstance(network, adaptation.DigitNetwork)
    _, wanted = adaptation.run(network, target, adaptation.TARGET, session)
    folded = network.classifier(adaptation.TARGET).to(check.device)
    with torch.inference_mode():
        found = folded((target.float() / 255).to(check.device))
    apart = relative(found, wanted)
    features = recipe.feature_network(12, 4, method).to(check.device)
    normalisation, linear = features.head(adaptation.TARGET)
    linear(normalisation(torch.randn(2, 12, device=check.device)))
    return (
        verdict(apart <= 1e-2),
        {"relative": apart},
        "the network for the target alone against the one that was trained",
    )

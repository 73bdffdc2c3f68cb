"""Train a network on a labelled source and an unlabelled target, and choose the best epoch without labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from deepscope.adaptation.adaptation import Adaptation
from deepscope.adaptation.domain_norm import SOURCE, TARGET
from deepscope.adaptation.networks import DomainNetwork
from deepscope.adaptation.recipe import Recipe
from deepscope.adaptation.step import AdaptationStep, DomainBatches, Labelled
from deepscope.adaptation.validators import Outputs, Validator
from deepscope.errors import DataError
from deepscope.models.classifier import View
from deepscope.session import Session
from deepscope.training import History, Log, fit

_HELD_OUT, _MOST_HELD_OUT = 12, 5000
_BATCH = 500

Watch = Callable[[DomainNetwork], Mapping[str, float]]
"""Measures a network in eval mode; the figures are recorded and never acted on."""


@dataclass(frozen=True)
class Record:
    """What is kept during a training.

    Attributes:
        folder: for checkpoints and history, from which a killed training resumes; None keeps nothing.
        watch: measures the network after each epoch, for the record only.
        tensorboard: also write TensorBoard's events.
    """

    folder: Path | None = None
    watch: Watch | None = None
    tensorboard: bool = False


@dataclass(frozen=True, eq=False)
class Adapted:
    """An adapted network.

    Attributes:
        network: at the chosen epoch, in eval mode.
        history: losses, every validator's score ("validator/NAME") and the figures of `Record.watch`, by step.
        chosen: the step after which the network was chosen.
    """

    network: DomainNetwork
    history: History
    chosen: int


def adapt_network(
    network: Callable[[], DomainNetwork],
    source: Labelled,
    target: Tensor,
    *,
    method: Adaptation,
    recipe: Recipe,
    session: Session,
    validator: str = "info-max",
    record: Record = Record(),
) -> Adapted:
    """Train, and return the network of the epoch with the best label-free score.

    A twelfth of the source, at most 5000 images, is held out for the validators; they see as many target images.

    Args:
        network: makes a fresh one; its random numbers follow from the session's seed.
        source: labelled inputs, as they are stored.
        target: (M, ...) inputs of the other domain, without labels.
        method: how the target takes part.
        recipe: how to train.
        session: device, precision and seed.
        validator: the `Validator` by whose score the epoch is chosen; "last" uses the last epoch.
        record: what is kept along the training.

    Raises:
        DataError: a domain has too few images.
        SettingError: the recipe trains nothing.
        UnknownNameError: no validator has that name.
    """
    recipe.require_trainable()
    validators = [member() for member in Validator.members().values()]  # pyright: ignore[reportAbstractUsage]
    chosen = None if validator == "last" else f"validator/{Validator.member(validator).name}"
    if len(source) < 3 or len(target) < 2:
        raise DataError("adaptation needs at least three labelled images of the source and two of the target")
    held, trained = _held_out(source, session)
    unlabelled = target[torch.randperm(len(target), generator=session.rng("validation"))[: max(len(held), 2)]]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(session.rng("network").initial_seed())
        fresh = network()
        fresh.calibrate(trained.inputs, target)
        step = AdaptationStep(fresh, method, recipe)
    batches = DomainBatches(trained, target, recipe.batch_size, session, uses_target=method.uses_target)

    def observe(done: int) -> Mapping[str, float]:
        result = step.result.eval()
        seen = outputs(result, held, unlabelled, session)
        scores = {f"validator/{each.name}": each.score(seen) for each in validators}
        step.best.consider(done, scores[chosen] if chosen else done, result)
        return {**scores, **(record.watch(result) if record.watch else {})}

    settings = {
        "method": {"name": method.name, **method.settings()},
        "recipe": asdict(recipe),
        "validator": validator,
        "data": _digest(source.inputs, source.labels, target),
    }
    history = fit(
        step,
        batches,
        steps=recipe.epochs * batches.steps,
        session=session,
        observe=observe,
        log=Log(folder=record.folder, settings=settings, every=batches.steps, tensorboard=record.tensorboard),
    )
    return Adapted(step.best.network.eval(), history, int(step.best.step))


def _held_out(source: Labelled, session: Session) -> tuple[Labelled, Labelled]:
    """The source's images for the validators, and those to train on."""
    order = torch.randperm(len(source), generator=session.rng("held out"))
    count = min(max(len(source) // _HELD_OUT, 1), _MOST_HELD_OUT)
    held, trained = order[:count].sort().values, order[count:].sort().values
    return Labelled(source.inputs[held], source.labels[held]), Labelled(source.inputs[trained], source.labels[trained])


def _digest(*tensors: Tensor) -> str:
    """SHA-256 of what is trained on: a checkpoint of other data is refused."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(str((tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def run(
    network: DomainNetwork, inputs: Tensor, domain: int, session: Session, views: Sequence[View] = (View(),)
) -> tuple[Tensor, Tensor]:
    """Features and logits of stored inputs (N, ...) of one domain, float32 on the CPU, in eval mode.

    Both are means over the views of each image; vectors of features have no views.
    """
    device = next(network.parameters()).device
    features, logits = [], []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=session.precision == "bfloat16"):
        for part in inputs.split(_BATCH):
            pixels = network.stored(part.to(device))
            found = [network.eval()(view(pixels), domain) for view in views]
            for kept, each in zip((features, logits), zip(*found, strict=True), strict=True):
                kept.append(torch.stack(each).float().mean(0).cpu())
    return torch.cat(features), torch.cat(logits)


def outputs(network: DomainNetwork, source: Labelled, target: Tensor, session: Session) -> Outputs:
    """What the validators score."""
    features, logits = run(network, source.inputs, SOURCE, session)
    return Outputs(features, logits, source.labels, *run(network, target, TARGET, session))


def correct(logits: Tensor, labels: Tensor) -> int:
    """How many of (N, C) logits are highest at their label (N,)."""
    return int((logits.argmax(1) == labels).sum())

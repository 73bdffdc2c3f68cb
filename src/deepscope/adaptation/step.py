"""One step of adaptation: a joined batch through the network, the source's loss and the method's."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from deepscope.adaptation.adaptation import Adaptation, Seen, View
from deepscope.adaptation.class_shares import ClassShares
from deepscope.adaptation.domain_norm import SOURCE, TARGET
from deepscope.adaptation.networks import DomainNetwork
from deepscope.adaptation.recipe import Recipe
from deepscope.session import Session
from deepscope.training import Moment, Shuffled, Update


@dataclass(frozen=True, eq=False)
class Labelled:
    """Inputs (N, ...) as they are stored, with their classes (N,) int64."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


class Best(nn.Module):
    """The network with the best score so far. It is part of the training's state, for resumption."""

    score: Tensor
    step: Tensor

    def __init__(self, network: DomainNetwork) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("score", torch.zeros((), dtype=torch.float64))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def consider(self, step: int, score: float, network: DomainNetwork) -> None:
        """Keep a copy of the network if none was kept, or only ones with a lower score."""
        if not self.step or score > self.score:
            self.network.load_state_dict(network.state_dict())
            self.step.fill_(step)
            self.score.fill_(score)


class AdaptationStep:
    """What adaptation brings to `training.fit`.

    Args:
        network: to train.
        method: adds its loss.
        recipe: optimiser and augmentation.
    """

    def __init__(self, network: DomainNetwork, method: Adaptation, recipe: Recipe) -> None:
        self._network, self._method, self._recipe = network, method, recipe
        self._own = method.begin(network)
        self._optimiser = recipe.optimise(network, self._own)
        self.best = Best(network)
        self._shares = ClassShares(network.classes) if recipe.partial else None

    @property
    def parts(self) -> Mapping[str, nn.Module | Optimizer]:
        """The network, what the method keeps, the best network so far, the optimiser, shares of classes."""
        parts = {"network": self._network, "method": self._own, "best": self.best, "optimiser": self._optimiser}
        return parts if self._shares is None else {**parts, "shares": self._shares}

    @property
    def result(self) -> DomainNetwork:
        """The network to use."""
        return self._method.result(self._network, self._own)

    def __call__(self, batch: tuple[Tensor, Tensor, Tensor], moment: Moment, update: Update) -> Mapping[str, Tensor]:
        """Descend the sum of both losses on (source inputs, source labels, target inputs)."""
        source, labels, target = batch
        network, sizes = self._network, (len(source), len(target))
        weak = torch.cat([network.stored(part) for part in (source, target) if len(part)])
        inputs = weak
        if self._recipe.augmentation and weak.ndim == 4:
            weak = self._recipe.augmentation.move(weak, moment.rng("shift"))
            inputs = self._recipe.augmentation.distort(weak, moment.rng("distortion"), target=weak[len(source) :])
        features = network.features(inputs, sizes)
        logits = network.classify(features, sizes)
        parts = zip(inputs.split(sizes), features.split(sizes), logits.split(sizes), strict=True)
        views = [View(*part) for part in parts]
        weights = None if self._shares is None else self._shares.weights(labels)
        seen = Seen(network, views[SOURCE], views[TARGET], labels, weak[len(source) :], moment, weights)
        loss = source_loss(seen)
        extra, figures = self._method.loss(seen, self._own)
        for group in self._optimiser.param_groups:
            group["lr"] = self._recipe.rate * self._recipe.decay(moment.progress)
        update(loss + extra, self._optimiser)
        for each in self._method.further(seen, self._own):
            update(each, self._optimiser)
        if self._shares is not None and len(target):
            self._shares.update(seen.target.logits)
        self._method.after(network, self._own, moment)
        return {"loss/source": loss, **figures}


def source_loss(seen: Seen) -> Tensor:
    """Cross-entropy on the source, each image with its weight."""
    if seen.weights is None:
        return functional.cross_entropy(seen.source.logits, seen.labels)
    return (seen.weights * functional.cross_entropy(seen.source.logits, seen.labels, reduction="none")).mean()


class DomainBatches:
    """Rows of both domains, shuffled independently; without target rows for a method that does not use them."""

    def __init__(self, source: Labelled, target: Tensor, size: int, session: Session, *, uses_target: bool) -> None:
        self._source, self._target = source, target if uses_target else target[:0]
        self._rows = Shuffled(len(source), size, session, "source")
        self._target_rows = Shuffled(len(target), size, session, "target")
        self.steps = max(self._rows.steps, self._target_rows.steps)

    def __call__(self, moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
        """(source inputs, source labels, target inputs)."""
        rows = moment.share(self._rows(moment.step))
        target = self._target
        if len(target):
            target = target[moment.share(self._target_rows(moment.step))]
        return self._source.inputs[rows], self._source.labels[rows], target

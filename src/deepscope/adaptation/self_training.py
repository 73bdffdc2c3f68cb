"""Source-free self-training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from deepscope.adaptation.statistics_of_target import estimate
from deepscope.adaptation.tent import diversity, uncertainty
from deepscope.adaptation.tuning import (
    Proposal,
    Target,
    Tuning,
    batch_norms,
    copied,
    norms,
    require_gradient,
    require_norms,
)
from deepscope.features import class_layer_input
from deepscope.models import VisionModel
from deepscope.models.classifier import pool
from deepscope.settings import Count, Positive, Range, Share
from deepscope.training import Moment, Update, cosine_decay, fit


@dataclass(frozen=True)
class SelfTraining(Tuning):
    """Train normalisation layers on the network's own labels; the class layer is fixed (SHOT, Liang et al. 2020).

    Predictions are trained to be certain for each image and diverse over all images. Every epoch, each image is also
    given the label of the nearest class centre among the target's own features. All other layers are fixed unless
    `every_layer` is set: a model that differs from its source in normalisation alone can keep its source.

    Attributes:
        epochs: passes over the images.
        rate: learning rate of Adam; it falls to 0 along half a cosine.
        pseudo: weight of the pseudo-labels' cross-entropy.
        mix: share of the target's statistics in batch normalisation, which stay fixed in training; 0 keeps the model's.
        every_layer: train all layers below the class layer, as the paper does: choose a rate of about 1e-4.
    """

    epochs: Count = 3
    rate: Positive = 1e-3
    pseudo: Annotated[float, Range()] = 0.3
    mix: Share = 1.0
    every_layer: bool = False

    def require(self, model: VisionModel) -> None:
        """It needs normalisation layers: without them, nothing holds activations in their range."""
        require_norms(model, self.name)
        class_layer_input(model)

    def propose(self, source: Proposal, target: Target) -> Iterator[Proposal]:
        """One model."""
        made = copied(source.model)
        if self.mix and batch_norms(made.network):
            estimate(made, target, mix=self.mix)
        step, rows = _Step(made, self, target), target.rows()

        def batch(moment: Moment) -> tuple[Tensor, Tensor]:
            chosen = moment.share(rows(moment.step))
            return chosen, target.batch(chosen)

        fit(step, batch, steps=self.epochs * rows.steps, session=target.session)
        made.network.eval().requires_grad_(False)
        yield target.proposal(f"{self.name}, mix {self.mix:g}", made)


class _Step:
    """One step of self-training, for `training.fit`."""

    def __init__(self, model: VisionModel, settings: SelfTraining, target: Target) -> None:
        self._model, self._settings, self._target = model, settings, target
        self._every, self._labels = target.rows().steps, torch.empty(0)
        self._layer = class_layer_input(model)
        if settings.every_layer:
            model.network.requires_grad_(True)
            class_layer = [m for m in model.network.modules() if isinstance(m, (nn.Linear, nn.Conv2d))][-1]
            class_layer.requires_grad_(False)
        for parameter in norms(model.network):
            parameter.requires_grad_(True)
        trained = [parameter for parameter in model.network.parameters() if parameter.requires_grad]
        self._optimiser = torch.optim.Adam(trained, settings.rate)

    @property
    def parts(self) -> Mapping[str, nn.Module | Optimizer]:
        """The network and the optimiser."""
        return {"network": self._model.network, "optimiser": self._optimiser}

    def __call__(self, batch: tuple[Tensor, Tensor], moment: Moment, update: Update) -> Mapping[str, Tensor]:
        """Descend uncertainty, sameness and the pseudo-labels' loss on (rows, pixels)."""
        rows, pixels = batch
        model, settings = self._model, self._settings
        model.network.eval()  # batch normalisation keeps the statistics that training starts with
        if settings.pseudo and moment.step % self._every == 0:
            self._labels = pseudo_labels(*observed(model, self._layer, self._target))
        for group in self._optimiser.param_groups:
            group["lr"] = settings.rate * cosine_decay(moment.progress)
        mirrored = torch.rand(len(pixels), 1, 1, 1, generator=moment.rng("mirror")) < 0.5
        pixels = torch.where(mirrored.to(pixels.device), pixels.flip(3), pixels)
        probabilities = model.probabilities(model(pixels))
        certain, diverse = uncertainty(probabilities), diversity(probabilities)
        loss = certain - diverse
        if settings.pseudo:
            labels = self._labels[rows.cpu()].to(pixels.device)
            loss = loss + settings.pseudo * functional.nll_loss(probabilities.clamp(min=1e-12).log(), labels)
        require_gradient(loss, model)
        update(loss, self._optimiser)
        return {"loss": loss, "entropy": certain, "diversity": diverse}


@torch.no_grad()
def pseudo_labels(features: Tensor, probabilities: Tensor) -> Tensor:
    """(N,) classes of the nearest centres, by cosine, of (N, D) features with (N, C) probabilities.

    Centres are first means weighted by the probabilities, then means of the images that are nearest to each. A class
    without an image keeps its first centre.
    """
    features = functional.normalize(features)
    centres = functional.normalize(probabilities.T @ features)
    labels = (features @ centres.T).argmax(1)
    members = functional.one_hot(labels, probabilities.shape[1]).to(features)
    centres = torch.where(members.sum(0)[:, None] > 0, functional.normalize(members.T @ features), centres)
    return (features @ centres.T).argmax(1)


def observed(model: VisionModel, layer: str, target: Target) -> tuple[Tensor, Tensor]:
    """(N, D) features and (N, C) probabilities for all images, on the CPU.

    Features are what the class layer reads, the linear layer or convolution that runs last; of maps or tokens the mean.
    A network without such a layer has those of the layer that is named.
    """
    read: list[Tensor] = []  # by the last run of such a layer, whichever it is
    output: list[Tensor] = []
    kept: list[Tensor] = []

    def before(_: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        read[:] = [given for given in (*inputs, *named.values()) if isinstance(given, Tensor)][:1]

    def after_layer(_: nn.Module, __: Any, made: Tensor) -> None:
        output[:] = [made]

    def after(*_: Any) -> None:
        kept.append(pool((read or output)[0].detach().float(), "mean").cpu())
        read.clear()

    network = model.network
    handles = [
        module.register_forward_pre_hook(before, with_kwargs=True)
        for module in network.modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
    ]
    handles += [
        model.layer(layer).register_forward_hook(after_layer),
        network.register_forward_hook(after),
    ]
    try:
        probabilities = target.probabilities(model)
    finally:
        for handle in handles:
            handle.remove()
    return torch.cat(kept), probabilities

"""`Tuning`: the family of methods that change a classifier's own layers to suit images without labels.

They need no source images: `Adaptation` is the family of methods that do.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from deepscope.adaptation.validators import Outputs, Validator
from deepscope.errors import UnsupportedError
from deepscope.models import VisionModel
from deepscope.models.classifier import Classifier
from deepscope.models.prediction import forward
from deepscope.models.switched import NORMS, is_switched
from deepscope.registry import EVERY_COMMAND, Registered
from deepscope.session import Session
from deepscope.training import Shuffled


@dataclass(frozen=True, eq=False)
class Proposal:
    """A tuned model that a method proposes.

    Attributes:
        name: what was done, for a table.
        model: with a network of its own.
        probabilities: (N, C) for the target's images, on the CPU.
        score: of these probabilities by the label-free validator; higher is better.
    """

    name: str
    model: VisionModel
    probabilities: Tensor
    score: float


@dataclass(frozen=True, eq=False)
class Target:
    """Images of the target, without labels.

    Attributes:
        pixels: (N, C, H, W), in 8 bits where they are RGB.
        batch_size: images per step.
        validator: scores predictions without labels.
        session: device, precision, seed and progress.
    """

    pixels: Tensor
    batch_size: int
    validator: Validator
    session: Session

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, rows: Tensor | slice) -> Tensor:
        """(n, C, H, W) pixels in [0, 1] on the session's device."""
        part = self.pixels[rows].to(self.session.device)
        part = part.float() / 255 if part.dtype == torch.uint8 else part
        return part.contiguous(memory_format=torch.channels_last)  # convolutions are then faster on a CPU

    def slices(self) -> list[slice]:
        """All rows in order, in parts of a batch."""
        return [slice(at, at + self.batch_size) for at in range(0, len(self), self.batch_size)]

    def probabilities(self, model: VisionModel) -> Tensor:
        """(N, C) of a model for all images, on the CPU."""
        rows = self.session.track(self.slices(), "classifying")
        found = [forward(model, self.batch(part), self.session) for part in rows]
        return model.probabilities(torch.cat(found))

    def proposal(self, name: str, model: VisionModel) -> Proposal:
        """The model with its predictions and their score."""
        found = self.probabilities(model)
        nothing, logits = torch.empty(0), found.clamp(min=1e-12).log()
        return Proposal(name, model, found, self.validator.score(Outputs(nothing, nothing, nothing, nothing, logits)))

    def parts(self) -> list[Tensor]:
        """All rows in a random order, in parts of nearly equal size: statistics of a small rest would be noise."""
        order = torch.randperm(len(self), generator=self.session.rng("tune", "statistics"))
        return list(order.tensor_split(max(len(self) // self.batch_size, 1)))

    def rows(self) -> Shuffled:
        """Rows of each step of a training."""
        return Shuffled(len(self), self.batch_size, self.session, "tune")


class Tuning(Registered):
    """How a classifier is changed to suit the target. It holds settings; the classifier itself is not changed."""

    reserved: ClassVar[frozenset[str]] = EVERY_COMMAND | {
        "batch_size",
        "keep_source",
        "limit",
        "model",
        "target",
        "validator",
    }
    choose: ClassVar[bool] = False
    """Whether the source model is a choice too; otherwise the last proposal is taken unless it collapsed."""

    @abstractmethod
    def require(self, model: VisionModel) -> None:
        """Raises UnsupportedError, which names methods that work, where the model lacks the layers."""

    @abstractmethod
    def propose(self, source: Proposal, target: Target) -> Iterator[Proposal]:
        """Tuned copies of the source model."""


def copied(model: VisionModel) -> VisionModel:
    """The model with a copy of its network, and without the digest of the file that its weights came from."""
    network = copy.deepcopy(model.network)
    if isinstance(network, Classifier):
        network.fit = None  # the features of its training images are no longer these
    made = replace(model, network=network, served=None, origin=replace(model.origin, sha256=""))
    made.outputs.kind = model.outputs.kind
    return made


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """Its batch normalisation layers that keep running statistics."""
    found = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    return [module for module in found if module.running_mean is not None]


def norms(network: nn.Module) -> list[nn.Parameter]:
    """Scales and shifts of its normalisation layers."""
    layers = (module for module in network.modules() if isinstance(module, NORMS))
    return [parameter for layer in layers for parameter in layer.parameters(recurse=False)]


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """A block in which batch normalisation uses the statistics of each batch; other layers stay in eval mode."""
    network.eval()
    for layer in batch_norms(network):
        layer.train()
    try:
        yield
    finally:
        network.eval()


def require_batch_norms(model: VisionModel, method: str) -> None:
    """Raises UnsupportedError where the model has no statistics to replace."""
    if batch_norms(model.network):
        return
    instead = "tent or self-training" if norms(model.network) else "adapt fit, with labelled source images"
    raise UnsupportedError(
        f"{method} replaces the statistics of batch normalisation, which {model.name} has not: use {instead}",
        what=method,
    )


def require_untuned(model: VisionModel) -> None:
    """Raises UnsupportedError where the model was tuned before and keeps its source."""
    if is_switched(model.network):
        raise UnsupportedError(
            f"{model.name} was tuned before: tune the model that it was tuned from", what="adapt tune"
        )


def require_norms(model: VisionModel, method: str) -> None:
    """Raises UnsupportedError where the model has no normalisation layers with a scale and a shift."""
    if not norms(model.network):
        raise UnsupportedError(
            f"{method} trains the scales and shifts of normalisation layers, of which {model.name} has none: "
            "use adapt fit, with labelled source images",
            what=method,
        )


def require_gradient(loss: Tensor, model: VisionModel) -> None:
    """Raises UnsupportedError where the network's own code switches gradients off."""
    if not loss.requires_grad:
        raise UnsupportedError(
            f"{model.name} computes without gradients, as under torch.no_grad: use statistics, which needs none",
            what="adapt tune",
        )

"""The rest of a network: from the output of a layer to the logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deepscope.models import VisionModel
from deepscope.models.batching import batches

_BATCH = 64
_CLOSE = 1e-3
"""Difference of logits, relative to the largest, up to which two ways of computing them agree."""


class Rest:
    """Logits of one image whose output at a layer is replaced by others.

    Where the network allows it, the layers before run on the one image and those behind on all replacements: an output
    of one row is broadcast wherever it meets theirs. Whether that gives the same logits as a pass over copies of the
    image is tested once per network.

    Args:
        model: a classifier.
        layer: whose output is replaced; where it runs several times, that of its first run.
    """

    def __init__(self, model: VisionModel, layer: str) -> None:
        self.model, self.layer = model, layer
        self._alone: bool | None = None

    def __call__(self, pixels: Tensor, outputs: Tensor) -> Tensor:
        """(1, C, H, W) pixels and (M, ...) outputs of the layer -> (M, classes) logits, without a graph."""
        with torch.no_grad():
            if self._alone is None:
                self._alone = self._agrees(pixels, outputs)
            alone = self._alone
            run = batches(
                len(outputs),
                lambda rows: self._run(pixels, outputs[rows], alone=alone),
                size=_BATCH,
                measured_on=outputs.device,
            )
            return torch.cat([found for _, found in run])

    def _agrees(self, pixels: Tensor, outputs: Tensor) -> bool:
        """Whether both ways give the same logits, of the first and the last replacement."""
        two = outputs[[0, -1]]
        copied = self._run(pixels, two, alone=False)
        try:
            apart = self._run(pixels, two, alone=True)
        except Exception:  # networks refuse rows of two numbers by any kind of error
            return False
        return apart.shape == copied.shape and bool((apart - copied).abs().amax() <= _CLOSE * copied.abs().amax())

    def _run(self, pixels: Tensor, outputs: Tensor, *, alone: bool) -> Tensor:
        replaced = _Replaced(self.model.network, self.model.layer(self.layer), outputs, alone=alone)
        inputs = self.model.normalise(pixels).expand(len(outputs), -1, -1, -1)
        return self.model.read_out(self.model.outputs(replaced, inputs))


class _Replaced(nn.Module):
    """A network in which the first output of a layer is replaced."""

    def __init__(self, network: nn.Module, module: nn.Module, outputs: Tensor, *, alone: bool) -> None:
        super().__init__()
        self.network, self.module, self.outputs, self.alone = network, module, outputs, alone

    def forward(self, inputs: Tensor) -> object:
        """What the network returns."""
        waiting = [self.outputs]
        handle = self.module.register_forward_hook(
            lambda *_: waiting.pop().clone() if waiting else None  # what follows may change it in place
        )
        try:
            return self.network(inputs[:1] if self.alone else inputs)
        finally:
            handle.remove()

"""A model whose logits are divided by a temperature, or that abstains below a confidence."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from deepscope.errors import UnsupportedError
from deepscope.models.vision_model import VisionModel
from deepscope.settings import Range

_SAME = 1e-4
"""Relative difference of logits up to which two models are the same."""


def abstaining(model: VisionModel, below: float) -> VisionModel:
    """The same classifier, which gives no answer where its confidence is below the one given; 0 answers always.

    Raises:
        SettingError: the confidence is not between 0 and 1, or the model has several labels per image.
    """
    Range(most=1).check("abstain_below", below)
    made = replace(model, head=replace(model.head, abstain_below=below))
    made.outputs.kind, made.outputs.single = model.outputs.kind, model.outputs.single
    return made


def with_temperature(model: VisionModel, temperature: float) -> VisionModel:
    """The same classifier, its logits divided by the temperature: predictions stay, confidences change.

    A confidence below which the model abstains is dropped: it was chosen for other confidences.

    Where the last linear layer or convolution gives the logits, its weights are divided, so that the model can be
    saved, exported and explained as before. Any other network is wrapped.

    Args:
        model: with one class per image.
        temperature: above 0.

    Raises:
        UnsupportedError: the model has several labels per image, or a threshold of its own.
    """
    if model.head.kind not in ("softmax", "binary") or model.head.thresholds:
        raise UnsupportedError(
            f"calibration by temperature is for models of one class per image and no threshold of their own, and "
            f"{model.name} has several labels per image or a threshold",
            what="temperature",
        )
    model = abstaining(model, 0.0)
    pixels = torch.rand(2, model.planes, *model.preprocessing.size, generator=torch.Generator().manual_seed(0))
    pixels = pixels.to(model.device)
    with torch.inference_mode():
        wanted = model(pixels) / temperature
    for scaled in _scaled(model, temperature):
        with torch.inference_mode():
            found = scaled(pixels)
        if float((found - wanted).norm()) <= _SAME * max(float(wanted.norm()), 1e-12):
            return scaled
    raw = replace(model.preprocessing, mean=(0.0,) * model.planes, std=(1.0,) * model.planes)
    wrapped = VisionModel(model.name, _Divided(model, temperature), raw, model.categories, model.wnids)
    wrapped.outputs.kind = "logits"  # small ones look like probabilities
    return wrapped


def _scaled(model: VisionModel, temperature: float) -> list[VisionModel]:
    """The model with the weights of its last layer divided; nothing where no layer may be the last one."""
    if not model.capabilities.activations:
        return []
    network = copy.deepcopy(model.network)
    layers = [module for module in network.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    if not layers:
        return []
    with torch.no_grad():
        for weights in layers[-1].parameters(recurse=False):
            weights /= temperature
    unnamed = replace(model, origin=replace(model.origin, sha256=""))
    made = unnamed.with_network(network, returns=model.outputs.kind)
    made.outputs.single = model.outputs.single
    return [made]


class _Divided(nn.Module):
    """Logits of a model divided by a number."""

    def __init__(self, model: VisionModel, temperature: float) -> None:
        super().__init__()
        self.inner, self._model, self.temperature = model.network, model, temperature

    def forward(self, pixels: Tensor) -> Tensor:
        return self._model(pixels) / self.temperature

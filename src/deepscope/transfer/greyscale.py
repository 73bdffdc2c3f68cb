"""Grey images in a colour network: the input channels of its first convolution reduced to one."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from deepscope.errors import UnsupportedError
from deepscope.models import VisionModel

Grey = Literal["replicate", "fold", "average"]
"""How grey images are fed to a colour network: as three channels, or one with summed or averaged weights."""


def fold_greyscale(model: VisionModel, how: Grey) -> VisionModel:
    """A copy of the model whose first convolution reads one channel.

    "fold" sums the three channels' weights, which gives the same features as replicating the image: convolution
    is linear. "average" divides them by 3, so every response of the first layer, bias apart, is a third of that.

    Raises:
        UnsupportedError: the network does not begin with an ordinary convolution of three channels.
    """
    if how == "replicate":
        return model
    found = [(name, module) for name, module in model.network.named_modules() if isinstance(module, nn.Conv2d)]
    if not found or found[0][1].in_channels != 3 or found[0][1].groups != 1:
        raise UnsupportedError(
            f"{model.name} does not begin with a convolution of three channels: its input cannot be folded"
        )
    network = copy.deepcopy(model.network)
    name, first = found[0]
    statistics = (model.preprocessing.mean, model.preprocessing.std)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1).to(first.weight) for values in statistics)
    network.set_submodule(name, _OneChannel(copy.deepcopy(first), mean, std, 1 if how == "fold" else 1 / 3))
    return replace(model, network=network, architecture="")


class _OneChannel(nn.Module):
    """A convolution on the first of three normalised channels that show the same grey image.

    Channels are normalised differently, and zero padding follows normalisation. So the response is that of one
    channel to the image, plus that of all channels to what normalisation makes of black: a constant map.
    """

    def __init__(self, convolution: nn.Conv2d, mean: Tensor, std: Tensor, gain: float) -> None:
        super().__init__()
        self.convolution = convolution
        self.black = (mean[:, :1] - mean) / std  # other channels' values where the first channel is 0
        one = copy.copy(convolution)  # a subclass keeps its own way of padding
        one._parameters = {
            "weight": nn.Parameter((convolution.weight * std[:, :1] / std).sum(1, keepdim=True) * gain),
            "bias": None,
        }
        self.one = one
        self.gain = gain

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, 3, H, W), of which the first channel is read -> as the convolution."""
        constant = self.convolution(self.black.to(inputs).expand(1, -1, *inputs.shape[2:]))
        bias = 0 if self.convolution.bias is None else self.convolution.bias.view(1, -1, 1, 1)
        return self.one(inputs[:, :1]) + (constant - bias) * self.gain + bias

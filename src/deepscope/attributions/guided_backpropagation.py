"""Guided backpropagation: activations pass only positive gradients back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from deepscope.attributions.attribution import Attribution
from deepscope.attributions.saliency import gradients
from deepscope.models.capabilities import GRADIENTS, LAYERS, Needs
from deepscope.models.vision_model import VisionModel

RECTIFIERS = {
    "relu", "relu_", "relu6", "hardtanh", "hardtanh_", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu",
    "gelu", "silu", "mish", "hardswish", "softplus",
}  # fmt: skip
"""Activation functions that hold back negative values, by the name PyTorch calls them."""


@dataclass(frozen=True)
class GuidedBackpropagation(Attribution):
    """The gradient when every activation passes back only what is positive; absolute, maximum over channels.

    Sharp, but it barely depends on the class and on the upper layers (Adebayo et al. 2018), so it does not
    explain the prediction. In networks without ReLU the same is done at other rectifiers (ReLU6, hard-swish, GELU ...).

    Springenberg et al. 2015, "Striving for Simplicity: The All Convolutional Net".
    """

    needs: ClassVar[Needs] = GRADIENTS | LAYERS  # a compiled program would give plain gradients: it shows no functions

    def __call__(
        self, model: VisionModel, pixels: Tensor, target: Tensor, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """(N, H, W) absolute guided gradients, maximum over the channels."""
        with _Guide():
            return gradients(model, pixels, target).abs().amax(1)


class _Guide(TorchFunctionMode):
    """Drops negative gradients at every rectifier called inside it, module or function alike."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in RECTIFIERS and output.requires_grad:
            output.register_hook(lambda gradient: gradient.clamp_min(0))
        return output

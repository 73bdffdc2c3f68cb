"""`wrap`: any `nn.Module`, or a function of pixels, as a model that every workflow takes."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from deepscope.errors import ModelError, SettingError
from deepscope.models import timm_labels
from deepscope.models.architectures import of_timm
from deepscope.models.capabilities import NOT_DIFFERENTIABLE, Capabilities
from deepscope.models.heads import BINARY, Thresholds, head_of
from deepscope.models.origin import Origin
from deepscope.models.preprocessing import Preprocessing
from deepscope.models.vision_model import VisionModel


class PixelFunction(nn.Module):
    """A function of (N, 3, H, W) pixels in [0, 1] as a module.

    Args:
        function: gives (N, C) logits or probabilities: a tensor, or, of a black box, anything that NumPy reads.
        gradients: whether gradients pass through it.
    """

    def __init__(self, function: Callable[[Tensor], Any], *, gradients: bool = True) -> None:
        super().__init__()
        self.function, self.gradients = function, gradients

    def forward(self, pixels: Tensor) -> Any:
        """(N, C) scores."""
        if self.gradients:
            return self.function(pixels)
        with torch.no_grad():
            found = self.function(pixels.detach())
        if isinstance(found, (np.ndarray, list)):
            return torch.as_tensor(np.asarray(found, dtype=np.float32), device=pixels.device)
        return found


def wrap(
    network: nn.Module | Callable[[Tensor], Any],
    categories: Sequence[str] | None = None,
    *,
    preprocessing: Preprocessing | None = None,
    name: str = "",
    returns: Any = None,
    head: str | None = None,
    thresholds: Thresholds = None,
) -> VisionModel:
    """A model of your own, as every workflow takes it.

    The module itself is used, not a copy: it is put in eval mode and its parameters are frozen. Call `.train()` and
    `.requires_grad_()` on it to train on.

    Args:
        network: an `nn.Module` that takes normalised (N, C, H, W), where the preprocessing has C means; or a function
            of (N, 3, H, W) pixels in [0, 1]. It returns logits or probabilities. A function whose output has no
            gradient, or is an array, is a black box: methods that only query a model work on it.
        categories: one name per class; by default "class 0", "class 1", ..., as many as the network returns. A network
            of timm that returns features, such as CLIP's image towers, has none. Of one logit they are "negative" and
            "positive".
        preprocessing: makes the network's input from images. By default that of timm's own networks, which carry it;
            for other modules resize 256, crop 224 and ImageNet's mean and deviation, with a warning. A function takes
            pixels: mean and deviation are ignored.
        name: how results call the model; by default the class or function name.
        returns: "logits" or "probabilities"; by default the first forward pass decides.
        head: what the scores mean: "softmax" (classes that exclude each other), "multilabel" (a sigmoid per label),
            "binary" (one logit for two classes, the negative one first), or "features" (no classes); by default
            binary where a network without categories returns one score, else softmax.
        thresholds: probabilities above which a label is predicted: one for all labels, a list of one per label, or a
            mapping from names; 0.5 by default.

    Raises:
        SettingError: the network is neither a module nor a function, or the categories, the preprocessing or `returns`
            are not what they should be.
        ModelError: the network cannot run on its input, or returns no scores.

    Example:
        >>> import torch, deepscope as ds
        >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
        >>> model = ds.wrap(module, ["cat", "dog"], preprocessing=ds.Preprocessing(resize=8, crop=8))
        >>> model(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 2])
    """
    if returns not in (None, "logits", "probabilities"):
        raise SettingError("returns", "must be 'logits', 'probabilities' or None", got=returns)
    if isinstance(network, type) or not callable(network):
        raise SettingError("network", "must be an nn.Module, or a function of pixels", got=network)
    if not isinstance(preprocessing, (Preprocessing, type(None))):
        raise SettingError("preprocessing", "must be a deepscope.Preprocessing", got=preprocessing)
    categories = None if categories is None else _names(categories)
    called = str(name) or getattr(network, "__name__", "") or type(network).__name__
    if preprocessing is None:
        preprocessing = _default_preprocessing(network, called)
    capabilities, origin = Capabilities(), Origin()
    if not isinstance(network, nn.Module):
        count = len(preprocessing.mean)
        preprocessing = replace(preprocessing, mean=(0.0,) * count, std=(1.0,) * count)  # it takes pixels
        network = PixelFunction(network, gradients=_differentiable(network, preprocessing))
        reason = "it is a function" if network.gradients else f"it is a function, and {NOT_DIFFERENTIABLE}"
        capabilities = Capabilities(gradients=network.gradients, activations=False, reason=reason)
        # nothing tells two functions apart, so what is cached of one is never used for another
        origin = Origin("a Python function", secrets.token_hex(32))
    if head == "features" or (categories is None and timm_labels.is_embedding(network)):
        return VisionModel(called, network, preprocessing, origin=origin, capabilities=capabilities)
    if categories is None and head == "binary":
        categories = list(BINARY)
    if categories is None:
        width = _width(network, preprocessing, called)
        single = width == 1 and head is None
        head = "binary" if single else head
        categories = list(BINARY) if single else [f"class {index}" for index in range(width)]
    if not categories:
        raise SettingError("categories", "must name at least one class")
    meaning = head_of(head or "softmax", thresholds, categories)
    model = VisionModel(
        called, network, preprocessing, tuple(categories), origin=origin, head=meaning, capabilities=capabilities
    )
    return model.with_network(model.network, returns=returns) if returns else model


def _names(categories: Any) -> list[str]:
    """The names in their order, which a set does not have; a string would name its letters."""
    if isinstance(categories, (str, bytes, Set, Mapping)) or not isinstance(categories, Iterable):
        raise SettingError("categories", "must be a list of one name per class", got=cast("object", categories))
    return [str(name) for name in cast("Iterable[object]", categories)]


def _default_preprocessing(network: object, name: str) -> Preprocessing:
    config = getattr(network, "pretrained_cfg", None)
    if isinstance(config, Mapping) and {"input_size", "mean", "std", "crop_pct", "interpolation"} <= set(config):
        return of_timm(config)
    if not isinstance(network, nn.Module):
        return Preprocessing()
    warnings.warn(
        f"{name} does not say how its input is made: resize 256, crop 224 and ImageNet's mean and deviation are "
        "assumed; pass preprocessing=deepscope.Preprocessing(...) where it was trained differently",
        stacklevel=3,
    )
    return Preprocessing()


def _differentiable(function: Callable[[Tensor], Any], preprocessing: Preprocessing) -> bool:
    """Whether the output of a function for pixels that require a gradient has one."""
    pixels = torch.full((1, preprocessing.planes, *preprocessing.size), 0.5)
    with torch.inference_mode(False), torch.enable_grad():
        try:
            found = function(pixels.clone().requires_grad_())
        except RuntimeError:  # such as PyTorch's refusal to turn them into an array
            return False
    found = getattr(found, "logits", found)
    tensors = found if isinstance(found, (tuple, list)) else [found]
    return any(isinstance(tensor, Tensor) and tensor.requires_grad for tensor in tensors)


def _width(network: nn.Module, preprocessing: Preprocessing, name: str) -> int:
    """How many scores the network returns."""
    height, width = preprocessing.size
    tensor = next((t for group in (network.parameters(), network.buffers()) for t in group), torch.zeros(0))
    inputs = torch.zeros(1, len(preprocessing.mean), height, width, device=tensor.device, dtype=tensor.dtype)
    training = network.training
    try:
        with torch.no_grad():
            output = network.eval()(inputs)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(
            f"{name} cannot run on an input of shape {tuple(inputs.shape)}: {reason}", model=name
        ) from None
    finally:
        network.train(training)
    output = getattr(output, "logits", output)
    if not isinstance(output, Tensor) or output.ndim < 2:
        raise ModelError(f"{name} returns {type(output).__name__}, not scores: name its categories", model=name)
    return output.flatten(1).shape[1]

"""The feature map that determines a class score, and its gradient."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from deepscope.attributions.engine import target_logit
from deepscope.errors import SettingError, UnsupportedError
from deepscope.models.vision_model import VisionModel

_found: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


def with_gradient(model: VisionModel, layer: str, pixels: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """A layer's output and the gradient of the target logits with respect to it.

    The graph begins at the layer: what lies before it is not recorded, and no gradient is computed for it.

    Args:
        layer: a layer's name; where the layer runs several times, its first run counts.

    Returns:
        activations and gradients, (N, C, h, w) each.

    Raises:
        UnknownNameError: the layer does not exist.
        SettingError: it never runs, or gives no feature map.
    """
    started: list[Tensor] = []

    def start_graph(_: nn.Module, __: Any, output: Any) -> Tensor | None:
        if started or not isinstance(output, Tensor):
            return None
        started.append(output.detach().requires_grad_())
        return started[0].clone()  # a copy, because what follows may change it in place

    handle = model.layer(layer).register_forward_hook(start_graph)
    try:
        with torch.enable_grad():
            logit = target_logit(model, pixels.detach().contiguous(memory_format=torch.channels_last), target).sum()
    finally:
        handle.remove()
    if not started:
        raise SettingError("layer", f"{layer!r} of {model.name} gives no tensor in a forward pass: choose another")
    (gradients,) = torch.autograd.grad(logit, started, allow_unused=True)
    activations = as_map(started[0].detach(), pixels)
    if activations is None or gradients is None:
        raise SettingError(
            "layer", f"{layer!r} of {model.name} gives no feature map that the score depends on: choose another"
        )
    mapped = as_map(gradients, pixels)
    assert mapped is not None
    return activations, mapped


def feature_layer(model: VisionModel, pixels: Tensor) -> str:
    """The last layer where the score still depends on several positions and several channels.

    That is the map before the global pooling, also where the class scores are themselves a map (SqueezeNet), and the
    last block that mixes positions in a transformer. Found once per network, in one pass over the first image.

    Raises:
        UnsupportedError: the network has no such layer.
    """
    if model.network not in _found:
        _found[model.network] = _search(model, pixels[:1])
    return _found[model.network]


def as_map(output: Tensor, pixels: Tensor) -> Tensor | None:
    """An output as (N, C, h, w): itself, or from (N, h, w, C), or from (N, tokens, C) without its class token."""
    height, width = pixels.shape[-2:]
    if output.ndim == 4:
        if _same_shape(output.shape[2], output.shape[3], height, width):
            return output
        return output.permute(0, 3, 1, 2) if _same_shape(output.shape[1], output.shape[2], height, width) else None
    if output.ndim == 3:
        rows = int((output.shape[1] * height / width) ** 0.5 + 1e-6)
        columns = output.shape[1] // max(1, rows)
        if _same_shape(rows, columns, height, width):
            patches = output[:, output.shape[1] - rows * columns :]
            return patches.unflatten(1, (rows, columns)).permute(0, 3, 1, 2)
    return None


def _same_shape(rows: int, columns: int, height: int, width: int) -> bool:
    """Whether a grid can be that of an image, each cell covering as much in height as in width, up to rounding."""
    return rows * columns > 1 and abs(rows * width - columns * height) <= 2 * max(height, width)


def _search(model: VisionModel, pixels: Tensor) -> str:
    names = {module: name for name, module in model.network.named_modules() if name}
    outputs: dict[str, Tensor] = {}

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        changes = not (inputs and output is inputs[0])  # dropout does nothing here
        if isinstance(output, Tensor) and output.requires_grad and changes:
            outputs.pop(names[module], None)
            outputs[names[module]] = output

    handles = [module.register_forward_hook(keep) for module in names]
    try:
        with torch.enable_grad():
            logit = model(pixels.detach().requires_grad_()).amax(1).sum()
    finally:
        for handle in handles:
            handle.remove()
    gradients = torch.autograd.grad(logit, list(outputs.values()), allow_unused=True)
    for name, gradient in reversed(list(zip(outputs, gradients))):
        mapped = None if gradient is None else as_map(gradient, pixels)
        if mapped is not None:
            touched = mapped[0] != 0
            if int(touched.any(0).sum()) > 1 and int(touched.any(2).any(1).sum()) > 1:
                return name
    raise UnsupportedError(
        f"{model.name} has no feature map that its class scores depend on: name a layer, or choose a method that "
        "needs none, such as saliency",
        what="layer",
    )

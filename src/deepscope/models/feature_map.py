"""The feature map that determines a class score, and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscope.errors import SettingError, UnsupportedError
from deepscope.models.layouts import layout, layouts
from deepscope.models.vision_model import VisionModel

_found: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], str]] = WeakKeyDictionary()
_TRIED = 4
"""Images of noise that are tried: a small network may be silent on one."""


def with_gradient(
    model: VisionModel, layer: str, pixels: Tensor, score: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """As `gradient_at`, with both as feature maps (N, C, h, w), without prefix tokens.

    Raises:
        SettingError: the layer gives no feature map; else as `gradient_at`.
    """
    output, gradients = gradient_at(model, layer, pixels, score)
    return as_map(model, layer, output, pixels), as_map(model, layer, gradients, pixels)


def gradient_at(
    model: VisionModel, layer: str, pixels: Tensor, score: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """A layer's output and the gradient of a score with respect to it.

    The graph begins at the layer: what lies before it is not recorded, and no gradient is computed for it.

    Args:
        layer: a layer's name; where the layer runs several times, its first run counts.
        score: (N, classes) logits -> (N,) scores.

    Returns:
        activations and gradients, of the shape of the layer's output each.

    Raises:
        UnknownNameError: the layer does not exist.
        UnsupportedError: layers of the network cannot be read.
        SettingError: it never runs, or has no influence on the score.
    """
    require_layers(model)
    started: list[Tensor] = []

    def start_graph(_: nn.Module, __: Any, output: Any) -> Tensor | None:
        if started or not isinstance(output, Tensor):
            return None
        started.append(output.detach().requires_grad_())
        return started[0].clone()  # a copy, because what follows may change it in place

    handles = [  # the network runs several times where it is first seen whether it returns logits
        model.network.register_forward_pre_hook(lambda *_: started.clear()),
        model.layer(layer).register_forward_hook(start_graph),
    ]
    try:
        with torch.enable_grad():
            logits = model(pixels.detach().contiguous(memory_format=torch.channels_last))
            scored = score(logits).sum()
    finally:
        for handle in handles:
            handle.remove()
    if not started:
        raise SettingError("layer", f"{layer!r} of {model.name} gives no tensor in a forward pass: choose another")
    gradients = torch.autograd.grad(scored, started, allow_unused=True)[0] if scored.requires_grad else None
    if gradients is None:
        raise SettingError("layer", f"{layer!r} of {model.name} has no influence on the score: choose another")
    return started[0].detach(), gradients


def as_map(model: VisionModel, layer: str, output: Tensor, pixels: Tensor) -> Tensor:
    """A layer's output (N, ...), or a gradient of its shape, as (N, C, h, w) without prefix tokens.

    Raises:
        SettingError: the layer gives no feature map.
    """
    found = layout(model, layer, pixels)
    maps = None if found is None else found.maps(output)
    if maps is None or maps.shape[2:].numel() == 1:
        raise SettingError("layer", f"{layer!r} of {model.name} gives no feature map: choose another")
    return maps


def feature_layer(model: VisionModel, pixels: Tensor) -> str:
    """The last layer where the score still depends on several positions and several channels.

    That is the map before the global pooling, also where the class scores are themselves a map (SqueezeNet). In a
    transformer that reads a class token, it is the input of the last attention (`blocks.11.norm1` of a ViT): after it,
    the score rests on the class token alone. Layers inside an attention hold queries, keys and values, and do not
    count. Found once per network and size of images, on noise, so that it is the same whatever the images show.

    Raises:
        UnsupportedError: the network has no such layer.
    """
    require_layers(model)
    sizes = _found.setdefault(model.network, {})
    size = tuple(pixels.shape[1:])
    if size not in sizes:
        found = (_search(model, _noise(pixels, seed)) for seed in range(_TRIED))
        sizes[size] = next(filter(None, found), "")
    if not sizes[size]:
        raise UnsupportedError(
            f"{model.name} has no feature map that its class scores depend on: name a layer, or choose a method that "
            "needs none, such as saliency or integrated-gradients",
            what="layer",
        )
    return sizes[size]


def require_layers(model: VisionModel) -> None:
    """Raises UnsupportedError for TorchScript, whose modules take no hooks."""
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.network.modules()):
        raise UnsupportedError(
            f"{model.name} is TorchScript, whose layers cannot be read: choose a method that needs none, such as "
            "saliency or integrated-gradients",
            what="layer",
        )


def _noise(pixels: Tensor, seed: int) -> Tensor:
    """An image (1, C, H, W) like the given ones, from coarse spots on the left to fine noise on the right."""
    rng = torch.Generator().manual_seed(seed)
    channels, height, width = pixels.shape[1:]
    fine = torch.rand(1, channels, height, width, generator=rng)
    spots = functional.interpolate(torch.rand(1, channels, 4, 4, generator=rng), (height, width))
    return spots.lerp(fine, torch.linspace(0, 1, width)).to(pixels)


def _search(model: VisionModel, pixels: Tensor) -> str:
    """The last layer of which the score depends on several positions and channels on this image; empty for none."""
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
            # the scores of all classes, where the model is a contrast too
            scores = model.outputs(model.network, model.normalise(pixels.detach().requires_grad_()))
            logit = model.objective(scores, scores.argmax(1)).sum()
    finally:
        for handle in handles:
            handle.remove()
    gradients = torch.autograd.grad(logit, list(outputs.values()), allow_unused=True) if outputs else ()
    known = layouts(model, pixels)
    for name, gradient in reversed(list(zip(outputs, gradients))):
        found = known.of.get(name)
        inside = any(name.startswith(f"{attention}.") for attention in known.attention)
        mapped = None if gradient is None or found is None or inside else found.maps(gradient)
        if mapped is not None:
            touched = mapped[0] != 0
            if int(touched.any(0).sum()) > 1 and int(touched.any(2).any(1).sum()) > 1:
                return name
    return ""

"""What a network's layers return, by a forward pass without values (on PyTorch's meta device)."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import torch
from torch import Tensor, nn

from deepscope.errors import DeepscopeError, ModelError
from deepscope.models import VisionModel, capabilities
from deepscope.models.capture import capture


def require(model: VisionModel, layer: str) -> None:
    """Raises ModelError where the model has no such layer, or lacks the weights to get there."""
    model.layer(layer)
    network = _without_values(model)
    capture(network, _input(model), {layer: network.get_submodule(model.aliases.get(layer, layer))})


def class_layer_input(model: VisionModel) -> str:
    """The layer whose output the class layer reads; of a model without class layer, the last one that runs.

    Raises:
        UnsupportedError: the model is a black box.
        ModelError: no layer returns a tensor.
    """
    capabilities.require(model, "computing features", capabilities.LAYERS | capabilities.RGB)
    network = _without_values(model)
    names = {module: name for name, module in network.named_modules() if name}
    finished: list[tuple[nn.Module, Tensor, Any]] = []

    def after(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and not isinstance(module, nn.Dropout):
            finished.append((module, output, inputs[0] if inputs else None))

    for module in names:
        module.register_forward_hook(after)
    _run(model, network)
    classes = [at for at, (module, *_) in enumerate(finished) if isinstance(module, (nn.Linear, nn.Conv2d))]
    if model.categories and classes:
        read = finished[classes[-1]][2]
        finished = finished[: classes[-1]]
        finished = [run for run in finished if run[1] is read] or finished
    if not finished:
        raise ModelError(
            f"{model.name} has no layer to take features from: name one, as {model.name}@LAYER", model=model.name
        )
    return names[finished[-1][0]]


def maps(model: VisionModel) -> list[str]:
    """The stages of a network: the last of its upper modules whose output has each shape, in order."""
    capabilities.require(model, "computing features", capabilities.LAYERS | capabilities.RGB)
    network = _without_values(model)
    found: dict[str, tuple[int, int]] = {}

    def watch(name: str, module: nn.Module) -> None:
        def after(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and min(output.shape[2:]) > 1:
                found[name] = (output.shape[1], output.shape[2])

        module.register_forward_hook(after)

    for name, module in network.named_modules():
        if name and name.count(".") <= 1 and not isinstance(module, nn.Conv2d):
            watch(name, module)
    _run(model, network)
    last_of_shape = {shape: name for name, shape in found.items()}
    return list(last_of_shape.values())


def _run(model: VisionModel, network: nn.Module) -> None:
    """A pass without values. Where weights are missing, what ran before that is the answer.

    Raises:
        ModelError: the network needs values: it computes with NumPy, say, or branches on what a layer returns.
    """
    try:
        with contextlib.suppress(DeepscopeError):
            network(_input(model))
    except (TypeError, RuntimeError, NotImplementedError) as error:
        text = f"the layers of {model.name} cannot be followed, as its forward pass leaves PyTorch"
        raise ModelError(f"{text} ({str(error).partition('.')[0]})", model=model.name) from None


def _without_values(model: VisionModel) -> nn.Module:
    return copy.deepcopy(model.network).to("meta")


def _input(model: VisionModel) -> Tensor:
    dtype = next((parameter.dtype for parameter in model.network.parameters()), None)
    return torch.empty(1, len(model.preprocessing.mean), *model.preprocessing.size, dtype=dtype, device="meta")

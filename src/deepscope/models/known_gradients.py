"""Whether gradients pass through a network, which nothing but a forward pass tells of a module of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from deepscope.errors import out_of_memory
from deepscope.models.capabilities import NOT_DIFFERENTIABLE, UsesModel
from deepscope.models.returned import scores_in
from deepscope.models.vision_model import VisionModel

_ITSELF = "its forward method"
_REMEDY = "where a call of detach(), torch.no_grad(), argmax or NumPy must be removed"


def with_known_gradients(model: VisionModel, methods: Sequence[UsesModel] = ()) -> VisionModel:
    """The model; where its scores turn out to have no gradient, with capabilities that say so and where it is lost.

    Of a network that detaches its output, or computes outside PyTorch, attacks would otherwise take gradients of zero
    for a defence. A gradient that exists and is zero is such a sign, and stays one.

    Args:
        model: any classifier. One image is classified, unless it is known already to give no gradients.
        methods: that are about to run on it.

    Raises:
        UnsupportedError: a method needs what the model does not give; the message names methods that work on it.
        ModelError: a method needs classes, and the model has features only.

    Example:
        >>> import torch, deepscope as ds
        >>> from deepscope.models.known_gradients import with_known_gradients
        >>> class Detached(torch.nn.Flatten):
        ...     def forward(self, inputs):
        ...         return super().forward(inputs).detach()[:, :2]
        >>> model = ds.wrap(Detached(), ["cat", "dog"], preprocessing=ds.Preprocessing(8, 8))
        >>> model.capabilities.gradients, with_known_gradients(model).capabilities.gradients
        (True, False)
    """
    for method in methods:
        method.require(model)
    if not model.capabilities.gradients or not (reason := _why_not(model)):
        return model
    known = replace(model, capabilities=replace(model.capabilities, gradients=False, reason=reason))
    for method in methods:
        method.require(known)
    return known


def _why_not(model: VisionModel) -> str:
    """Why the scores of a grey image have no gradient; empty where they have one, or where the network cannot run."""
    widths = (1, model.head.labels or len(model.categories))
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        pixels = torch.full((1, model.planes, *model.preprocessing.size), 0.5, device=model.device)
        inputs = model.normalise(pixels.requires_grad_())
        try:
            output = model.network(inputs)
        except (RuntimeError, TypeError) as error:  # as PyTorch refuses to make an array of what has a gradient
            if out_of_memory(error):
                raise
            return _refusal(model, inputs.detach(), error)
        if scores_in(output, model.name, 1, widths).requires_grad:
            return ""
        return f"{NOT_DIFFERENTIABLE}: the gradient is lost in {_lost(model, inputs)}, {_REMEDY}"


def _refusal(model: VisionModel, inputs: Tensor, error: Exception) -> str:
    """That the network fails only where gradients are recorded; empty where it fails without them too."""
    try:
        with torch.no_grad():
            model.network(inputs)
    except (RuntimeError, TypeError):  # whoever runs it says so
        return ""
    said = str(error).partition("\n")[0].partition(". ")[0]
    return f"{NOT_DIFFERENTIABLE}: its forward method fails where gradients are recorded, with {said.rstrip('.')!r}"


def _lost(model: VisionModel, inputs: Tensor) -> str:
    """The layer whose input has a gradient and whose output has none, nor has anything after it."""
    names: list[str] = []

    def passed(name: str, layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        if _with_gradient(output):
            names.clear()
        elif not names and _with_gradient([*given, named]):
            names.append(f"layer {name} ({type(layer).__name__})" if name else _ITSELF)

    with ExitStack() as hooks:
        for name, module in model.network.named_modules():
            if not isinstance(module, torch.jit.ScriptModule):  # which calls no hooks of its layers
                hooks.enter_context(module.register_forward_hook(partial(passed, name), with_kwargs=True))
        model.network(inputs)
    return next(iter(names), _ITSELF)


def _with_gradient(value: Any) -> bool:
    """Whether a tensor in what a layer takes or returns has a gradient."""
    return any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in pytree.tree_leaves(value))

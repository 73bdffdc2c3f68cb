"""Whether gradients pass through a network, which nothing but a forward pass tells of a module of one's own."""

from __future__ import annotations

from dataclasses import replace

import torch

from deepscope.errors import out_of_memory
from deepscope.models.returned import scores_in
from deepscope.models.vision_model import VisionModel


def with_known_gradients(model: VisionModel) -> VisionModel:
    """The model; where its scores turn out to have no gradient, with capabilities that say so.

    Of a network that detaches its output, or computes outside PyTorch, attacks would otherwise take gradients of zero
    for a defence. A gradient that exists and is zero is such a sign, and stays one.

    Args:
        model: any classifier. One image is classified, unless it is known already to give no gradients.

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
    if not model.capabilities.gradients or _passes_gradients(model):
        return model
    known = replace(model.capabilities, gradients=False, reason="no gradient passes through its forward method")
    return replace(model, capabilities=known)


def _passes_gradients(model: VisionModel) -> bool:
    """Whether the scores of a grey image have a gradient. It decides nothing else of what the network returns."""
    widths = (1, model.head.labels or len(model.categories))
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        pixels = torch.full((1, model.planes, *model.preprocessing.size), 0.5, device=model.device)
        inputs = model.normalise(pixels.requires_grad_())
        try:
            output = model.network(inputs)
        except (RuntimeError, TypeError) as error:  # as PyTorch refuses to make an array of what has a gradient
            if out_of_memory(error):
                raise
            return False
        return scores_in(output, model.name, 1, widths).requires_grad

"""A tuned model that keeps its source model, for the images that do not look like the target's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from deepscope.adaptation.tuning import Target
from deepscope.models import VisionModel
from deepscope.models.classifier import Backbone, Classifier
from deepscope.models.switched import Likeness, first_norm, norms, switch

_LEAST = 16
"""Images that are needed to describe a target."""
_ROUNDING = 1e-3


def keeping_source(source: VisionModel, tuned: VisionModel, target: Target) -> VisionModel | None:
    """The source model with the tuned one's normalisation layers as well; every image chooses between the two.

    Returns:
        None where the models differ in other layers, where no batch normalisation of maps runs first, or where there
        are fewer than 16 images.
    """
    if len(target) < _LEAST or not _same_otherwise(source.network, tuned.network):
        return None
    network = copy.deepcopy(source.network)
    made = replace(tuned.with_network(network, returns=source.outputs.kind), name=source.name)
    for (part, inputs), (tuned_part, _) in zip(_parts(made), _parts(tuned), strict=True):
        found = [first_norm(part, inputs(target.batch(rows))) for rows in target.slices()]
        if any(each is None for each in found):
            return None
        names, described = zip(*(each for each in found if each), strict=True)
        switch(part, tuned_part, names[0], Likeness.fit(torch.cat(described)).to(source.device))
    return made if _chooses(made, source, tuned, target) else None


def _parts(model: VisionModel) -> list[tuple[nn.Module, Callable[[Tensor], list[Tensor]]]]:
    """The networks inside, and what each of them sees of pixels."""
    network = model.network
    if not isinstance(network, Classifier):
        return [(network, lambda pixels: [model.normalise(pixels)])]
    return [(each.network, each.inputs) for each in network.backbones if isinstance(each, Backbone)]


def _chooses(made: VisionModel, source: VisionModel, tuned: VisionModel, target: Target) -> bool:
    """Whether every image gets the logits of one of the two models: some networks look into their own layers."""
    pixels = target.batch(slice(0, _LEAST))
    try:
        with torch.inference_mode():
            found, *wanted = (each(pixels) for each in (made, source, tuned))
    except Exception:  # libraries refuse by any kind of error
        return False
    size = max(float(each.abs().max()) for each in wanted)
    errors = torch.stack([(found - each).abs().amax(1) for each in wanted]).amin(0)
    return bool((errors <= _ROUNDING * size).all())


def _same_otherwise(source: nn.Module, tuned: nn.Module) -> bool:
    inside = {f"{name}.{key}" for name, layer in norms(source) for key in layer.state_dict()}
    own, other = source.state_dict(), tuned.state_dict()
    return all(torch.equal(value, other[key]) for key, value in own.items() if key not in inside)

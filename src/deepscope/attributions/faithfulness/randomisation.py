"""The sanity check of model randomisation: a map that explains a network must change when its weights do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepscope.models.vision_model import VisionModel


@dataclass(frozen=True)
class Randomisation:
    """Cascading randomisation: weights are shuffled layer by layer, from the output down.

    Shuffling within each tensor keeps the distribution of the weights and destroys what was learnt. The maps of the
    shuffled networks are compared with the trained network's by Spearman's rank correlation of their absolute values.
    A flat map counts as a correlation of 0.

    Adebayo et al. 2018, "Sanity Checks for Saliency Maps".

    Attributes:
        depths: shares of the layers that are shuffled, in growing order.
    """

    depths: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)

    def __call__(
        self,
        explain: Callable[[VisionModel], Sequence[Tensor]],
        model: VisionModel,
        pixels: Tensor,
        *,
        rng: torch.Generator | None = None,
    ) -> NDArray[np.float64]:
        """How similar the maps stay to those of the trained network.

        Args:
            explain: a model -> each method's (N, H, W) maps of the same images, with the same random numbers.
            model: the trained network; it is copied, never changed.
            pixels: (1 or more, 3, H, W), to find the order in which layers run.
            rng: CPU generator for the shuffling; None means one seeded with 0.

        Returns:
            (methods, depths, N) rank correlations; NaN where the trained network's map is the same everywhere.
        """
        rng = rng or torch.Generator().manual_seed(0)
        network = copy.deepcopy(model.network)
        shuffled = replace(model, network=network)
        layers = _layers(shuffled, pixels[:1])[::-1]
        first, done, rows = explain(model), 0, []
        for depth in self.depths:
            for layer in layers[done : round(depth * len(layers))]:
                _shuffle(layer, rng)
            done = round(depth * len(layers))
            rows.append([_survived(*pair) for pair in zip(first, explain(shuffled))])
        return np.array(rows).swapaxes(0, 1)


def _survived(trained: Tensor, shuffled: Tensor) -> NDArray[np.float64]:
    gone = (_flat(shuffled) & ~_flat(trained)).cpu().numpy()
    return np.where(gone, 0.0, rank_correlation(trained, shuffled))


def _flat(maps: Tensor) -> Tensor:
    values = maps.abs().flatten(1)
    return values.amax(1) == values.amin(1)


def rank_correlation(first: Tensor, second: Tensor) -> NDArray[np.float64]:
    """Spearman's rank correlation of the absolute values of (N, H, W) maps, image by image; NaN where one is flat."""
    from scipy.stats import rankdata

    ranks = [rankdata(maps.abs().flatten(1).cpu().numpy(), axis=1) for maps in (first, second)]
    a, b = (rank - rank.mean(1, keepdims=True) for rank in ranks)
    scale = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.divide((a * b).sum(1), scale, out=np.full(len(a), np.nan), where=scale > 0)


def _layers(model: VisionModel, pixels: Tensor) -> list[nn.Module]:
    """Modules with weights of their own, in the order in which they run."""
    found: dict[nn.Module, None] = {}

    def note(module: nn.Module, *_: Any) -> None:
        found.setdefault(module)

    own = [module for module in model.network.modules() if next(module.parameters(recurse=False), None) is not None]
    handles = [module.register_forward_hook(note) for module in own]
    try:
        with torch.no_grad():
            model(pixels)
    finally:
        for handle in handles:
            handle.remove()
    return list(found)


@torch.no_grad()
def _shuffle(layer: nn.Module, rng: torch.Generator) -> None:
    for tensor in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)):
        if tensor.numel() > 1:
            order = torch.randperm(tensor.numel(), generator=rng).to(tensor.device)
            tensor.copy_(tensor.flatten()[order].view_as(tensor))

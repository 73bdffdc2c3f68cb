"""The sanity check of model randomisation: a map that explains a network must change when its weights do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode

from deepscope.errors import UnsupportedError
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
            explain: a model -> each method's (N, H, W) maps of the same images, with the same random numbers. It is
                called with a copy of the trained network first, and with that copy again whenever more is shuffled.
            model: the trained network; it is copied, never changed.
            pixels: (1 or more, 3, H, W), to find the order in which layers run.
            rng: CPU generator for the shuffling; None means one seeded with 0.

        Returns:
            (methods, depths, N) rank correlations; NaN where the trained network's map is the same everywhere.

        Raises:
            UnsupportedError: the network's layers cannot be shuffled.
        """
        if any(isinstance(module, torch.jit.ScriptModule) for module in model.network.modules()):
            raise UnsupportedError(
                f"{model.name} is TorchScript, whose layers cannot be shuffled: leave the sanity check out",
                what="sanity",
            )
        rng = rng or torch.Generator().manual_seed(0)
        shuffled = model.with_network(copy.deepcopy(model.network), returns=model.outputs.kind)
        layers = _layers(shuffled, pixels[:1])[::-1]
        # what methods find out about a network once, such as a layer, they find while its weights are intact
        first, done, rows = explain(shuffled), 0, []
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
    """Modules with weights of their own, in the order in which these are first read.

    That is where a layer stands, also where a module holds the weights and another one, or none, applies them: class
    token and position embedding belong to the whole network, and are read at its start.
    """
    owners = {id(own): module for module in model.network.modules() for own in module.parameters(recurse=False)}
    with torch.no_grad(), _FirstReads(owners) as reads:
        handles = [module.register_forward_pre_hook(reads.enter) for module in owners.values()]
        try:
            model(pixels)
        finally:
            for handle in handles:
                handle.remove()
    return reads.order()


class _FirstReads(TorchFunctionMode):
    """Notes in which order modules' parameters are read by PyTorch's functions.

    Args:
        owners: a parameter's id -> its module.
    """

    def __init__(self, owners: Mapping[int, nn.Module]) -> None:
        super().__init__()
        self._owners = owners
        self._entered: dict[nn.Module, int] = {}
        self._read: dict[nn.Module, int] = {}

    def enter(self, module: nn.Module, *_: Any) -> None:
        """A module begins to run."""
        self._entered.setdefault(module, len(self._entered) + len(self._read))

    def order(self) -> list[nn.Module]:
        """The modules that take part; those whose parameters no function was seen to read, by when they began."""
        return sorted({**self._entered, **self._read}, key={**self._entered, **self._read}.__getitem__)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__name__", "") != "__get__":  # asking for a parameter's dtype is no use of it
            self._note((*args, *(kwargs or {}).values()))
        return func(*args, **(kwargs or {}))

    def _note(self, values: Sequence[Any]) -> None:
        for value in values:
            if isinstance(value, (tuple, list)):
                self._note(value)
            elif (owner := self._owners.get(id(value))) is not None:
                self._read.setdefault(owner, len(self._entered) + len(self._read))


@torch.no_grad()
def _shuffle(layer: nn.Module, rng: torch.Generator) -> None:
    """Shuffle a layer's parameters, and the statistics that a batch norm has learnt; no other buffer holds weights."""
    learnt = layer.buffers(recurse=False) if isinstance(layer, _NormBase) else ()
    for tensor in (*layer.parameters(recurse=False), *learnt):
        if tensor.numel() > 1 and tensor.is_floating_point():
            order = torch.randperm(tensor.numel(), generator=rng).to(tensor.device)
            tensor.copy_(tensor.flatten()[order].view_as(tensor))

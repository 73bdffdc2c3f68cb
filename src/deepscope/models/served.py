"""A network whose passes run on the engine that was chosen, for as long as nothing of it changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from deepscope.models.agreement import scores_agree
from deepscope.models.serving import Chosen, not_used, quickest
from deepscope.models.state import State, state_of
from deepscope.session import Session

if TYPE_CHECKING:
    from deepscope.models.outputs import Outputs


class Served:
    """A network whose passes run on the chosen engine while nothing of it changes, and on PyTorch otherwise.

    Args:
        network: normalised (N, C, H, W) -> anything that `outputs` reads.
        outputs: brings its outputs to (N, K), and says what they mean.
        session: chooses.
        images: passes to come, about.
    """

    def __init__(self, network: nn.Module, outputs: Outputs, session: Session, images: int) -> None:
        self._network, self._outputs, self._module = network, outputs, _Matrix(network, outputs)
        self._session, self._images = session, images

    def __call__(self, inputs: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, K)."""
        chosen = self._chosen(inputs) if len(inputs) else None
        if chosen is None:
            return self._module(inputs)
        self._session.engines.add(chosen.name)
        return chosen.run(inputs)

    def _chosen(self, inputs: Tensor) -> Chosen | None:
        if inputs.dtype != torch.float32 or inputs.device.type != "cpu":
            return not_used(self._session, "it computes in float32 on the CPU")
        state = state_of(self._network)
        if isinstance(state, str):
            return not_used(self._session, state)
        session, outputs = self._session, self._outputs
        shape, threads = tuple(inputs.shape[1:]), torch.get_num_threads()
        key = (session.engine, session.cache, shape, threads, outputs.classes, outputs.head, outputs.kind)
        known = _CHOSEN.setdefault(self._network, {})
        for old in [old for old, entry in known.items() if entry.state not in (state, None)]:
            del known[old]
        entry = known.get(key)
        if entry is None or (entry.state and not entry.chosen and self._images > 2 * entry.images):
            entry = known[key] = self._asked(inputs)
        return entry.chosen

    def _asked(self, inputs: Tensor) -> _Entry:
        agree = scores_agree(self._outputs)
        chosen = quickest(self._module, inputs, self._session, images=self._images, agree=agree)
        state = state_of(self._network)  # after passes that may have filled its caches
        with torch.no_grad():
            self._module(inputs[:1])
        if isinstance(state, str) or state_of(self._network) != state:
            return _Entry(None, self._images, not_used(self._session, "the network changes whenever it runs"))
        return _Entry(state, self._images, chosen)


@dataclass(frozen=True)
class _Entry:
    """For how many images of a state of the network, which engine; the state is None of one that never stays."""

    state: State | None
    images: int
    chosen: Chosen | None


_CHOSEN: WeakKeyDictionary[nn.Module, dict[Any, _Entry]] = WeakKeyDictionary()


class _Matrix(nn.Module):
    """The network's scores as one matrix. Its layers stay in the mode that they are in."""

    def __init__(self, network: nn.Module, outputs: Outputs) -> None:
        super().__init__()
        self.network, self._outputs, self.training = network, outputs, False

    def extra_repr(self) -> str:
        """What decides which of several outputs is read."""
        return f"classes={self._outputs.classes}, head={self._outputs.head}"

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalised (N, C, H, W) -> (N, K)."""
        return self._outputs._run(self.network, inputs)

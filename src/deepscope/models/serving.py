"""Which engine runs a network: chosen by a short measurement on this machine, and held to PyTorch's own outputs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from deepscope.errors import MissingExtraError, SettingError, out_of_memory
from deepscope.models.agreement import Agree, scores_agree
from deepscope.models.engines import ENGINES, Engine, Run
from deepscope.models.measured import Kept
from deepscope.models.state import State, state_of
from deepscope.session import Session

if TYPE_CHECKING:
    from deepscope.models.outputs import Outputs

FEW = 16
"""Images below which PyTorch always runs: nothing could be repaid."""
_PROBED = 4
"""Images that engines are compared on."""
_LOAD = 0.5
"""Seconds that it takes to use an engine whose exported network is kept."""
_MOST = 4
"""Engines that a process holds, the last ones."""


@dataclass(frozen=True)
class Chosen:
    """An engine that runs a module.

    Attributes:
        name: the engine's.
        run: the function.
        network: what `Kept` calls the module; it changes with all that the outputs depend on.
    """

    name: str
    run: Run
    network: str


def not_used(session: Session, why: str) -> None:
    """Say why an engine that was asked for by its name does not run; "auto" may take none."""
    if session.engine not in ("auto", "torch"):
        session.note_once("engine", f"the engine {session.engine} is not used, and PyTorch runs: {why}")


def quickest(
    module: nn.Module,
    example: Tensor,
    session: Session,
    *,
    images: int,
    agree: Agree,
    reference: Run | None = None,
    also: Engine | None = None,
) -> Chosen | None:
    """The engine that `session.engine` asks for; None for PyTorch.

    "auto" measures: an engine is taken where it agrees, is quicker, and repays its first use over the images.

    Args:
        module: (N, ...) float32 inputs -> (N, K), in eval mode.
        example: (N, ...) inputs.
        session: engine, cache and device.
        images: that will be run, about.
        agree: compares an engine's outputs with the module's.
        reference: what PyTorch would run instead of the module, for the time that it takes.
        also: another engine that "auto" may take.

    Raises:
        MissingExtraError: the engine is not installed.
        SettingError: it does not run here, or not this network.
    """
    wanted = session.engine
    if wanted == "torch" or (wanted == "auto" and (images < FEW or session.device.type != "cpu")):
        return None
    example = torch.cat([example[:_PROBED]] * _PROBED)[:_PROBED].contiguous()
    kept = Kept(module, example, session)
    name = f"{wanted} {kept.name}"  # "auto" takes no engine that was not measured
    if chosen := _running(name, module, example, agree):
        return chosen
    if wanted != "auto":
        chosen = _explicit(ENGINES[wanted], module, example, session, kept, agree)
    else:
        engines = {**ENGINES, **({also.name: also} if also else {})}
        here = {name: engine for name, engine in engines.items() if engine.here()}
        chosen = _by_measuring(module, example, kept, images, agree, reference or module, here)
    if chosen:
        _RUNNING[name] = chosen
        for old in list(_RUNNING)[:-_MOST]:
            del _RUNNING[old]
    return chosen


_RUNNING: dict[str, Chosen] = {}
"""The engines of this process, by how they were asked for and what `Kept` calls their network."""


def _running(name: str, module: nn.Module, example: Tensor, agree: Agree) -> Chosen | None:
    """An engine of this process, for the same weights and layers; whether the code is the same, a pass shows."""
    chosen = _RUNNING.get(name)
    if chosen is None:
        return None
    with torch.no_grad():
        return chosen if agree(chosen.run(example[:1]), module(example[:1])) else None


def _explicit(engine: Engine, module: nn.Module, example: Tensor, session: Session, kept: Kept, agree: Agree) -> Chosen:
    if session.device.type != "cpu":
        raise SettingError("engine", f"{engine.name} runs on the CPU: choose torch, or another {{device}}")
    if not engine.here():
        if engine.extra:
            raise MissingExtraError(engine.extra, f"the engine {engine.name}")
        raise SettingError("engine", f"{engine.name} needs a C++ compiler: install g++, or choose torch")
    try:
        chosen = _built(engine, module, example, kept, agree)
    except Exception as error:
        if out_of_memory(error):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise SettingError("engine", f"{engine.name} cannot run this network ({reason}): choose torch") from None
    if chosen is None:
        raise SettingError("engine", f"{engine.name} gives other outputs for this network than PyTorch: choose torch")
    return chosen


def _by_measuring(
    module: nn.Module,
    example: Tensor,
    kept: Kept,
    images: int,
    agree: Agree,
    reference: Run,
    here: dict[str, Engine],
) -> Chosen | None:
    known, built = kept.known(), {}
    before = len(known)
    if not before:
        known["torch"] = _seconds(reference, example)
    exported = any("onnx" in engine.packages for engine in here.values())
    for name, engine in here.items():
        if name in known or (exported and name == "compile"):
            continue  # to compile takes longer than all else, and is no quicker
        if known["torch"] * images / 2 > engine.first_use:
            began = time.perf_counter()
            chosen = _tried(engine, module, example, kept, agree)
            known[f"{name}/first"] = time.perf_counter() - began
            known[name] = _seconds(chosen.run, example) if chosen else float("inf")
            built |= {name: chosen} if chosen else {}
    if len(known) > before:
        kept.keep("engines", known)
    names = [name for name in known if name in here and known[name] < known["torch"]]
    best = min(names, key=lambda name: known[name], default=None)
    if best is None:
        return None
    first = 0 if best in built else _LOAD if kept.ready(here[best]) else known[f"{best}/first"]
    if images * (known["torch"] - known[best]) <= first:
        return None
    return built.get(best) or _tried(here[best], module, example, kept, agree)


def _tried(engine: Engine, module: nn.Module, example: Tensor, kept: Kept, agree: Agree) -> Chosen | None:
    """As `_built`; None also where the engine cannot run the module."""
    try:
        return _built(engine, module, example, kept, agree)
    except Exception as error:  # libraries refuse by any kind of error
        if out_of_memory(error):
            raise
        return None


def _built(engine: Engine, module: nn.Module, example: Tensor, kept: Kept, agree: Agree) -> Chosen | None:
    """The engine on the module; None where it does not agree with it."""
    with torch.no_grad():
        wanted = module(example)  # first: an export may need what a pass finds out
    run = engine.build(module, example, kept.exported)
    found = run(example)
    return Chosen(engine.name, run, kept.name) if agree(found, wanted) else None


def _seconds(run: Run, example: Tensor) -> float:
    """Seconds per image, once warm: the least of a few passes, in half a second or little more."""
    best = float("inf")
    with torch.no_grad():
        run(example[:1])
        for _ in range(3):
            began = time.perf_counter()
            run(example)
            best = min(best, time.perf_counter() - began)
            if best > 0.3:
                break
    return best / len(example)


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
        if self._session.engine == "auto" and self._images < FEW:
            return None
        state = state_of(self._network)
        if inputs.dtype != torch.float32 or inputs.device.type != "cpu":
            return not_used(self._session, "it computes in float32 on the CPU")
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

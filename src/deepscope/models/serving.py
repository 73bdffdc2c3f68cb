"""Which engine runs a network: chosen by a short measurement on this machine, and held to PyTorch's own outputs."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import torch
from torch import Tensor, nn

from deepscope.errors import MissingExtraError, SettingError, out_of_memory
from deepscope.models.agreement import Agree
from deepscope.models.engines import ENGINES, Engine, Run
from deepscope.models.measured import Kept
from deepscope.session import Session

FEW = 16
"""Images below which PyTorch always runs: nothing could be repaid."""
_PROBED = 4
"""Images that engines are compared on."""
_LARGEST = 2**28
"""Bytes of weights beyond which "auto" leaves a network to PyTorch: its export takes memory, and is not kept."""
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


def may_serve(network: nn.Module, session: Session, images: int) -> bool:
    """Whether an engine can be considered for that many images, before anything is measured.

    "auto" leaves to PyTorch what is small, on a GPU, without weights (a function of the caller, whose calls may cost
    something) or very large.
    """
    if session.engine != "auto":
        return session.engine != "torch" and images > 0
    weights = sum(tensor.nbytes for tensor in network.parameters())
    return images >= FEW and session.device.type == "cpu" and 0 < weights <= _LARGEST


def _candidates(also: Engine | None) -> dict[str, Engine]:
    """What "auto" may take here, by name."""
    found = [engine for engine in (*ENGINES.values(), *([also] if also else [])) if not engine.by_name_only]
    return {engine.name: engine for engine in found if engine.here()}


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
    if not may_serve(module, session, images):
        return None
    example = torch.cat([example[:_PROBED]] * _PROBED)[:_PROBED].contiguous()
    here = _candidates(also) if wanted == "auto" else {}
    once = 0.0
    if wanted == "auto":
        once = _once(reference or module, example) if here else 0.0
        if images * once <= _LOAD:
            return None
    kept = Kept(module, example, session)
    name = f"{wanted} {kept.name}"  # "auto" takes no engine that was not measured
    if chosen := _running(name, module, example, agree):
        return chosen
    if wanted != "auto":
        chosen = _explicit(ENGINES[wanted], module, example, session, kept, agree)
    elif kept.known() or any(images * once / 2 > engine.first_use for engine in here.values()):
        chosen = _by_measuring(module, example, kept, images, agree, reference or module, here)
    if chosen:
        with _TAKING:
            _RUNNING[name] = chosen
            for old in list(_RUNNING)[:-_MOST]:
                del _RUNNING[old]
    return chosen


_RUNNING: dict[str, Chosen] = {}
"""The engines of this process, by how they were asked for and what `Kept` calls their network."""
_TAKING = Lock()


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
    for name, engine in here.items():
        if name not in known and known["torch"] * images / 2 > engine.first_use:
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
    first = _LOAD if kept.ready(here[best]) else known[f"{best}/first"]  # as in the next run, which must choose alike
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
    with ThreadPoolExecutor(1) as apart:  # an export fails under a mode of the caller, such as one that counts bytes
        run = apart.submit(engine.build, module, example, kept.exported).result()
    found = run(example)
    return Chosen(engine.name, run, kept.name) if agree(found, wanted) else None


def _once(run: Run, example: Tensor) -> float:
    """Seconds that one image takes at most: a pass that is not warm."""
    with torch.no_grad():
        began = time.perf_counter()
        run(example[:1])
        return time.perf_counter() - began


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

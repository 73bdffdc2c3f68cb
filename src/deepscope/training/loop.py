"""`fit`: the one training loop. Domain adaptation, fine-tuning and GANs bring their own `Step`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from deepscope.devices import wait_for_others
from deepscope.errors import DeepscopeError, FileError, SettingError
from deepscope.files import lock
from deepscope.session import Precision, Session
from deepscope.training.checkpoints import CHECKPOINT, Checkpoint, Parts, finite
from deepscope.training.history import History, Recorder
from deepscope.training.precision import WORTH, measured_precision


@dataclass(frozen=True)
class Moment:
    """When and where a step happens. Everything random in a step follows from this, so that it can be repeated.

    Attributes:
        step: steps done before this one.
        steps: of the whole training.
        session: the seed.
        process: this process's number.
        processes: that train together; each sees its share of every batch.
    """

    step: int
    steps: int
    session: Session
    process: int = 0
    processes: int = 1

    @property
    def progress(self) -> float:
        """From 0 at the first step towards 1 after the last."""
        return self.step / self.steps

    def rng(self, *stream: str) -> torch.Generator:
        """A CPU generator of its own for each stream, step and process."""
        return self.session.rng("training", self.step, self.process, *stream)

    def share(self, rows: Tensor) -> Tensor:
        """This process's share of a batch's rows.

        Raises:
            SettingError: the processes cannot have equal shares, and gradients would not be those of the whole batch.
        """
        if len(rows) % self.processes:
            raise SettingError(
                "batch_size", f"cannot be shared equally among {self.processes} processes", got=len(rows)
            )
        return rows.tensor_split(self.processes)[self.process]


class Update(Protocol):
    """Descends a loss: gradients of the optimiser's own parameters, averaged over processes, clipped, one step."""

    def __call__(self, loss: Tensor, optimiser: Optimizer, /) -> None:
        """Other parameters' gradients are neither computed nor touched."""
        ...


class Step(Protocol):
    """What is trained, and how one batch updates it."""

    @property
    def parts(self) -> Parts:
        """Everything with a state, by name: networks, moving averages of them, optimisers."""
        ...

    def __call__(self, batch: Any, moment: Moment, update: Update, /) -> Mapping[str, Tensor]:
        """Do one step: call `update` once or more; return scalar figures to record."""
        ...


Batches: TypeAlias = Callable[[Moment], Any]
"""The batch of a moment: nested tensors, this process's share of it. Called in a thread, one step ahead."""

Observe: TypeAlias = Callable[[int], Mapping[str, float]]
"""Called between steps with the number of steps done; gives figures to record (of held-out data, say)."""


@dataclass(frozen=True)
class Log:
    """What is kept during a training.

    Attributes:
        folder: for `checkpoint.pt`, `history.jsonl` and TensorBoard's events; None keeps nothing.
        settings: description of the training, ready for JSON: a checkpoint with other settings is refused.
        every: steps between checkpoints and observations; the last step always has both.
        record: steps whose mean figures make one row of the history.
        tensorboard: also write TensorBoard's events.
    """

    folder: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    every: int = 1000
    record: int = 50
    tensorboard: bool = False


class Diverged(DeepscopeError):
    """A loss or a weight is no longer finite."""


def fit(
    step: Step,
    batches: Batches,
    *,
    steps: int,
    session: Session,
    log: Log = Log(),
    clip: float = math.inf,
    observe: Observe | None = None,
) -> History:
    """Train until `steps` steps are done, from the folder's checkpoint where it has one.

    A training that was killed ends, when called again, with the same weights to the last bit (on a CPU, with the
    same number of threads). Under `torchrun` or `accelerate launch` the processes share every batch, and the
    losses are those of one process; only batch normalisation sees each share on its own. The caller's random
    state is not changed.

    Args:
        step: what is trained and how.
        batches: what it is trained on.
        steps: of the whole training.
        session: device, precision ("bfloat16" is mixed precision; a session that `may_halve` takes it where a probe
            shows that it is faster here, and agrees), seed and progress.
        log: what is kept along the way, and how often.
        clip: limit of the gradient's L2 norm over an optimiser's parameters.
        observe: measures between steps. Networks are in train mode when it is called, and are put back into it.

    Raises:
        Diverged: a figure or weight is NaN or infinite. The checkpoint is the last good one.
        FileError: the checkpoint is damaged or of another training, another process trains in the folder, or
            nothing can be written to it at the beginning.
    """
    from accelerate import PartialState
    from accelerate.utils import send_to_device

    world = PartialState(cpu=session.device.type == "cpu")
    device = session.device if world.device is None or world.num_processes == 1 else world.device
    networks = [part for part in step.parts.values() if isinstance(part, nn.Module)]
    for network in networks:
        network.to(device).train()
    history = History()
    writes = log.folder if world.is_main_process else None

    def at(number: int) -> Moment:
        return Moment(number, steps, session, world.process_index, world.num_processes)

    def update(loss: Tensor, optimiser: Optimizer) -> None:
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        optimiser.zero_grad()
        with torch.autocast(device.type, enabled=False):
            loss.backward(inputs=parameters)
        if world.num_processes > 1:
            gradients = [p.grad for p in parameters if p.grad is not None]
            mean = _mean(torch.cat([gradient.flatten() for gradient in gradients]))
            for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(part.view_as(gradient))
        if clip < math.inf:
            clip_grad_norm_(parameters, clip)
        optimiser.step()

    def agree() -> None:
        if world.num_processes > 1:  # batch statistics went apart
            for buffer in (b for network in networks for b in network.buffers() if b.is_floating_point()):
                buffer.copy_(_mean(buffer))

    def once(step: Step, batch: Any, moment: Moment, bfloat16: bool) -> Mapping[str, Tensor]:
        _seed(device, moment.rng("global").initial_seed())
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            return step(batch, moment, update)

    def precision() -> Precision:
        if not session.may_halve:
            return session.precision
        past = Checkpoint(log.folder / CHECKPOINT, {}).recorded(step.parts) if log.folder else {}
        if past.get("precision") in get_args(Precision):
            return past["precision"]
        if steps < WORTH or world.num_processes > 1:
            return session.precision
        first = at(0)
        batch = send_to_device(batches(first), device)
        return measured_precision(step, batch, lambda own, half: once(own, batch, first, half), session)

    pending: list[Mapping[str, Tensor]] = []
    random_state = torch.random.fork_rng([device] if device.type == "cuda" else [])
    with (
        _alone(writes, session),
        random_state,
        session.progress("training", total=steps) as advance,
        ThreadPoolExecutor(1) as ahead,
    ):
        chosen = precision()
        session.engines.update({"torch-bfloat16"} if chosen != session.precision else ())
        identity = {"steps": steps, "seed": session.seed, "precision": chosen, **log.settings}
        checkpoint = Checkpoint(log.folder / CHECKPOINT, identity) if log.folder else None
        done = checkpoint.load(step.parts, history) if checkpoint else 0
        with _forgiving(session, first=True):
            recorder = Recorder(writes, history, since=done, tensorboard=log.tensorboard)
        advance(done)
        coming = ahead.submit(batches, at(done)) if done < steps else None
        while coming:
            moment, batch = at(done), send_to_device(coming.result(), device)
            done += 1
            coming = ahead.submit(batches, at(done)) if done < steps else None
            pending.append(once(step, batch, moment, chosen == "bfloat16"))
            due = done % log.every == 0 or done == steps
            if due or done % log.record == 0:
                figures = _figures(pending)
                pending.clear()
                if due:
                    agree()
                bad = [name for name, value in figures.items() if not math.isfinite(value)]
                if bad or (due and not finite(step.parts)):
                    raise Diverged(_diverged(bad[0] if bad else "a weight", done, checkpoint))
                if due and observe:
                    figures |= observe(done)
                    for network in networks:
                        network.train()
                with _forgiving(session, first=False):
                    recorder.add(done, figures)
                    if due and checkpoint and world.is_main_process:
                        checkpoint.save(done, step.parts, history)
            advance(1)
        recorder.close()
    wait_for_others()
    return history


def _alone(folder: Path | None, session: Session) -> AbstractContextManager[None]:
    """No other process trains in the folder meanwhile."""
    if folder is None:
        return nullcontext()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot train in {folder} ({error.strerror}): name another folder", path=folder) from None
    return lock(folder, unsupported=session.note)


def _seed(device: torch.device, seed: int) -> None:
    """For dropout, which draws from the global generators: only this device's, since each costs time every step."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def _figures(pending: list[Mapping[str, Tensor]]) -> dict[str, float]:
    """The mean of each figure over the steps that gave it, and over the processes."""
    names = dict.fromkeys(name for figures in pending for name in figures)
    means = [torch.stack([f[name].detach().float() for f in pending if name in f]).mean() for name in names]
    return dict(zip(names, _mean(torch.stack(means)).tolist(), strict=True)) if names else {}


def _mean(tensor: Tensor) -> Tensor:
    from accelerate.utils import reduce

    return cast("Tensor", reduce(tensor, "mean"))


def _diverged(what: str, step: int, checkpoint: Checkpoint | None) -> str:
    kept = f"; {checkpoint.path} is the last good state" if checkpoint and checkpoint.path.exists() else ""
    return f"training diverged: {what} is NaN or infinite after step {step}{kept}: lower the learning rate"


@contextmanager
def _forgiving(session: Session, *, first: bool) -> Iterator[None]:
    """A full disk does not end a training: the next checkpoint tries again, and the network is returned."""
    try:
        yield
    except OSError as error:
        if first:
            raise FileError(f"the training cannot be recorded ({error}): free some space and run again") from None
        session.note(f"this state cannot be written, the last one is kept ({error})")

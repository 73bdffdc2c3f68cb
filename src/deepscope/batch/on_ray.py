"""Workers on Ray, which places them, starts them again, and gives their shards to others where a machine is lost."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from deepscope.batch.shard import OpenJob, Shard
from deepscope.batch.worker import Done, Work, Worker
from deepscope.errors import JobError, SettingError

_RETRIES = 5
"""Times that a shard is given to another worker after its own died: then the shard itself is at fault."""
_WAITING = 2
"""Shards that each worker is given: the next one is there when one is done."""
_STORE = 80 * 2**20
"""Bytes of Ray's object store on this machine. Parts never pass through it."""


@dataclass(frozen=True)
class OnRay:
    """Runs shards on Ray.

    Attributes:
        address: of a running cluster; empty to start one on this machine for as long as the job takes.
        workers: how many; None takes all processors, or all GPUs, of the cluster.
    """

    address: str
    workers: int | None

    def __call__(self, work: Work, opened: OpenJob, shards: Sequence[Shard]) -> Generator[Done]:
        """As `Executor`."""
        with self._cluster() as ray:
            gpus = 1 if work.session.device.type == "cuda" else 0
            count = min(self._count(ray, "GPU" if gpus else "CPU"), len(shards))
            actor: Any = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=-1, max_task_retries=_RETRIES)(_Actor)
            actors = [actor.remote(work, os.getcwd()) for _ in range(count)]  # noqa: PTH109
            yield from _fed(ray, actors, shards)

    @contextmanager
    def _cluster(self) -> Iterator[Any]:
        """Ray, connected to the cluster."""
        import ray

        if ray.is_initialized():  # the caller's own
            yield ray
            return
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "configure_logging": True}
        if self.address:
            try:
                ray.init(self.address, **quiet)
            except (ConnectionError, ValueError, RuntimeError) as error:
                reason = str(error).partition("\n")[0]
                problem = f"no Ray cluster answers at {self.address} ({reason}): start one, or leave the address out"
                raise SettingError("cluster", problem) from None
        else:
            cores = max(self.workers or 0, os.cpu_count() or 1)
            ray.init("local", num_cpus=cores, object_store_memory=_STORE, include_dashboard=False, **quiet)
        try:
            yield ray
        finally:
            ray.shutdown()

    def _count(self, ray: Any, kind: str) -> int:
        """Workers to start. Raises SettingError where the cluster is too small for them: they would wait for ever."""
        there = int(ray.cluster_resources().get(kind, 0))
        if not there or (self.workers or 1) > there:
            problem = f"must be at most {there}, the {kind}s of the Ray cluster"
            raise SettingError("workers", problem, got=self.workers or 1)
        return self.workers or there


def _fed(ray: Any, actors: Sequence[Any], shards: Sequence[Shard]) -> Iterator[Done]:
    """Give each actor the next shard whenever it has fewer than two; yields what is done."""
    free, running = deque(list(actors) * _WAITING), dict[Any, tuple[Any, Shard]]()
    for shard in shards:
        if not free:
            yield _next(ray, running, free)
        actor = free.popleft()
        running[actor.do.remote(shard)] = (actor, shard)
    while running:
        yield _next(ray, running, free)


def _next(ray: Any, running: dict[Any, tuple[Any, Shard]], free: deque[Any]) -> Done:
    """The next shard that is done; its actor is free again."""
    (ready, *_), _ = ray.wait(list(running), num_returns=1)
    actor, shard = running.pop(ready)
    free.append(actor)
    try:
        return ray.get(ready)
    except ray.exceptions.RayActorError:
        raise JobError(
            f"the worker of part {shard.number} died {_RETRIES + 1} times, perhaps for want of memory: take fewer "
            "workers, or a machine with more memory, and run the same command again; finished parts are kept",
            part=shard.number,
        ) from None


class _Actor(Worker):
    """A worker in a process of its own, on the device that Ray assigned to it."""

    def __init__(self, work: Work, folder: str) -> None:
        if Path(folder).is_dir():
            os.chdir(folder)  # where relative names hold
        device = work.session.device
        if device.type == "cuda":  # Ray shows each worker its own GPU alone
            device = torch.device("cuda", 0)
        super().__init__(replace(work, session=replace(work.session, device=device, quiet=True)))

"""Workers on Ray, which places them, starts them again, and gives their shards to others where a machine is lost."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from deepscope.batch.shard import OpenJob, Shard
from deepscope.batch.worker import Done, Work, Worker
from deepscope.errors import JobError, SettingError

_RESTARTS = 16
"""Times that Ray starts a worker again."""
_DEATHS = 2
"""Workers that a shard may outlive, each with all its restarts: then the shard is at fault."""
_WAITING = 2
"""Shards that each worker is given: the next one is there when one is done."""
_PATIENCE, _TIMES = 30.0, 3.0
"""Seconds that a shard may take, and how many times as long as others, before a second worker is given it too."""
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
            actor: Any = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=_RESTARTS, max_task_retries=-1)(_Actor)
            actors = [actor.remote(work, os.getcwd()) for _ in range(count)]  # noqa: PTH109
            yield from _Feed(ray, actors, deque(shards)).each()

    @contextmanager
    def _cluster(self) -> Iterator[Any]:
        """Ray, connected to the cluster."""
        import ray
        from ray.exceptions import RayError

        if ray.is_initialized():  # the caller's own
            yield ray
            return
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "configure_logging": True}
        if self.address:
            try:
                ray.init(self.address, **quiet)
            except (ConnectionError, ValueError, RuntimeError, RayError) as error:  # or another token
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


@dataclass
class _Feed:
    """Gives each actor the next shard whenever it has fewer than two.

    An actor whose machine is lost waits for another machine, and its shards with it. A shard that takes much longer
    than others is therefore given to a second actor too: whichever is done first, the part is the same.

    Attributes:
        ray: the module.
        actors: the workers.
        waiting: shards that no actor has.
        free: actors that can be given a shard, once for each.
        running: what actors have, by what Ray promises for it.
        lost: actors that are gone for good.
        deaths: how many of these had a shard.
    """

    ray: Any
    actors: Sequence[Any]
    waiting: deque[Shard]
    free: deque[Any] = field(default_factory=deque[Any])
    running: dict[Any, _Given] = field(default_factory=dict[Any, "_Given"])
    lost: set[Any] = field(default_factory=set[Any])
    deaths: Counter[int] = field(default_factory=Counter[int])

    def each(self) -> Iterator[Done]:
        """What is done."""
        left = {shard.number for shard in self.waiting}
        self.free.extend(list(self.actors) * _WAITING)
        slowest = _PATIENCE
        while left:
            while self.free and (shard := self._next(slowest)):
                actor = self.free.popleft()
                self.running[actor.do.remote(shard)] = _Given(actor, shard, time.monotonic())
            ready, _ = self.ray.wait(list(self.running), timeout=1.0)
            for one in ready:
                given = self.running.pop(one)
                done = self._done(one, given)
                if done and given.shard.number in left:
                    left.remove(given.shard.number)
                    slowest = max(slowest, _TIMES * (time.monotonic() - given.since))
                    yield done

    def _next(self, slowest: float) -> Shard | None:
        """The next shard; after the last one, one that another actor has had for long."""
        if self.waiting:
            return self.waiting.popleft()
        for given in self.running.values():
            if not given.twice and time.monotonic() - given.since > slowest:
                given.twice = True
                return given.shard
        return None

    def _done(self, one: Any, given: _Given) -> Done | None:
        """What came of a shard; None where its actor is gone for good, and another one is to take the shard."""
        try:
            done = self.ray.get(one)
        except self.ray.exceptions.RayActorError:
            number = given.shard.number
            self.deaths[number] += 1
            self.free = deque(actor for actor in self.free if actor is not given.actor)
            self.lost.add(given.actor)
            if self.deaths[number] >= _DEATHS or len(self.lost) == len(self.actors):
                raise JobError(
                    f"the worker of part {number} died {_RESTARTS + 1} times, perhaps for want of memory: take fewer "
                    "workers, or a machine with more memory, and run the same command again; finished parts are kept",
                    part=number,
                ) from None
            self.waiting.append(given.shard)
            return None
        self.free.append(given.actor)
        return done


@dataclass
class _Given:
    """A shard that an actor has."""

    actor: Any
    shard: Shard
    since: float
    twice: bool = False


class _Actor(Worker):
    """A worker in a process of its own, on the device that Ray assigned to it."""

    def __init__(self, work: Work, folder: str) -> None:
        if Path(folder).is_dir():
            os.chdir(folder)  # where relative names hold
        device = work.session.device
        if device.type == "cuda":  # Ray shows each worker its own GPU alone
            device = torch.device("cuda", 0)
        super().__init__(replace(work, session=replace(work.session, device=device, quiet=True)))

"""What computes shards: this process, or workers on Ray."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Generator, Sequence
from typing import Protocol

from deepscope.batch.shard import OpenJob, Shard
from deepscope.batch.sharding import Sharding
from deepscope.batch.worker import Done, Work, Worker
from deepscope.errors import MissingExtraError


class Executor(Protocol):
    """Computes shards, in any order."""

    def __call__(self, work: Work, opened: OpenJob, shards: Sequence[Shard]) -> Generator[Done]:
        """What came of each shard, as soon as it is known. Closing the iterator stops the work.

        Args:
            work: what workers need to know.
            opened: the job, with its model on this machine.
            shards: what is to be computed, one at least.

        Raises:
            SettingError: the cluster does not answer, or is too small.
        """
        ...


def executor_of(sharding: Sharding) -> Executor:
    """This process for a single worker; Ray for several, or where a cluster is named.

    Raises:
        MissingExtraError: Ray is needed, and not installed.
    """
    address = sharding.cluster or os.environ.get("RAY_ADDRESS", "")
    if not address and (sharding.workers or 1) == 1:
        return in_process
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError("cluster", "a job on several workers")
    from deepscope.batch.on_ray import OnRay

    return OnRay(address, sharding.workers)


def in_process(work: Work, opened: OpenJob, shards: Sequence[Shard]) -> Generator[Done]:
    """One shard after the other, in this process."""
    worker = Worker(work, opened)
    for shard in shards:
        yield worker.do(shard)

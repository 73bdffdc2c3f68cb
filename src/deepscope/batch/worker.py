"""What computes shards in one process: it loads the model once, and writes each part to the folder."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from pathlib import Path

from deepscope.batch import parts
from deepscope.batch.job import Job
from deepscope.batch.shard import OpenJob, Shard, run_shard
from deepscope.errors import DeepscopeError, UnsupportedError
from deepscope.kept import code_of
from deepscope.machine import version_of
from deepscope.session import Session

_COUNTED = ("deepscope", "numpy", "pillow", "pyarrow", "torch", "torchvision")
"""Packages whose version a part's bytes depend on."""


@dataclass(frozen=True)
class Work:
    """All that a worker needs to know.

    Attributes:
        job: what is computed.
        session: device, precision and seed.
        folder: where parts are written.
        identity: of the job, which each part carries.
        weights: identity of the model that the driver loaded; every worker must load the same.
        versions: of what the driver runs with; every worker must have the same.
    """

    job: Job
    session: Session
    folder: Path
    identity: str
    weights: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Done:
    """What came of a shard.

    Attributes:
        shard: its number.
        count: its images.
        file: of the part; empty where there is none.
        failure: why there is none.
        seconds: that it took.
    """

    shard: int
    count: int
    file: str = ""
    failure: str = ""
    seconds: float = 0.0


class Worker:
    """Computes one shard after the other.

    Args:
        work: what.
        opened: the job with its model, where it is loaded already.
    """

    def __init__(self, work: Work, opened: OpenJob | None = None) -> None:
        self.work, self._opened = work, opened

    def do(self, shard: Shard) -> Done:
        """Compute a shard and write its part. What a person can fix is returned, not raised: it may come from afar."""
        began = time.monotonic()
        try:
            if self._opened is None:
                _compare(self.work.versions, versions(self.work.job))
                self._opened = _same(OpenJob.of(self.work.job, self.work.session), self.work.weights)
            content = parts.encoded(run_shard(self._opened, shard), self.work.job, shard, self.work.identity)
            file = parts.write(self.work.folder, content, shard)
        except DeepscopeError as error:
            return Done(shard.number, shard.count, failure=str(error))
        return Done(shard.number, shard.count, file, seconds=time.monotonic() - began)


def versions(job: Job) -> dict[str, str]:
    """Of what a part's bytes depend on besides its images and settings."""
    found = {name: version_of(name) for name in _COUNTED}
    return {**found, "python": ".".join(platform.python_version_tuple()[:2]), "code": code_of(type(job).__module__)}


def _compare(wanted: dict[str, str], here: dict[str, str]) -> None:
    """Raises UnsupportedError where this process has other versions."""
    for name, needed in wanted.items():
        if here[name] != needed:
            raise UnsupportedError(
                f"the worker on {platform.node()} has {name} {here[name]}, and this machine {needed}: install the same",
                what=name,
            )


def _same(opened: OpenJob, weights: str) -> OpenJob:
    """Raises UnsupportedError where this process loaded other weights by the same name."""
    if opened.model.identity != weights:
        raise UnsupportedError(
            f"the worker on {platform.node()} loads other weights for {opened.job.model} than this machine: put the "
            "same file at the same path on every machine",
            what=opened.job.model,
        )
    return opened

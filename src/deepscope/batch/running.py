"""`run`: a job over many images: list, cut, compute what is missing, and sum up."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from deepscope.batch import parts
from deepscope.batch.executors import executor_of
from deepscope.batch.job import Job
from deepscope.batch.plan import plan
from deepscope.batch.shard import OpenJob, Shard
from deepscope.batch.sharding import Sharding
from deepscope.batch.summary import Summary
from deepscope.batch.tally import Tally
from deepscope.batch.worker import Done, Work, versions
from deepscope.errors import FileError, JobError
from deepscope.files import lock
from deepscope.images import Skipped
from deepscope.models import VisionModel
from deepscope.session import Session

_REASONS = 12
_FAILURES = 3
"""Parts that may fail before the job stops: a damaged tar file spoils a few, a full disk all."""
_SILENCE = 60.0
"""Seconds between two lines of progress where there is no terminal."""


def run(
    job: Job,
    named: Sequence[str | Path],
    session: Session,
    *,
    sharding: Sharding = Sharding(),
    limit: int | None = None,
    model: VisionModel | None = None,
) -> Summary:
    """Compute a job for every image, part by part, in a folder `parts` of the session's `out`.

    Parts that an earlier run finished are kept: their bytes are compared with the digest in their name, and their
    images with those that are named. The parts are the same, byte for byte, whatever computes them.

    Args:
        job: what is computed of each image.
        named: files and folders, lists of files, tar files, tables; see `deepscope.inputs.listing.listed`.
        session: device, precision, seed, output folder and progress.
        sharding: how the images are cut, and what computes the parts.
        limit: most images, drawn at random.
        model: the classifier, where it is loaded already. Workers on Ray load it by its name.

    Raises:
        SettingError: no output folder is named, or a setting is out of range.
        FileError: the folder holds parts of another job, or a part cannot be written.
        DataError: there is no image.
        MissingExtraError: pyarrow, or Ray for several workers, is not installed.
        JobError: a part could not be computed; all others are kept.
    """
    parts.require_parquet()
    folder = _folder(session, sharding)
    if session.engine == "auto":
        session = replace(session, engine="torch")  # workers could choose different ones
    execute = executor_of(sharding)
    job = replace(job, keep_arrays=sharding.keep_arrays)
    opened = OpenJob.of(job, session, model)
    size = sharding.shard_size or parts.recorded_size(folder) or job.usual
    about = _about(job, opened.model, session, size)
    shards, skipped = plan(named, opened.model, session, size=size, limit=limit)
    parts.create(folder)
    work = Work(job, session, folder, _digest(about), opened.model.identity, versions(job))
    with lock(folder, unsupported=session.note):
        images = {"named": list(map(str, named)), "limit": limit, "parts": len(shards)}
        parts.reserve(folder, about, images)  # under the lock: of two commands with other settings, one is refused
        there = parts.Parts(folder, work.identity)
        found = _resumed(there, shards, session)
        missing = [shard for shard in shards if shard.number not in found]
        if missing:
            outcomes = execute(work, opened, missing)
            found |= _computed(outcomes, shards, missing, work, session)
            there.sweep()
    return _summary(job, opened.model, folder, found, skipped, computed=len(missing))


def _folder(session: Session, sharding: Sharding) -> Path:
    """Where the parts are. Raises SettingError where no folder is named."""
    if sharding.parts_folder:
        return Path(sharding.parts_folder).expanduser()
    return session.require_out("the parts") / parts.FOLDER


def _about(job: Job, model: VisionModel, session: Session, size: int) -> dict[str, Any]:
    """All that the parts depend on besides the images, in the order in which differences are reported."""
    return {
        "job": job.name,
        **{name: value for name, value in job.settings().items() if name != "batch_size"},
        "weights": model.identity,
        "shard_size": size,
        "seed": session.seed,
        "device": session.device.type,
        "precision": session.precision,
        "engine": session.engine,
        **({} if session.device.type == "cpu" else {"batch_size": job.batch_size}),
        **{f"{name} version": number for name, number in versions(job).items()},
    }


def _digest(about: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _resumed(there: parts.Parts, shards: Sequence[Shard], session: Session) -> dict[int, parts.Written]:
    """The parts that are finished already, by the number of their shard."""
    there.sweep()
    if gone := there.beyond(len(shards)):
        session.note(f"{gone} parts of images that are no longer given were removed")
    found = {shard.number: part for shard in shards if (part := there.finished(shard)) is not None}
    if there.removed:
        session.note(
            f"{there.removed} parts were removed: they are damaged, or of other images than those that are given"
        )
    if found:
        session.note(f"{len(found)} of {len(shards)} parts are finished already")
    return found


def _computed(
    outcomes: Generator[Done], shards: Sequence[Shard], missing: Sequence[Shard], work: Work, session: Session
) -> dict[int, parts.Written]:
    """The parts that are computed now.

    Raises:
        JobError: some could not be computed. The first failures do not stop the job.
    """
    found, failures = dict[int, parts.Written](), list[Done]()
    with _progress(work.job, missing, session) as advance, closing(outcomes):
        for done in outcomes:
            if done.failure:
                failures.append(done)
            else:
                found[done.shard] = _taken(done, shards[done.shard], work)
            if len(failures) == _FAILURES:
                break
            advance(done)
    if failures:
        others = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        left = len(missing) - len(found)
        raise JobError(
            f"part {failures[0].shard}{others} cannot be computed: {failures[0].failure}; {len(shards) - left} of "
            f"{len(shards)} parts are finished, and the same command computes the rest",
            part=failures[0].shard,
        )
    return found


def _taken(done: Done, shard: Shard, work: Work) -> parts.Written:
    """The part that a worker has written.

    Raises:
        FileError: it is not in the folder.
    """
    found = parts.read(work.folder / done.file, work.identity, shard.digest)
    if found is None:
        raise FileError(
            f"{done.file} is not in {work.folder}, where a worker has written it: name a folder that all machines "
            "share",
            path=work.folder,
        )
    return found


class _Advance(Protocol):
    def __call__(self, done: Done) -> None: ...


@contextmanager
def _progress(job: Job, shards: Sequence[Shard], session: Session) -> Iterator[_Advance]:
    """Images done, images per second and the time left: on a bar, or a line per minute where there is no terminal."""
    total, finished, begun = sum(shard.count for shard in shards), 0, time.monotonic()
    first, said = (begun, 0), begun  # from the first result on, so that what workers need to start does not count
    with session.progress(job.name, total=total) as bar:

        def advance(done: Done) -> None:
            nonlocal finished, first, said
            finished += done.count
            now = time.monotonic()
            rate = (finished - first[1]) / max(now - first[0], 1e-9)
            first = first if first[1] else (now, finished)
            bar(done.count, f"{job.name}, {rate:.1f} images/s")
            if now - said > _SILENCE and not sys.stderr.isatty():
                session.note(
                    f"{finished} of {total} images, {rate:.1f} images/s, {(total - finished) / rate / 60:.0f} min left"
                )
                said = now

        yield advance


def _summary(
    job: Job,
    model: VisionModel,
    folder: Path,
    found: dict[int, parts.Written],
    unlisted: Sequence[Skipped],
    *,
    computed: int,
) -> Summary:
    tally, skipped, digest = Tally(), [(one.path, one.reason) for one in unlisted], hashlib.sha256()
    tally.count("skipped", len(unlisted))
    for _, part in sorted(found.items()):
        tally.add(part.tally)
        skipped += part.skipped[: max(0, _REASONS - len(skipped))]
        digest.update(part.file.encode())
    files = tuple(found[number].file for number in sorted(found))
    return Summary(job, model, folder, files, tally, tuple(skipped[:_REASONS]), computed, digest.hexdigest())

"""`Sharding`: how a large job is cut, and what computes it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from deepscope.settings import Count


@dataclass(frozen=True)
class Sharding:
    """How a large job is cut into parts, and what computes them. Any of these settings makes a job one in parts.

    Attributes:
        shard_size: images per part: the result is then a folder of Parquet files, and the same command resumes; by
            default what takes some seconds.
        workers: processes that compute parts, by Ray, each with one thread or one GPU; 1 is this process, without Ray.
        cluster: address of a running Ray cluster (RAY_ADDRESS where not given); without one, workers run on this
            machine.
        parts_folder: folder or address (`s3://bucket/job`) for the parts, which all machines see; by default `parts` in
            the output folder.
        keep_arrays: also write what is large: logits, maps, adversarial images, as columns of the parts.
    """

    shard_size: Count | None = None
    workers: Count | None = None
    cluster: str | None = None
    parts_folder: str | None = None
    keep_arrays: bool = False


OF_PARTS = frozenset(field.name for field in fields(Sharding))
"""Settings of commands whose jobs can be cut: no method of theirs may have a field of such a name."""

"""Jobs over many images, cut into shards: each shard is a pure function of its images, and gives one Parquet file.

`run` lists the images, cuts the list, and has every shard computed that is not finished yet: in this process, or by
workers on Ray. This package knows jobs only as `Job`; they stand beside the workflows that they repeat.
"""

from deepscope.batch.job import Job, Rows, alone, rng_of, scored, together
from deepscope.batch.running import run
from deepscope.batch.shard import Part, Shard, run_shard
from deepscope.batch.sharding import Sharding
from deepscope.batch.summary import Summary
from deepscope.batch.tally import Tally

__all__ = [
    "Job",
    "Part",
    "Rows",
    "Shard",
    "Sharding",
    "Summary",
    "Tally",
    "alone",
    "rng_of",
    "run",
    "run_shard",
    "scored",
    "together",
]

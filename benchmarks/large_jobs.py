"""How long ten million images take on 1 to 512 GPUs: a simulation of `deepscope.batch` from measured and assumed costs.

    python benchmarks/large_jobs.py
    python benchmarks/large_jobs.py --images photos/ --workers 1 2 --shard-size 25 --limit 1000

Workers take the next part when they have done one, as on Ray. What one machine does (listing, handing out and checking
parts) is counted; the network and the disk are taken to be fast enough. With `--images` nothing is simulated: jobs run
on that many workers of Ray on this machine, and the parts are compared byte for byte.
"""

from __future__ import annotations

import argparse
import heapq
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepscope.attacks import PGD
from deepscope.attacks.job import AttackJob
from deepscope.attributions import GradCAM
from deepscope.attributions.job import ExplainJob
from deepscope.batch import Job, Sharding, run
from deepscope.classification.job import ClassifyJob
from deepscope.session import Session

IMAGES = 10_000_000
LISTING = 21e-6
"""Seconds per image to list a folder: measured on a busy machine, 1,000,000 files in 21 s."""
HAND_OUT = 0.0013
"""Seconds per part to give it to an actor of Ray and to hear of it: measured, one round trip."""
CHECK = 0.001
"""Seconds per part in which the driver reads and hashes it: measured for a part of 4,096 rows of `classify`."""
WRITE = 0.02
"""Seconds per part in which a worker compresses and writes it: assumed. Measured without a network: 0.01 s."""
START = 30.0
"""Seconds until a worker has loaded PyTorch and the model: assumed."""
SPREAD = 0.2
"""Relative deviation of the time of a part: assumed."""
WORK = {"classify": (0.001, 4096), "explain": (0.02, 512), "attack": (0.2, 64)}
"""Seconds per image on one GPU, reading included, and images per part: assumed."""


@dataclass(frozen=True)
class Simulated:
    """A simulated job: its wall time in seconds, and the share of the workers' time that is work."""

    wall: float
    busy: float


def simulate(cost: float, size: int, workers: int, *, seed: int = 0) -> Simulated:
    """One job.

    Args:
        cost: seconds per image.
        size: images per part.
        workers: one GPU each.
    """
    rng, parts = np.random.default_rng(seed), -(-IMAGES // size)
    sigma = np.sqrt(np.log(1 + SPREAD**2))
    times = cost * size * rng.lognormal(-(sigma**2) / 2, sigma, parts) + WRITE
    began = IMAGES * LISTING
    free, driver = [began + START] * workers, began
    for seconds in times:
        driver = max(driver + HAND_OUT + CHECK, heapq.heappop(free))
        heapq.heappush(free, driver + seconds)
    wall = max(free)
    return Simulated(wall, IMAGES * cost / (wall * workers))


JOBS: Mapping[str, Job] = {
    "classify": ClassifyJob("efficientnet_lite0"),
    "explain": ExplainJob("efficientnet_lite0", method=GradCAM()),
    "attack": AttackJob("efficientnet_lite0", method=PGD(steps=4)),
}


def measure(job: Job, images: Path, workers: int, size: int, limit: int | None) -> tuple[str, list[str]]:
    """Run a job on Ray; returns its figures, and the names of its parts, which carry the digests of their bytes.

    Images per second are counted from the first part to the last, so that the start of workers does not count.
    """
    with tempfile.TemporaryDirectory() as out:
        used = time.process_time()
        sharding = Sharding(shard_size=size, workers=workers, cluster="this machine")
        found = run(job, [images], Session(quiet=True, out=Path(out)), sharding=sharding, limit=limit)
        used = time.process_time() - used
        written = sorted((found.folder / name).stat().st_mtime for name in found.files)
        rate = (len(written) - workers) * size / (written[-1] - written[0])
    text = (
        f"{workers} workers, parts of {size}: {rate:.2f} images/s, driver {used / len(written):.4f} s of CPU per part"
    )
    return text, list(found.files)


def compare(given: argparse.Namespace) -> None:
    """Print the figures of each number of workers, and whether their parts are the same."""
    import ray

    ray.init("local", num_cpus=max(given.workers), include_dashboard=False, log_to_driver=False)
    names = list[list[str]]()
    for workers in given.workers:
        text, files = measure(JOBS[given.job], given.images, workers, given.shard_size, given.limit)
        names.append(files)
        print(f"{given.job}, {text}", flush=True)
    print("the same parts" if all(one == names[0] for one in names) else "DIFFERENT PARTS")


def main() -> None:
    """Print the table of docs/experiments/large-jobs.md, or run jobs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of images to run jobs on")
    parser.add_argument("--job", choices=JOBS, default="classify")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--shard-size", type=int, default=25)
    parser.add_argument("--limit", type=int)
    given = parser.parse_args()
    if given.images:
        compare(given)
        return
    print("| job | 1 GPU | 8 | 64 | 512 |\n| --- | --- | --- | --- | --- |")
    for name, (cost, size) in WORK.items():
        found = [simulate(cost, size, workers) for workers in (1, 8, 64, 512)]
        print(f"| {name} | {' | '.join(f'{one.wall / 3600:.2f} h ({one.busy:.0%})' for one in found)} |")


if __name__ == "__main__":
    main()

"""How long ten million images take on 1 to 512 GPUs: a simulation of `deepscope.batch` from measured and assumed costs.

    python benchmarks/large_jobs.py

Workers take the next part when they have done one, as on Ray. What one machine does (listing, handing out and checking
parts) is counted; the network and the disk are taken to be fast enough.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

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
    for time in times:
        driver = max(driver + HAND_OUT + CHECK, heapq.heappop(free))
        heapq.heappush(free, driver + time)
    wall = max(free)
    return Simulated(wall, IMAGES * cost / (wall * workers))


def main() -> None:
    """Print the table of docs/experiments/large-jobs.md."""
    print("| job | 1 GPU | 8 | 64 | 512 |\n| --- | --- | --- | --- | --- |")
    for name, (cost, size) in WORK.items():
        found = [simulate(cost, size, workers) for workers in (1, 8, 64, 512)]
        print(f"| {name} | {' | '.join(f'{one.wall / 3600:.2f} h ({one.busy:.0%})' for one in found)} |")


if __name__ == "__main__":
    main()

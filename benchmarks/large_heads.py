"""Memory and time of the heads that are fitted to streamed features.

    python benchmarks/large_heads.py --rows 1000000 --head ridge

Features are drawn block by block from a seed, in place of the Parquet parts of `transfer features`, so that the disk of
the machine is not measured. Every pass draws them again; its time is printed beside that of the fit.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from deepscope.transfer.heads import Head, Streamed, folds_of
from deepscope.transfer.heads.streamed import BLOCK, drawn


def features(rows: int, dimension: int, labels: Tensor) -> Iterator[Tensor]:
    """Unit vectors around a centre for each class."""
    centres = torch.randn(int(labels.max()) + 1, dimension, generator=torch.Generator().manual_seed(0))
    for start in range(0, rows, BLOCK):
        own = labels[start : start + BLOCK]
        noise = torch.randn(len(own), dimension, generator=torch.Generator().manual_seed(start + 1))
        yield functional.normalize(centres[own] * 0.1 + noise)


def main() -> None:
    """Fit one head, and print peak memory and seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=1280)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--head", choices=("ridge", "linear-svc"), default="ridge")
    given = parser.parse_args()
    labels = torch.arange(given.rows) % given.classes
    passes = [0, 0.0]

    def read() -> Iterator[Tensor]:
        passes[0] += 1
        blocks, began = features(given.rows, given.dimension, labels), time.monotonic()
        while (block := next(blocks, None)) is not None:
            passes[1] += time.monotonic() - began
            yield block
            began = time.monotonic()

    sample = drawn(labels)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.monotonic()
    fitted = Head.named(given.head).fit_streamed(Streamed(labels, read, sample), folds_of(labels[sample], seed=0))
    seconds, peak = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{given.head}, {given.rows:,} x {given.dimension}, {given.classes} classes: peak {peak:.0f} MB "
        f"({before:.0f} MB before the fit), {seconds:.0f} s, {passes[1]:.0f} s of it to draw features, "
        f"{passes[0]} passes, {fitted.setting}, accuracy {fitted.accuracy_out_of_fold(labels[sample]):.3f}"
    )


if __name__ == "__main__":
    main()

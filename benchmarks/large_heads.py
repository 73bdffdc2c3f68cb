"""Memory and time of the heads that are fitted to streamed features.

    python benchmarks/large_heads.py --rows 1000000 --head ridge
    python benchmarks/large_heads.py --rows 1000000 --head linear-svc --parts /tmp/million

Features are drawn block by block from a seed; every pass draws them again, and its time is printed beside that of the
fit. With `--parts` they are written to that folder once (5 GB for a million rows) and read from it in every pass, as
from parts of `transfer features`. Delete the folder afterwards.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow
import torch
from pyarrow import parquet
from torch import Tensor
from torch.nn import functional

from deepscope.batch.parts import ABOUT
from deepscope.transfer.heads import Head, Streamed, folds_of
from deepscope.transfer.heads.streamed import BLOCK, drawn
from deepscope.transfer.parts import FeatureParts


def features(rows: int, dimension: int, labels: Tensor) -> Iterator[Tensor]:
    """Unit vectors around a centre for each class."""
    centres = torch.randn(int(labels.max()) + 1, dimension, generator=torch.Generator().manual_seed(0))
    for start in range(0, rows, BLOCK):
        own = labels[start : start + BLOCK]
        noise = torch.randn(len(own), dimension, generator=torch.Generator().manual_seed(start + 1))
        yield functional.normalize(centres[own] * 0.1 + noise)


def write(folder: Path, rows: int, dimension: int, labels: Tensor) -> None:
    """The same features as parts of `transfer features`, unless they are there."""
    if (folder / ABOUT).is_file():
        return
    folder.mkdir(parents=True)
    start = number = 0
    for number, block in enumerate(features(rows, dimension, labels), 1):
        own = range(start, start + len(block))
        offsets = pyarrow.array(np.arange(0, block.numel() + 1, dimension, dtype=np.int32))
        columns = {
            "sha256": [hashlib.sha256(str(row).encode()).hexdigest() for row in own],
            "error": pyarrow.array([None] * len(block), pyarrow.string()),
            "features": pyarrow.ListArray.from_arrays(offsets, pyarrow.array(block.flatten().numpy())),
            "class": [f"class {label:03d}" for label in labels[own.start : own.stop].tolist()],
        }
        sink = pyarrow.BufferOutputStream()
        parquet.write_table(pyarrow.table(columns), sink, compression="zstd", compression_level=3)
        content = sink.getvalue().to_pybytes()
        (folder / f"part-{number - 1:06d}-{hashlib.sha256(content).hexdigest()[:32]}.parquet").write_bytes(content)
        start = own.stop
    (folder / ABOUT).write_text(json.dumps({"job": "features", "images": {"parts": number}}))


def main() -> None:
    """Fit one head, and print peak memory and seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=1280)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--head", choices=("ridge", "linear-svc"), default="ridge")
    parser.add_argument("--parts", type=Path, help="folder of Parquet parts to read in every pass")
    given = parser.parse_args()
    labels = torch.arange(given.rows) % given.classes
    source = partial(features, given.rows, given.dimension, labels)
    if given.parts:
        write(given.parts, given.rows, given.dimension, labels)
        source = partial(FeatureParts.of(given.parts).read, np.ones(given.rows, dtype=bool))
    passes = [0, 0.0]

    def read() -> Iterator[Tensor]:
        passes[0] += 1
        blocks, began = source(), time.monotonic()
        while (block := next(blocks, None)) is not None:
            passes[1] += time.monotonic() - began
            yield block
            began = time.monotonic()

    sample = drawn(labels)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.monotonic()
    used = time.process_time()
    fitted = Head.named(given.head).fit_streamed(Streamed(labels, read, sample), folds_of(labels[sample], seed=0))
    seconds, peak = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{given.head}, {given.rows:,} x {given.dimension}, {given.classes} classes: peak {peak:.0f} MB "
        f"({before:.0f} MB before the fit), {seconds:.0f} s ({time.process_time() - used:.0f} s of processor "
        f"time), {passes[1]:.0f} s of it to draw or read features, "
        f"{passes[0]} passes, {fitted.setting}, accuracy {fitted.accuracy_out_of_fold(labels[sample]):.3f}"
    )


if __name__ == "__main__":
    main()

"""Peak memory of every job in parts on few and on many images: it must not grow with their number.

    python benchmarks/large_memory.py --images 2000 20000

Each run is a process of its own. The network is tiny and images have 16 x 16 pixels, so that what is measured is what a
job keeps per image.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

import deepscope as ds
from deepscope.attacks import FGSM
from deepscope.attacks.evaluate_job import AttackEvaluateJob
from deepscope.attacks.job import AttackJob
from deepscope.attributions import Saliency
from deepscope.attributions.evaluate_job import ExplainEvaluateJob
from deepscope.attributions.job import ExplainJob
from deepscope.batch import Job, Sharding, run
from deepscope.classification.corruptions_job import CorruptionsJob
from deepscope.classification.job import ClassifyJob
from deepscope.features.job import FeaturesJob
from deepscope.models import Preprocessing
from deepscope.session import Session
from deepscope.shortcuts.slice_parts import slices_in_parts
from deepscope.shortcuts.slices_job import SlicesJob
from deepscope.transfer.label_parts import label_errors_in_parts

JOBS: Mapping[str, Job] = {
    job.name: job
    for job in (
        ClassifyJob(""),
        FeaturesJob(""),
        ExplainJob("", method=Saliency()),
        ExplainEvaluateJob("", methods=("saliency",), measures=("roughness",)),
        AttackJob("", method=FGSM()),
        AttackEvaluateJob("", methods=("fgsm",), radii=(4 / 255,)),
        CorruptionsJob("", severities=(3,)),
    )
} | {"check labels": FeaturesJob(""), "check slices": SlicesJob("")}
"""One of each, with the settings that take least time."""


def paint(folder: Path, count: int) -> None:
    """Images of noise in two class folders."""
    rng = np.random.default_rng(0)
    for name in ("hay", "snail"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        levels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(levels).save(folder / ("hay", "snail")[number % 2] / f"{number:06d}.png")


def measure(name: str, folder: Path, out: Path) -> None:
    """Run one job, or a check on its parts; print the peak memory of this process in MB, and its processor seconds."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    model = ds.wrap(nn.Sequential(*layers), ["hay", "snail", "other"], preprocessing=Preprocessing(resize=16, crop=16))
    session, sharding = Session(quiet=True, out=out), Sharding(shard_size=100, keep_arrays=True)
    found = run(JOBS[name], [folder], session, sharding=sharding, model=model)
    if name == "check labels":
        label_errors_in_parts(found.folder, name=name, session=session)
    if name == "check slices":
        slices_in_parts(found, name=name, session=session)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.process_time())


def main() -> None:
    """Print one line per job, or run the one that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[2000, 20000])
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--one", nargs=3, metavar=("JOB", "FOLDER", "OUT"), help="for the processes that this starts")
    given = parser.parse_args()
    if given.one:
        name, folder, out = given.one
        measure(name, Path(folder), Path(out))
        return
    with tempfile.TemporaryDirectory() as place:
        for count in given.images:
            paint(Path(place, str(count)), count)
        for name in given.jobs:
            found = []
            for count in given.images:
                out = Path(place, f"{name}-{count}")
                line = [sys.executable, __file__, "--one", name, str(Path(place, str(count))), str(out)]
                memory, seconds = subprocess.run(line, check=True, capture_output=True, text=True).stdout.split()
                found.append(f"{float(memory):.0f} MB, {float(seconds):.0f} s")
            print(f"{name}: {'; '.join(found)}", flush=True)


if __name__ == "__main__":
    main()

"""Quality of a conditional DCGAN that is trained on few digits, with and without augmentation.

python benchmarks/few_images.py none diffaugment ada [--images 1000] [--seeds 3] [--test] [--json]

Each arm trains the same R1-regularised networks on the same digits for the same number of steps. 10,000 samples are
measured against 10,000 training digits that were set aside; --test takes the test digits, for the arms that have been
chosen. Memorised samples are near to one of the few training digits.
The spread of the samples' brightness and position stands beside that of the training digits: an augmentation that
leaks into the samples widens it.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deepscope.gans import Architecture, Pictures, Recipe, evaluate_gan, load_pictures, r1_regularised, train_gan
from deepscope.gans.quality import draw, novelty
from deepscope.session import Session
from environment import environment

_SAMPLES = 10_000


def digits(arguments: argparse.Namespace, session: Session) -> tuple[Pictures, Pictures]:
    """The few training digits, and all digits, to measure by."""
    every = load_pictures(arguments.data, 32, session, hold_out=0 if arguments.test else _SAMPLES)
    few = every.train.some(arguments.images, session.rng("few images"))
    return replace(every, train=few, held_out=0), every


def spreads(images: Tensor) -> dict[str, float]:
    """Standard deviations over images: of the corners' brightness in [-1, 1], and of the ink's centre in pixels."""
    corners = (images[:, 0, :2, :2].float() / 127.5 - 1).mean((1, 2))
    ink = images[:, 0].double()
    mass = ink.sum((1, 2)).clamp(min=1)
    places = torch.arange(ink.shape[-1], dtype=torch.float64)
    across, down = ((ink.sum(axis) * places).sum(1) / mass for axis in (1, 2))
    return {"corner": float(corners.std()), "across": float(across.std()), "down": float(down.std())}


def measure(arguments: argparse.Namespace, augment: str, seed: int) -> dict[str, float]:
    """Train and evaluate from one seed."""
    session = Session.open(device=arguments.device, seed=seed, precision=arguments.precision, quiet=True)
    pictures, every = digits(arguments, session)
    architecture, recipe = r1_regularised(
        Architecture(width=arguments.width), Recipe(epochs=arguments.epochs, batch_size=64)
    )
    start = time.perf_counter()
    trained = train_gan(
        pictures,
        architecture=architecture,
        recipe=replace(recipe, augment=augment, cutout=arguments.cutout, r1_last=arguments.r1_last),  # type: ignore[arg-type]
        conditional=not arguments.unconditional,
        folder=arguments.out / f"{augment}-{seed}" if arguments.out else None,
        session=session,
    )
    seconds = time.perf_counter() - start
    found = evaluate_gan(trained.gan, every, samples=_SAMPLES, score_epochs=0, session=session)
    made = draw(trained.gan, pictures, _SAMPLES, session)
    own = {"memorised": novelty(made, pictures)[0]}
    own |= {f"spread/{name}": value for name, value in spreads(made.images).items()}
    real = {f"spread/{name}/real": value for name, value in spreads(pictures.train.images).items()}
    probability = trained.history.column("augmentation/probability")[1]
    last = {"augmentation/probability": float(probability[-1])} if len(probability) else {}
    return {**found.metrics, **own, **real, **last, "seconds/train": seconds}


def main() -> None:
    """Print the metrics of each arm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("augment", nargs="+", choices=("none", "diffaugment", "ada"))
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--images", type=int, default=1000, help="training digits")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--r1-last", type=float, default=0.05)
    parser.add_argument("--cutout", action="store_true", help="also cover a part of each image")
    parser.add_argument("--unconditional", action="store_true")
    parser.add_argument("--test", action="store_true", help="measure by the test digits")
    parser.add_argument("--first-seed", type=int, default=0, help="confirm on new seeds what was chosen on others")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--out", type=Path, help="folder for the trainings, which can then be resumed")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    means: dict[str, float] = {}
    for augment in arguments.augment:
        runs = []
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            runs.append(measure(arguments, augment, seed))
            if not arguments.json:
                print(f"{augment}, seed {seed}", flush=True)
                print(*(f"  {name} {value:.4f}" for name, value in runs[-1].items()), sep="\n", flush=True)
        means |= {f"{augment}/{name}": float(np.mean([run[name] for run in runs])) for name in runs[0]}
    if arguments.json:
        print(json.dumps({**means, "environment": environment(engine="torch")}))


if __name__ == "__main__":
    main()

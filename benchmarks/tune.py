"""Accuracy of a tuned classifier of 15-Scene, after a corruption and on clean photographs.

python benchmarks/tune.py [--corruption gaussian-noise] [--severity 5] [--method auto] [--seeds 1] [--json]

A linear head is fitted to clean training images on the features of a pretrained network. The classifier is then tuned
to corrupted training images without labels, and measured on corrupted and on clean test images. `--corruption none`
tunes to clean images. --fitted, --images and --test are images per class, --size is the side of the network's input: a
smaller run takes minutes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from deepscope.adaptation import SelfTraining, TunedModel, Tuning, evaluate, tune
from deepscope.adaptation.auto import Auto
from deepscope.data import ClassFolders, Labelled, load_dataset
from deepscope.data.corrupt import write_corrupted
from deepscope.data.corruptions import Corruption
from deepscope.session import Session
from deepscope.transfer import ImageClassifier
from environment import environment


def some(part: Labelled, each: int, seed: int) -> tuple[list[Path], list[int]]:
    """At most `each` images of every class, drawn from the seed."""
    rows: list[int] = []
    for label in np.unique(part.labels):
        own = np.flatnonzero(part.labels == label)
        rows += np.random.default_rng(seed).permutation(own)[:each].tolist()
    return [part.paths[row] for row in rows], [int(part.labels[row]) for row in rows]


def measure(arguments: argparse.Namespace, seed: int) -> tuple[TunedModel, dict[str, float]]:
    """Fit, corrupt, tune, and measure from one seed."""
    session = Session.open(device=arguments.device, seed=seed)
    data = load_dataset(arguments.data, session, ClassFolders)
    assert data.test is not None
    paths, labels = some(data.train, arguments.fitted, seed)
    classifier = ImageClassifier(
        arguments.model, head="logistic-regression", size=arguments.size or None, session=session
    ).fit(paths, [data.classes[label] for label in labels])
    unlabelled, _ = some(data.train, arguments.images, seed)
    tested, truth = some(data.test, arguments.test, seed)
    clean = [(path, data.classes[label]) for path, label in zip(tested, truth, strict=True)]
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "target"
        if arguments.corruption == "none":
            linked(target, data.root, [*unlabelled, *tested])
        else:
            corruption = replace(Corruption.named(arguments.corruption), severity=arguments.severity)
            write_corrupted([*unlabelled, *tested], corruption, target, session)
        start = time.perf_counter()
        tuned = tune(classifier.model, target, method=method(arguments), session=session)
        seconds = time.perf_counter() - start
    figures = {name: estimate.value for name, estimate in tuned.accuracies.items()}
    for name, model in (("source-model", classifier.model), ("tuned", tuned.model)):
        found = evaluate(model, target=clean, session=session).domains[0].accuracy.value
        figures[f"accuracy/clean/{name}"] = found
    return tuned, {**figures, "seconds/tune": seconds}


def method(arguments: argparse.Namespace) -> Tuning:
    """The method, with the number of epochs where it has one."""
    found = Tuning.named(arguments.method)
    if arguments.epochs and isinstance(found, (Auto, SelfTraining)):
        return replace(found, epochs=arguments.epochs)
    return found


def linked(folder: Path, root: Path, paths: Sequence[Path]) -> None:
    """The images below another folder, as links."""
    for path in paths:
        place = folder / path.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path)


def main() -> None:
    """Print accuracies and seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="15scene")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--corruption", default="gaussian-noise", help="a name, or none")
    parser.add_argument("--severity", type=int, default=5)
    parser.add_argument("--method", default="auto", choices=tuple(Tuning.members()))
    parser.add_argument("--epochs", type=int, default=0, help="of self-training; 0 takes the method's own")
    parser.add_argument("--fitted", type=int, default=100, help="clean training images per class")
    parser.add_argument("--images", type=int, default=100, help="corrupted training images per class")
    parser.add_argument("--test", type=int, default=1000, help="test images per class")
    parser.add_argument("--size", type=int, default=0, help="side of the input; 0 takes the model's own")
    parser.add_argument("--first-seed", type=int, default=0, help="confirm on new seeds what was chosen on others")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    runs: list[dict[str, float]] = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        tuned, figures = measure(arguments, seed)
        runs.append(figures)
        if not arguments.json:
            for choice in tuned.choices:
                print(f"  {choice.name}: score {choice.score}, alarm: {choice.signs.alarm or 'none'}")
            print(f"seed {seed}, {arguments.corruption}, taken: {tuned.chosen}")
            print(*(f"  {name} {value:.3f}" for name, value in figures.items()), sep="\n", flush=True)
    if arguments.json:
        means = {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
        print(json.dumps({**means, "environment": environment(engine="torch")}))


if __name__ == "__main__":
    main()

"""All methods of adaptation on cached features of 15-Scene, clean to corrupted, with the same or other classes.

python benchmarks/adaptation_photographs.py [--data development] [--corruptions shot-noise defocus-blur fog]
    [--methods dann cdan:entropy=False ...] [--seeds 3] [--epochs 14]
    [--partial 5 [--class-weights] | --open 5] [--json]

"development" uses training images only, so that a choice made there has seen no test image; "test" is the official
split. `--partial 5` leaves five classes out of the target, other ones for every seed; `--open 5` leaves them out of the
source: accuracy is then that of the known classes, and "unknown" is the AUROC by which the entropy of the predictions
tells images of unknown classes. Target labels measure, and choose nothing: the epoch is chosen by InfoMax.
"""

from __future__ import annotations

import argparse
import ast
import json
from dataclasses import replace

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from adaptation_features import Pair, load_pair, measured
from deepscope.adaptation import SOURCE, TARGET, Adaptation, Recipe
from deepscope.session import Session
from deepscope.statistics import gap_over_seeds, over_seeds
from environment import environment

DEVELOPMENT = ("shot-noise", "defocus-blur", "fog")
REPORTED = ("gaussian-noise", "gaussian-blur", "contrast")


def named(text: str) -> Adaptation:
    """A method with settings: NAME or NAME:setting=value,setting=value."""
    name, _, rest = text.partition(":")
    pairs = (pair.split("=") for pair in rest.split(",") if pair)
    return Adaptation.member(name)(**{key: ast.literal_eval(value) for key, value in pairs})  # pyright: ignore[reportAbstractUsage]


def figures(source: Tensor, target: Tensor, pair: Pair) -> dict[str, float]:
    """Accuracies, and how well entropy tells unknown classes where the target has any."""
    known = pair.target_test.labels < pair.classes
    right = target.argmax(1) == pair.target_test.labels
    found = {
        "source": float((source.argmax(1) == pair.source_test.labels).float().mean()),
        "target": float(right[known].float().mean()),
    }
    if not known.all():
        entropy = torch.special.entr(target.softmax(1)).sum(1)
        found["unknown"] = float(roc_auc_score(~known, entropy))
    return found


def main() -> None:
    """Print one line per corruption and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="development", choices=("development", "test"))
    parser.add_argument("--corruptions", nargs="+", default=None)
    parser.add_argument("--severity", type=int, default=5)
    parser.add_argument("--methods", nargs="+", default=list(Adaptation.members()))
    parser.add_argument("--base", default="dann", help="method that the others are compared with, seed by seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--validator", default="info-max")
    parser.add_argument("--partial", type=int, default=0, help="classes that the target lacks")
    parser.add_argument("--open", type=int, default=0, help="classes that the source lacks")
    parser.add_argument("--class-weights", action="store_true", help="as `adapt fit --partial`")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    session = Session.open(device="cpu", precision="bfloat16", quiet=True)
    development = arguments.data == "development"
    recipe = Recipe(epochs=arguments.epochs, partial=arguments.class_weights)
    for corruption in arguments.corruptions or (DEVELOPMENT if development else REPORTED):
        whole = load_pair(corruption, arguments.severity, session, development=development)
        found: dict[str, list[dict[str, float]]] = {}
        for seed in range(arguments.seeds):
            own = replace(session, seed=seed)
            pair, absent = whole, torch.randperm(whole.classes, generator=own.rng("absent classes")).tolist()
            if arguments.partial:
                pair = pair.without(absent[: arguments.partial], domain=TARGET)
            if arguments.open:
                pair = pair.without(absent[: arguments.open], domain=SOURCE)
            for method in arguments.methods:
                adapted = pair.adapt(named(method), recipe, own, validator=arguments.validator)
                row = next(row for row in adapted.history.rows if row["step"] == adapted.chosen)
                scores = {key: row[key] for key in row if key.startswith("validator/")}
                found.setdefault(method, []).append(figures(*measured(adapted, pair, own), pair) | scores)
        if arguments.json:
            print(
                json.dumps(
                    {
                        "corruption": corruption,
                        **vars(arguments),
                        "found": found,
                        "environment": environment(engine="torch"),
                    }
                ),
                flush=True,
            )
            continue
        print(f"{corruption} {arguments.severity}, {arguments.data}")
        for method, runs in found.items():
            parts = [f"{key} {over_seeds([run[key] for run in runs])}" for key in runs[0] if "validator/" not in key]
            base = found.get(arguments.base, runs)
            gap = gap_over_seeds([run["target"] for run in runs], [run["target"] for run in base])
            print(f"  {method:32} {', '.join(parts)}; against {arguments.base} {gap}", flush=True)


if __name__ == "__main__":
    main()

"""What is kept to save time: whatever has become of it, the answer is the one that computing gives."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from deepscope.data import ClassFolders
from deepscope.features import extract
from deepscope.inputs.examples import Examples
from deepscope.kept import kept
from deepscope.report.keeping import Shelf
from deepscope.results import Provenance, Result
from deepscope.session import Session
from deepscope.transfer.splits import Holdout, divide
from deepscope.visualization import ClassObjective, Recipe, make_images
from fuzz.target import Mutation, Target, damage, lie
from networks import tiny_model
from painted import paint_folder
from toy_sections import study


def _session(folder: Path) -> Session:
    return Session(home=folder / "home", cache=folder / "cache", quiet=True)


def _features(folder: Path) -> Any:
    paths = sorted((folder / "pictures").rglob("*.png"))
    found = extract(tiny_model(), [("2", "mean"), ("5", "flatten")], paths, _session(folder))
    return found.rows, found.vectors, len(found.skipped)


def _build_features(folder: Path) -> None:
    paint_folder(folder / "pictures", train=2, test=1)
    _features(folder)


def _arrays(folder: Path) -> Any:
    def compute() -> dict[str, np.ndarray[Any, Any]]:
        return {"survived": np.arange(12.0).reshape(3, 4), "names": np.array(["a", "b"]), "count": np.array(3)}

    return kept(_session(folder), {"method": "saliency"}, compute)


def _copies(folder: Path) -> Any:
    data = ClassFolders.read(folder / "pictures")
    examples = Examples.in_folders(data)
    found = divide(examples, np.arange(len(examples)), Holdout(), _session(folder))
    return [(split.train, split.test, split.copied) for split in found]


def _build_copies(folder: Path) -> None:
    paint_folder(folder / "pictures", train=2, test=2)
    shutil.copy(folder / "pictures/train/dots/0.png", folder / "pictures/test/dots/1.png")
    _copies(folder)


def _section(folder: Path) -> Result:
    outcome = Shelf(folder / "out", _session(folder)).get(study())
    assert not outcome.failure, outcome.failure
    return dataclasses.replace(outcome.result, provenance=Provenance())


def _build_section(folder: Path) -> None:
    (folder / "home" / "data").mkdir(parents=True)
    _section(folder)


def _class_images(folder: Path) -> Any:
    recipe = Recipe(iterations=4, canvas="pixels", view=0)
    objective = ClassObjective(tiny_model(), torch.arange(2))
    made = make_images(objective, recipe, ["bee eater", "wombat"], _session(folder), frame_steps=(0, 2), keep=True)
    return made.pixels, made.watched, made.frames, made.complete


def _stores_mixed(rng: Random, folder: Path) -> None:
    """A file of one store lies in another one, or twice in its own: a copy that went wrong."""
    stored = sorted(path for path in (folder / "cache").rglob("*") if path.is_file())
    one, other = rng.choice(stored), rng.choice(stored)
    other.with_name(rng.choice((one.name, f"0{one.name}"))).write_bytes(one.read_bytes())


def _cache(name: str, build: Any, read: Any, *mutations: Mutation, inputs: int = 100) -> Target:
    return Target(name, build, read, mutations, refuses=False, inputs=inputs)


_ANY = damage("cache/**/*")

TARGETS = [
    _cache(
        "feature-store",
        _build_features,
        _features,
        _ANY,
        lie("about.json", same=True),
        Mutation("stores mixed", _stores_mixed),
        inputs=150,
    ),
    _cache("kept-arrays", _arrays, _arrays, _ANY, inputs=200),
    _cache("copies", _build_copies, _copies, _ANY),
    _cache("class-images", _class_images, _class_images, _ANY),
    _cache("report-section", _build_section, _section, damage("out/**/*"), lie("result.json")),
]

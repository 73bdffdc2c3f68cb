"""Every example of every help runs, in a folder that holds what the examples name."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cyclopts import App
from torch import nn

from deepscope import models
from deepscope.cli.commands import _commands
from deepscope.cli.program import app, run
from deepscope.command import Command
from deepscope.data import ClassFolders, Digits, DigitSplit
from deepscope.data.fifteen_scene import FifteenScene
from deepscope.data.mnist import Mnist, MnistExtract, MnistM, MnistMExtract
from deepscope.data.photographs import bundled_photographs
from deepscope.models import Preprocessing, VisionModel, imagenet
from deepscope.session import Session
from networks import tiny_transformer
from painted import paint_folder

_CHEAP = {
    "adapt fit": "--epochs 1",
    "adapt tune": "--limit 8 --batch-size 4",
    "attack": "--limit 2 --batch-size 2",
    "attack auto": "--steps 2 --targets 1 --queries 5",
    "attack auto-pgd": "--steps 4",
    "attack boundary": "--queries 40 --starts 4",
    "attack certify": "--limit 1 --samples 8 --first 2 --radii 0.1 --steps 1",
    "attack carlini-wagner": "--steps 3 --searches 2",
    "attack evaluate": "--limit 1",
    "attack fab": "--steps 2 --targets 2",
    "attack hop-skip-jump": "--queries 40 --starts 4",
    "attack one-pixel": "--queries 40 --population 4",
    "attack patch": "--steps 3",
    "attack spatial": "--draws 4",
    "attack universal": "--steps 3",
    "concepts find": "--evaluated 2",
    "concepts tcav": "--random-sets 9 --counterparts 1",
    "check class-images": "--iterations 2 --limit 4 --classes 2",
    "check corruptions": "--limit 3 --severities 1",
    "check explanations": "--limit 2 --search 2 --steps 2",
    "check robustness": "--limit 2 --steps 2 --levels 4",
    "explain evaluate": "--limit 2 --sanity 1",
    "explain occlusion": "--window 16 --stride 16",
    "explain rise": "--masks 16",
    "gan evaluate": "--samples 20 --score-epochs 0",
    "gan evaluator": "--epochs 1",
    "gan train": "--epochs 1 --width 2 --latent 4 --batch-size 20",
    "transfer fit": "--size 64",
    "visualize": "--iterations 2",
}
"""Settings that make an example quick; they say nothing of what the example itself names."""
_LONG = {
    "data get": "downloads",
    "report": "runs every check",
    "transfer export": "loads the ONNX exporter",
    "transfer improve": "extracts features many times over",
    "transfer table": "extracts features many times over",
}
"""Examples of which only the command line and what it names are looked at; a study's names nothing."""


def _examples() -> list[str]:
    """The example at the foot of each help, of groups and of the program too."""

    def below(group: App) -> Iterator[str]:
        if isinstance(group.help_epilogue, str):
            yield group.help_epilogue.removeprefix("Example: ")
        for name in group:
            if not name.startswith("-"):
                yield from below(group[name])

    return list(dict.fromkeys(below(app())))


_IN_ONE_PROCESS = {"--workers 2": "--workers 1"}
"""Ray's workers, which tests/batch/test_on_ray.py starts, cannot know the small networks and import everything anew."""


def _named(example: str) -> str:
    """The command of an example with its method, as `_CHEAP` calls it."""
    words = shlex.split(example)[1:]
    return " ".join(words[:2])


def _quick(example: str) -> list[str]:
    for several, one in _IN_ONE_PROCESS.items():
        example = example.replace(several, one)
    words = shlex.split(example)[1:]
    for name in {words[0], " ".join(words[:2])}:
        words += _CHEAP.get(name, "").split() if name != "attack" or words[1] not in ("certify", "evaluate") else []
    return words


def _tiny(name: str) -> VisionModel:
    """A small network that goes by a published one's name, with ImageNet's classes and a layer as VGG calls it."""
    if "vit" in name:
        return replace(tiny_transformer(classes=1000, size=32), name=name, categories=imagenet.categories())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
        network = nn.Sequential()
        network.add_module("features", features)
        network.add_module("pool", nn.AdaptiveAvgPool2d(1))
        network.add_module("flat", nn.Flatten())
        network.add_module("classifier", nn.Linear(8, 1000))
    return VisionModel(name, network, Preprocessing(resize=32, crop=32), imagenet.categories(), imagenet.wnids())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which the examples run: photographs, small data sets, and what earlier examples made."""
    root = tmp_path_factory.mktemp("world")
    cat = next(path for path in bundled_photographs().paths if path.name == "chelsea.png")
    shutil.copy(cat, root / "cat.jpg")
    for name in ("photos", "holiday-photos", "my-photos", "new-photos", "scenes"):
        paint_folder(root / name, train=6, test=3)
    shutil.copytree(root / "photos" / "test", root / "striped")
    (root / "sketches").mkdir()
    shutil.copy(cat, root / "sketches" / "cat.png")
    digits, coloured = (_few(data.load(Path())) for data in (MnistExtract, MnistMExtract))
    named = [
        (path.relative_to(root / "photos").as_posix(), path.parent.name) for path in (root / "photos").rglob("*.*")
    ]
    (root / "predictions.csv").write_text("file,class\n" + "".join(f"{name},{label}\n" for name, label in named))
    real = models.load_model

    def load_model(name: str, session: Session, **settings: Any) -> VisionModel:
        return real(name, session, **settings) if Path(name).exists() else _tiny(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("DEEPSCOPE_HOME", str(root / "home"))
        patch.setenv("DEEPSCOPE_CACHE", str(root / "cache"))
        for data in (Mnist, MnistM, FifteenScene):
            patch.setattr(data, "needs", ())
        patch.setattr(Mnist, "load", lambda home: digits)
        patch.setattr(MnistM, "load", lambda home: coloured)
        patch.setattr(FifteenScene, "load", lambda home: ClassFolders.read(root / "scenes"))
        for name, module in list(sys.modules.items()):
            users = ("activations", "attack", "classify", "concepts", "explain", "visualize")
            packages = ("deepscope.visualization", *(f"deepscope.commands.{user}" for user in users))
            if name.startswith(packages) and hasattr(module, "load_model"):
                patch.setattr(module, "load_model", load_model)
        for example in _examples():
            if _named(example) in {"transfer fit", "gan evaluator"} or example in {
                command.example
                for command in _commands(Command)
                if (command.area, command.name) in {("gan", "train"), ("adapt", "fit")}
            }:
                assert run([*_quick(example), "--quiet"]) == 0, example
        yield root


def _few(whole: DigitSplit) -> DigitSplit:
    """80 training and 40 test digits, each class equally often."""

    def some(digits: Digits, count: int) -> Digits:
        rows = np.concatenate([np.flatnonzero(digits.labels == label)[: count // 10] for label in range(10)])
        return Digits(digits.images[rows], digits.labels[rows])

    return DigitSplit(some(whole.train, 80), some(whole.test, 40))


# Ray 2.44 ends its processes without waiting for them.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function Popen.__del__:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("example", _examples())
def test_the_example_runs(
    example: str,
    world: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    performed: list[Command] = []
    if _named(example) in _LONG or _named(example).split()[0] in {"study", "report", "serve"}:
        monkeypatch.setattr("deepscope.cli.program._execute", lambda command, *_: performed.append(command))
        assert run(shlex.split(example)[1:]) == 0, capsys.readouterr().err
        for word in (str(getattr(performed[0], field, "")) for field in ("data", "model")):
            assert not word.endswith("/") or Path(word).is_dir()
        return
    words = [*_quick(example), "--quiet"]
    if "--out" in words:  # else examples that name one folder would meet each other's results
        words[words.index("--out") + 1] = str(tmp_path / "out")
    status = run(words)
    assert status == 0, capsys.readouterr().err

"""The smallest training that the commands of `deepscope gan` can be tested with."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deepscope.commands.gan_train import GanTrain
from deepscope.session import Session
from deepscope.settings import overridden

TRAIN = GanTrain("mnist-extract", architecture={"width": 2, "latent": 4}, recipe={"epochs": 2, "batch_size": 20})


def changed(command: GanTrain = TRAIN, **flags: Any) -> GanTrain:
    """The command with other flags, whatever they are flags of."""
    for field, kind in overridden(GanTrain).items():
        names = {one.name for one in fields(kind)} & flags.keys()
        nested = {name: flags.pop(name) for name in names - {"objective"}}
        command = replace(command, **{field: {**getattr(command, field), **nested}})
    return replace(command, **flags)


def session(out: Path | None = None) -> Session:
    return Session(quiet=True, out=out, home=Path("/nowhere"))


def photographs(folder: Path, names: tuple[str, ...], *, count: int = 12, size: tuple[int, int] = (40, 30)) -> Path:
    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder

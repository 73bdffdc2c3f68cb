"""15-Scene: 4485 grey photographs of 15 kinds of places, with the split of 100 training images per class."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

from deepscope.data.dataset import Dataset
from deepscope.data.download import Source
from deepscope.data.folders import ClassFolders

_MEMBER = re.compile(r"(?:.*/)?(?:CAL|MIT|PAR)?([a-z]+)/image_(\d{4})\.jpg")


def place(member: str) -> str | None:
    """Where a file of the published archive belongs: `MITcoast/image_0007.jpg` -> `train/coast/image_0007.jpg`."""
    match = _MEMBER.fullmatch(member)
    if match is None or match[1] not in _training_numbers():
        return None
    part = "train" if int(match[2]) in _training_numbers()[match[1]] else "test"
    return f"{part}/{match[1]}/image_{match[2]}.jpg"


@dataclass(frozen=True)
class FifteenScene(Dataset):
    """Lazebnik et al., "Beyond Bags of Features", CVPR 2006; official split, 1500 training and 2985 test images."""

    name: ClassVar[str] = "15scene"
    summary: ClassVar[str] = "photographs of 15 kinds of places, grey, in class folders"
    holds: ClassVar[str] = "1500 train, 2985 test"
    licence: ClassVar[str] = "published for research; no licence stated"
    needs: ClassVar[tuple[str, ...]] = ("15scene/train", "15scene/test")
    sources: ClassVar[tuple[Source, ...]] = (
        Source(
            urls=("http://www-cvr.ai.uiuc.edu/ponce_grp/data/scene_categories/scene_categories.zip",),
            to="15scene",
            most=200 * 2**20,
            place=place,
            files=4485,
        ),
    )

    @classmethod
    def load(cls, home: Path) -> ClassFolders:
        """Class folders with the official split."""
        return ClassFolders.read(home / "data" / "15scene")


@cache
def _training_numbers() -> dict[str, frozenset[int]]:
    """The split: for each class, the numbers of the images to train on."""
    text = (files("deepscope.data") / "fifteen_scene_train.json").read_text()
    return {name: frozenset(numbers) for name, numbers in json.loads(text).items()}

"""A folder of small photographs in class folders, and a model that any process can load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pyarrow", reason="jobs in parts need the extra parquet")

MODEL = """
import sys
sys.path.insert(0, {folder!r})
from networks import tiny_model

def build():
    return tiny_model()
"""


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "tiny.py"
    path.write_text(MODEL.format(folder=str(Path(__file__).parents[1])))
    return f"{path}:build"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return painted(tmp_path / "photos", 8)


def painted(folder: Path, each: int) -> Path:
    """Random images in two class folders."""
    rng = np.random.default_rng(0)
    for name in ("hay", "snail"):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            levels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(levels).save(folder / name / f"{number:02d}.png")
    return folder

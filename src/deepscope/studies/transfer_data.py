"""Data of the study of transfer learning: digits as image files where scenes are missing, and an untrained network."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from deepscope.data import Digits, DigitSplit, load_dataset
from deepscope.kept import workspace, write_new
from deepscope.models import VisionModel
from deepscope.session import Session


def digit_folders(count: int, session: Session) -> Path:
    """The first `count` training and `count` test digits of each class of the extract, as a folder of class folders."""
    root = workspace(session) / "transfer-learning" / f"{count}-digits"
    extract = load_dataset("mnist-extract", session, DigitSplit)
    parts: dict[str, Digits] = {"train": extract.train, "test": extract.test}
    for part, digits in parts.items():
        for label in range(10):
            for place in np.flatnonzero(digits.labels == label)[:count]:
                memory = io.BytesIO()
                Image.fromarray(digits.images[place]).save(memory, "PNG")
                write_new(root / part / str(label) / f"{place:05}.png", memory.getvalue())
    return root


def untrained(model: VisionModel, session: Session) -> Path:
    """A weights file of the same architecture before any training (He et al. 2015), drawn from the session's seed."""
    path = workspace(session) / "transfer-learning" / f"untrained_{model.name}-{session.seed}.safetensors"
    rng = session.rng("untrained")
    weights = {key: _initial(key, value, rng) for key, value in model.network.state_dict().items()}
    about = {
        "architecture": model.architecture,
        "preprocessing": model.preprocessing.to_json(),
        "categories": json.dumps(list(model.categories)),
        "source": f"initial weights, seed {session.seed}",
    }
    write_new(path, save(weights, metadata=about))
    return path


def _initial(key: str, value: Tensor, rng: torch.Generator) -> Tensor:
    if value.ndim > 1:
        return torch.randn(value.shape, generator=rng) * (2 / value[0].numel()) ** 0.5
    ones = key.endswith(("running_var", "weight"))
    return (torch.ones if ones else torch.zeros)(value.shape, dtype=value.dtype)

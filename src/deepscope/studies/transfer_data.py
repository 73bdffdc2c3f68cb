"""What transfer learning is studied on and how it is measured: digits as files, an untrained network, bare pixels."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from deepscope import images
from deepscope.data import ClassFolders, Digits, DigitSplit, load_dataset
from deepscope.kept import workspace, write_new
from deepscope.models import VisionModel
from deepscope.session import Session
from deepscope.statistics import Estimate, mcnemar, proportion
from deepscope.transfer.fitting import fit_features
from deepscope.transfer.heads.linear_svc import LinearSVC
from deepscope.transfer.measuring import Row


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


@dataclass(frozen=True, eq=False)
class Measured:
    """One row of a table: its accuracy, and whether each test image was classified correctly."""

    accuracy: Estimate
    correct: NDArray[np.bool_]

    @classmethod
    def of(cls, row: Row) -> Measured:
        """A row of a comparison on one split."""
        (correct,) = row.correct
        return cls(proportion(int(correct.sum()), correct.size), correct)

    def p_against(self, other: Measured) -> float:
        """McNemar's p on the same test images; NaN where they are others."""
        return mcnemar(self.correct, other.correct) if self.correct.shape == other.correct.shape else float("nan")


def of_pixels(folder: Path, session: Session) -> Measured:
    """A linear SVM on the bare pixels."""
    data = load_dataset(folder, session, ClassFolders)
    assert data.test is not None
    train, test = (
        torch.from_numpy(np.stack([np.asarray(images.decode(path).convert("L")) for path in part.paths])).float()
        for part in (data.train, data.test)
    )
    labels = torch.from_numpy(data.train.labels)
    fitted = fit_features([train.flatten(1)], labels, LinearSVC(), "l2", seed=session.seed)
    right = (fitted.scores([test.flatten(1)]).argmax(1) == torch.from_numpy(data.test.labels)).numpy()
    return Measured(proportion(int(right.sum()), len(right)), right)

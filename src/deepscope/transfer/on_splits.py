"""Data about recipes that were measured on the same splits of labelled images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepscope.images import Skipped
from deepscope.inputs.examples import Examples
from deepscope.models import VisionModel
from deepscope.render import Presented
from deepscope.transfer.measuring import Row
from deepscope.transfer.splits import Split


@dataclass(frozen=True, eq=False)
class OnSplits(Presented):
    """Base of data about recipes and heads, measured on the same splits.

    Attributes:
        data: the images.
        models: that took part, by name.
        rows: what each recipe and head gave.
        best: the row that cross-validation on the training images prefers.
        splits: rows of the readable images.
        digests: SHA-256 of each of the data's images.
        skipped: what could not be read.
    """

    data: Examples
    models: Mapping[str, VisionModel]
    rows: tuple[Row, ...]
    best: int
    splits: tuple[Split, ...]
    digests: tuple[bytes, ...]
    skipped: tuple[Skipped, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def accuracies(self) -> Mapping[str, Sequence[Any]]:
        """Columns of what was chosen for each row, and of its accuracy."""
        return {
            "dimension": [row.dimension for row in self.rows],
            "setting": [row.setting for row in self.rows],
            "validation": [row.validation for row in self.rows],
            "accuracy": [row.accuracy.value for row in self.rows],
            "low": [row.accuracy.low for row in self.rows],
            "high": [row.accuracy.high for row in self.rows],
        }

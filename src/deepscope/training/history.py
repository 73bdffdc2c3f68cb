"""What was measured along a training: JSON lines for tools, TensorBoard for eyes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepscope.errors import InputError
from deepscope.files import atomic


@dataclass
class History:
    """Figures by step: each row is {"step": number of steps done, name: figure, ...}.

    A figure that is no number (NaN, infinite) is None in the file.
    """

    rows: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path, *, until: int | None = None) -> History:
        """The rows of a JSON-lines file, up to step `until`; a line that was cut off in the writing is left out."""
        rows: list[dict[str, float]] = []
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):
                    row = {name: math.nan if value is None else value for name, value in json.loads(line).items()}
                    if until is None or row["step"] <= until:
                        rows.append(row)
        return cls(rows)

    def column(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The steps at which `name` was measured, and the figures."""
        found = [(row["step"], row[name]) for row in self.rows if name in row]
        steps, values = np.array(found, dtype=float).reshape(-1, 2).T
        return steps, values


class Recorder:
    """Keeps a `History` and writes it to a folder as it grows.

    Raises:
        InputError: TensorBoard is wanted and not installed.
    """

    def __init__(self, folder: Path | None, *, since: int, tensorboard: bool) -> None:
        self.history = History()
        self._path = folder / "history.jsonl" if folder else None
        self._board: Any = None
        if self._path:
            self.history = History.read(self._path, until=since)
            with atomic(self._path) as path:  # what was measured after the checkpoint is measured again
                path.write_text("".join(_line(row) for row in self.history.rows), encoding="utf-8")
        if tensorboard:
            if find_spec("tensorboard") is None:
                raise InputError("TensorBoard is not installed: pip install tensorboard")
            if folder is None:
                raise InputError("TensorBoard's events need a folder: name one with --out")
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder), purge_step=since or None)

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Raises OSError where the disk is full; the figures are kept in memory all the same."""
        row = {"step": step, **figures}
        self.history.rows.append(row)
        for name, value in figures.items() if self._board else ():
            self._board.add_scalar(name, value, step)
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_line(row))

    def close(self) -> None:
        """Let TensorBoard write what it holds."""
        if self._board:
            self._board.close()


def _line(row: Mapping[str, float]) -> str:
    plain = {name: value if math.isfinite(value) else None for name, value in row.items()}
    return json.dumps(plain, allow_nan=False) + "\n"

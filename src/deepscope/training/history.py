"""Figures recorded during a training, as JSON lines and for TensorBoard."""

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

from deepscope.errors import MissingExtraError, SettingError
from deepscope.files import atomic

HISTORY = "history.jsonl"
"""The name of the file in a training's folder."""


@dataclass
class History:
    """Figures by step: each row is {"step": number of steps done, name: figure, ...}.

    A figure that is NaN or infinite is None in the file.
    """

    rows: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path, *, until: int | None = None) -> History:
        """The rows of a JSON-lines file, up to step `until`; see `parse`."""
        found = cls.parse(path.read_text(encoding="utf-8", errors="replace") if path.is_file() else "")
        return cls([row for row in found.rows if until is None or row["step"] <= until])

    @classmethod
    def parse(cls, text: str) -> History:
        """The rows of JSON lines. A line that is damaged or was cut off while it was written is left out.

        So is one whose step does not come after the line before it.
        """
        rows: list[dict[str, float]] = []
        for line in text.splitlines():
            with suppress(ValueError, TypeError, AttributeError, KeyError, RecursionError):
                row = {str(name): _number(value) for name, value in json.loads(line).items()}
                if type(row["step"]) is int and row["step"] > (rows[-1]["step"] if rows else -1):
                    rows.append(row)
        return cls(rows)

    def text(self) -> str:
        """The rows as JSON lines."""
        return "".join(map(_line, self.rows))

    def column(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The steps at which `name` was measured, and the figures."""
        found = [(row["step"], row[name]) for row in self.rows if name in row]
        steps, values = np.array(found, dtype=float).reshape(-1, 2).T
        return steps, values


class Recorder:
    """Writes a `History` to a folder as it grows.

    The file is written anew from the history, which may be that of a checkpoint: what an earlier training, or this one
    after its checkpoint, left in it is gone.

    Raises:
        MissingExtraError: TensorBoard is not installed.
        SettingError: it has no folder to write to.
    """

    def __init__(self, folder: Path | None, history: History, *, since: int, tensorboard: bool) -> None:
        self.history = history
        self._path = folder / HISTORY if folder else None
        self._board: Any = None
        self._rewrite()
        if tensorboard:
            if find_spec("tensorboard") is None:
                raise MissingExtraError("tensorboard", "recording for TensorBoard")
            if folder is None:
                raise SettingError("tensorboard", "needs a folder to write events to")
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder), purge_step=since)

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Raises OSError where the disk is full; the figures are still kept in memory."""
        row = {"step": step, **figures}
        self.history.rows.append(row)
        for name, value in figures.items() if self._board else ():
            self._board.add_scalar(name, value, step)
        if self._path and not self._whole:
            self._rewrite()
        elif self._path:
            self._whole = False
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_line(row))
            self._whole = True

    def _rewrite(self) -> None:
        if self._path:
            with atomic(self._path) as path:
                path.write_text(self.history.text(), encoding="utf-8")
        self._whole = True

    def close(self) -> None:
        """Let TensorBoard write what it holds."""
        if self._board:
            self._board.close()


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)) or (isinstance(value, int) and value >= 2**63):
        raise TypeError(f"{value!r} is not a number")
    return value


def _line(row: Mapping[str, float]) -> str:
    plain = {name: value if math.isfinite(value) else None for name, value in row.items()}
    return json.dumps(plain, allow_nan=False) + "\n"

"""A command that stands for any other, and what runs it as the command line does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepscope.cli.program import _execute
from deepscope.cli.signature import Common
from deepscope.results import Heatmap, Result
from deepscope.session import Session


@dataclass(frozen=True)
class Shown:
    """Stands for any command: what it found, and what it does first."""

    fails: bool = False

    @classmethod
    def command_path(cls) -> str:
        return "classify"

    makes = ()

    def settings(self) -> dict[str, object]:
        return {}

    def run(self, session: Session) -> Result:
        return Result("what it found", metrics={"accuracy": 0.75}, blocks=(Heatmap(np.eye(2), title="figure"),))


def execute(command: Shown = Shown(), *, out: Path | None, as_json: bool = True) -> None:
    _execute(command, Common(out=out, json=as_json, device="cpu", quiet=True), "deepscope")  # pyright: ignore[reportArgumentType]

"""A training's whole state in one file, replaced only by a whole newer one."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from deepscope.errors import InputError
from deepscope.files import atomic

Parts: TypeAlias = "Mapping[str, nn.Module | Optimizer]"


@dataclass(frozen=True)
class Checkpoint:
    """The state after some step: networks and optimisers. Random numbers and data follow from the step's number.

    Attributes:
        path: the file.
        settings: what the training is, ready for JSON; a file of another training is refused.
    """

    path: Path
    settings: Mapping[str, Any]

    def save(self, step: int, parts: Parts) -> None:
        """Raises OSError (a full disk, say), and then leaves the older file as it was."""
        state = {name: part.state_dict() for name, part in parts.items()}
        memory = io.BytesIO()  # torch.save hides a full disk behind errors of its own
        torch.save({"step": step, "settings": json.dumps(self.settings, sort_keys=True), "parts": state}, memory)
        with atomic(self.path) as path:
            path.write_bytes(memory.getbuffer())

    def load(self, parts: Parts) -> int:
        """Bring the parts to the saved state and return its step; 0 where nothing was saved yet.

        Raises:
            InputError: the file is damaged, or of another training.
        """
        if not self.path.exists():
            return 0
        try:
            held = torch.load(self.path, map_location="cpu", weights_only=True)
            step, settings, state = int(held["step"]), json.loads(held["settings"]), dict(held["parts"])
        except Exception as error:  # a damaged file fails in any way
            reason = str(error).partition("\n")[0]
            raise InputError(f"{self.path} cannot be read ({reason}): remove it to train anew") from None
        ours = json.loads(json.dumps(self.settings))
        if settings != ours or state.keys() != parts.keys():
            differs = [key for key in {**ours, **settings} if ours.get(key) != settings.get(key)]
            what = ", ".join(f"{key} {settings.get(key)!r}, now {ours.get(key)!r}" for key in differs) or "other parts"
            raise InputError(f"{self.path} is of another training ({what}): name another folder, or remove it")
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return step


def finite(parts: Parts) -> bool:
    """Whether no network holds a NaN or an infinity."""
    tensors: list[Tensor] = [
        tensor
        for part in parts.values()
        if isinstance(part, nn.Module)
        for tensor in part.state_dict().values()
        if tensor.is_floating_point()
    ]
    return all(bool(tensor.isfinite().all()) for tensor in tensors)

"""The whole state of a training in one file: replaced as a whole, and checked before any of it is used."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from deepscope.errors import FileError
from deepscope.files import atomic, sweep
from deepscope.training.history import HISTORY, History

Parts: TypeAlias = "Mapping[str, nn.Module | Optimizer]"

CHECKPOINT = "checkpoint.pt"
"""The name of the file in a training's folder."""
_OLDER = {"step", "settings", "parts"}
"""What version 0.1 wrote, without a digest."""
_MULTIPLE, _SLACK = 8, 64 * 2**20
"""A file has at most this many times the bytes of the networks, for optimisers, and these bytes for the rest."""


@dataclass(frozen=True)
class Checkpoint:
    """The state after some step: networks, optimisers, and the figures recorded so far.

    Random numbers and data follow from the step's number.

    Attributes:
        path: the file.
        settings: description of the training, ready for JSON; a file of another training is refused.
    """

    path: Path
    settings: Mapping[str, Any]

    def save(self, step: int, parts: Parts, history: History | None = None) -> None:
        """Raises OSError (a full disk, say), and then leaves the older file as it was."""
        held: dict[str, Any] = {
            "step": step,
            "settings": json.dumps(self.settings, sort_keys=True),
            "history": (history or History()).text(),
            "parts": {name: part.state_dict() for name, part in parts.items()},
        }
        memory = io.BytesIO()  # torch.save hides a full disk behind errors of its own
        torch.save({**held, "sha256": _digest(held)}, memory)
        with atomic(self.path) as path:
            path.write_bytes(memory.getbuffer())

    def recorded(self, parts: Parts) -> Mapping[str, Any]:
        """The settings of the training that the file is of; empty where there is none, or `load` refuses it."""
        try:
            found = json.loads(self._read(limit=_SLACK + _MULTIPLE * _bytes(parts))["settings"])
        except Exception:  # a damaged file fails in any way
            return {}
        return found if isinstance(found, dict) else {}

    def load(self, parts: Parts, history: History | None = None) -> int:
        """Bring the parts and the history to the saved state and return its step; 0 where nothing was saved yet.

        Raises:
            FileError: the file is damaged, or of another training. The parts are then as they were.
        """
        if not self.path.exists():
            return 0
        advice = "remove it to train from the start"
        try:
            held = self._read(limit=_SLACK + _MULTIPLE * _bytes(parts))
            step, settings, state = held["step"], json.loads(held["settings"]), held["parts"]
            if not isinstance(settings, dict) or not isinstance(state, dict):
                raise ValueError("it holds no training")
        except Exception as error:  # a damaged file fails in any way
            raise FileError(f"{self.path} cannot be read ({_reason(error)}): {advice}", path=self.path) from None
        ours = json.loads(json.dumps(self.settings))
        if settings != ours or state.keys() != parts.keys():
            differs = [key for key in {**ours, **settings} if ours.get(key) != settings.get(key)]
            what = ", ".join(f"{key} {settings.get(key)!r}, now {ours.get(key)!r}" for key in differs) or "other parts"
            raise FileError(
                f"{self.path} is of another training ({what}): name another folder, or remove it", path=self.path
            )
        try:
            if type(step) is not int or not 0 <= step <= ours.get("steps", step):
                raise ValueError(f"step {step!r}")
            for name, part in parts.items():
                _require_fitting(part, state[name], name)
            if held.keys() - _OLDER and _digest({k: v for k, v in held.items() if k != "sha256"}) != held["sha256"]:
                raise ValueError("its content is not what was saved")
            rows = History.parse(held["history"]).rows if "history" in held else self._older_rows(step)
            _load(parts, state)
        except Exception as error:
            raise FileError(f"{self.path} is damaged ({_reason(error)}): {advice}", path=self.path) from None
        if history is not None:
            history.rows[:] = rows
        return step

    def _read(self, *, limit: int) -> dict[str, Any]:
        """The file's content; what it unpacks to is no larger than the file."""
        if not self.path.is_file():
            raise ValueError("it is not a file")
        size = self.path.stat().st_size
        with zipfile.ZipFile(self.path) as archive:
            items = archive.infolist()
        if size > limit or sum(item.file_size for item in items) > size:
            raise ValueError("it is larger than the state of this training")
        held = torch.load(self.path, map_location="cpu", weights_only=True)
        if not isinstance(held, dict):
            raise ValueError("it holds no training")
        return held

    def _older_rows(self, step: int) -> list[dict[str, float]]:
        """Version 0.1 kept the history only in its own file."""
        rows = History.read(self.path.with_name(HISTORY), until=step).rows
        if step and not rows:
            raise ValueError("history.jsonl, which belongs to it, is missing or damaged")
        return rows


def remove_training(folder: Path) -> None:
    """Remove the checkpoint and history of a training, and their folder where nothing else is in it.

    Raises OSError where a file cannot be removed.
    """
    for name in (CHECKPOINT, HISTORY):
        (folder / name).unlink(missing_ok=True)
        sweep(folder / name)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _bytes(parts: Parts) -> int:
    tensors = (t for part in parts.values() if isinstance(part, nn.Module) for t in part.state_dict().values())
    return sum(tensor.nbytes for tensor in tensors if isinstance(tensor, Tensor))


def _require_fitting(part: nn.Module | Optimizer, state: Any, name: str) -> None:
    """Raises ValueError, or what else odd content leads to, where loading would fail or load something else."""
    if isinstance(part, nn.Module):
        found = {key: _shape(value) for key, value in state.items()}
        expected = {key: _shape(value) for key, value in part.state_dict().items()}
        if differs := sorted(str(key) for key in {**found, **expected} if found.get(key) != expected.get(key)):
            raise ValueError(f"{differs[0]} of {name} does not fit")
        return
    groups, expected_groups = state["param_groups"], part.state_dict()["param_groups"]
    if [group["params"] for group in groups] != [group["params"] for group in expected_groups]:
        raise ValueError(f"{name} is of other parameters")
    parameters = [parameter for group in part.param_groups for parameter in group["params"]]
    numbers = [number for group in groups for number in group["params"]]
    shapes = {number: parameter.shape for number, parameter in zip(numbers, parameters, strict=True)}
    for number, values in state["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor) and value.ndim and value.shape != shapes[number]:
                raise ValueError(f"{key} of {name} does not fit")


def _shape(value: Any) -> object:
    return (value.shape, value.dtype) if isinstance(value, Tensor) else type(value)


def _load(parts: Parts, state: Mapping[str, Any]) -> None:
    """All of the parts, or none of them."""
    before = {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}
    try:
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except BaseException:
        for name, part in parts.items():
            part.load_state_dict(before[name])
        raise


def _digest(value: Any) -> str:
    """SHA-256 over nested mappings, sequences, tensors and plain values."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)} ".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(value, Mapping):
            digest.update(f"{len(value)} of ".encode())
            for key, item in value.items():
                digest.update(f"{key!r}: ".encode())
                add(item)
        elif isinstance(value, (list, tuple)):
            digest.update(f"{len(value)} in ".encode())
            for item in value:
                add(item)
        else:
            digest.update(f"{type(value).__name__} {value!r} ".encode())

    add(value)
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


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

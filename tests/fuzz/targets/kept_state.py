"""State between two runs: results and their arrays, checkpoints, histories."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from deepscope import render
from deepscope.results import (
    Animation,
    Bars,
    Column,
    Curves,
    Heatmap,
    ImageGrid,
    Note,
    Picture,
    Provenance,
    Result,
    Series,
    Table,
)
from deepscope.session import Session
from deepscope.training import Checkpoint, History, Log, Moment, fit
from fuzz.mutations import damaged, lied
from fuzz.target import Mutation, Target, damage, lie, same
from toy_training import Data, Toy


def _result() -> Result:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    line = Series("a line", np.arange(4.0), np.arange(4.0) ** 2, np.arange(4.0), None)
    return Result(
        "A result",
        config={"radius": 0.5, "methods": ["a", {"name": "b"}], "none": None},
        metrics={"accuracy": 0.5, "accuracy/low": float("nan"), "loss": float("inf")},
        blocks=(
            Table((Column("n", ".3f"), Column("text")), ((2.5, "b"), (None, "NaN")), title="T", mark=1),
            ImageGrid(((Picture(pixels, "one", ((1.0, 2.0),), ((0.0, 0.0, 2.0, 2.0),)), Bars(("a",), (0.5,))),)),
            Heatmap(rng.normal(size=(3, 4)), over=pixels, rows=("a", "b", "c"), columns=("d", "e", "f", "g")),
            Curves((line,), "x", "y", references=(("theirs", 0.5),)),
            Animation(rng.integers(0, 256, (2, 4, 4, 3), dtype=np.uint8), captions=("a", "b")),
            Note("Words.", "Note", "verdict"),
        ),
        arrays={"maps": rng.normal(size=(2, 3)).astype(np.float32)},
        provenance=Provenance("deepscope x", {"torch": "2"}, {"m": "0" * 64}, "data", 3, "cpu", "float32", "now", 1.0),
    )


def _build_result(folder: Path) -> None:
    render.save(_result(), folder / "out")


def _read_result(folder: Path) -> Result:
    return render.load(folder / "out")


def _sane_result(result: Result) -> str:
    """Whatever a result says, it can be written as JSON again."""
    return "" if json.loads(render.dumps(result))["type"] == "Result" else "no result"


def _member_lies(rng: Random, folder: Path) -> None:
    """An array in a .npz file is damaged, under a right checksum: its header says another type, order or shape."""
    path = rng.choice(sorted(folder.rglob("*.npz")))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    head = members[name][:128]
    change = rng.randrange(6)
    if change == 0:
        members[rng.choice(("x.npy", "../x.npy", "x", "a\x1b.npy"))] = members.pop(name)
    elif change == 1:
        members[name] = head.replace(b"(", b"(%d, " % rng.choice((0, 2**31, 2**40)), 1) + members[name][128:]
    elif change == 2:
        kinds = b"'|O'", b"'<U9'", b"'<c16'", b"'<M8[s]'", b"'<f2'", b"'|V8'", b"'<i8'"
        start = head.find(b"'descr': ") + 9
        kind = rng.choice(kinds)
        members[name] = head[:start] + kind + b", " + head[head.find(b"'fort") :] + members[name][128:]
    else:
        members[name] = damaged(rng, members[name])
    with zipfile.ZipFile(path, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _parts() -> dict[str, nn.Module | Optimizer]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))
        adam = torch.optim.AdamW(network.parameters(), 1e-3)
        network(torch.ones(3, 4)).sum().backward()
        adam.step()
    return {"network": network, "adam": adam}


def _checkpoint(folder: Path) -> Checkpoint:
    return Checkpoint(folder / "checkpoint.pt", {"steps": 10, "seed": 0, "rates": [0.1, 0.2]})


def _read_checkpoint(folder: Path) -> dict[str, Any]:
    """Where the training goes on, and that it can."""
    parts = _parts()
    for value in parts["network"].state_dict().values():
        value.zero_()
    step = _checkpoint(folder).load(parts)
    read = {name: _copied(part.state_dict()) for name, part in parts.items()}
    network, adam = parts["network"], parts["adam"]
    assert isinstance(network, nn.Module)
    assert isinstance(adam, Optimizer)
    network(torch.ones(3, 4)).sum().backward()
    adam.step()
    return {"step": step, **read}


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {str(key): _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, (list, tuple)) else value


def _sane_checkpoint(answer: dict[str, Any]) -> str:
    if not 0 <= answer["step"] <= 10:
        return f"goes on at a step that is none: {answer['step']} of 10"
    network = answer["network"].values()
    return "" if all(value.isfinite().all() for value in network) else "weights that are no numbers"


def _checkpoint_lies(rng: Random, folder: Path) -> None:
    """What the file holds says something else; tensors are taken for what they are."""
    path = folder / "checkpoint.pt"
    held = torch.load(path, weights_only=True)
    tensors: dict[str, torch.Tensor] = {}

    def outline(value: Any, name: str) -> Any:
        if isinstance(value, torch.Tensor):
            tensors[name] = value
            return name
        if isinstance(value, Mapping):
            return {str(key): outline(item, f"{name}/{key}") for key, item in value.items()}
        return [outline(item, f"{name}/") for item in value] if isinstance(value, (list, tuple)) else value

    def filled(value: Any, numbers: bool) -> Any:
        if isinstance(value, str) and value in tensors:
            return torch.zeros(rng.choice(((3, 3), (0,), ()))) if rng.random() < 0.03 else tensors[value]
        if isinstance(value, dict):
            return {int(k) if numbers and k.isdigit() else k: filled(v, k == "state") for k, v in value.items()}
        return [filled(item, False) for item in value] if isinstance(value, list) else value

    memory = io.BytesIO()
    torch.save(filled(lied(rng, outline(held, "tensor")), False), memory)
    path.write_bytes(memory.getvalue())


class _Interrupted(Exception):
    """Ends a training in the middle."""


def _train(folder: Path, *, until: int) -> tuple[Toy, History]:
    """Train to the end, or to a step that is interrupted; a checkpoint after every third one."""
    session = Session(seed=3, quiet=True)
    toy, data = Toy(session), Data(session)

    def batch(moment: Moment) -> Any:
        if moment.step == until:
            raise _Interrupted
        return data(moment)

    return toy, fit(toy, batch, steps=10, session=session, log=Log(folder=folder, every=3, record=1))


def _build_training(folder: Path) -> None:
    with suppress(_Interrupted):
        _train(folder, until=8)


def _read_training(folder: Path) -> dict[str, Any]:
    """Go on to the end. What is left out of the history's figures is said nowhere else."""
    toy, history = _train(folder, until=-1)
    for name in ("loss/one", "loss/two"):
        history.column(name)
    written = History.read(folder / "history.jsonl").rows
    return {"weights": [*toy.one.state_dict().values(), *toy.two.state_dict().values()], "rows": written}


def _sane_training(answer: dict[str, Any]) -> str:
    steps = [row["step"] for row in answer["rows"]]
    if not all(type(step) is int for step in steps) or steps != sorted(set(steps)):
        return f"steps that do not rise: {str(steps)[:100]!r}"
    if not all(isinstance(value, (int, float)) for row in answer["rows"] for value in row.values()):
        return "figures that are no numbers"
    return ""


def _same_training(answer: dict[str, Any], right: dict[str, Any]) -> bool:
    """The same weights; a damaged line of the history is left out, but none says something else."""
    rest = iter(right["rows"])
    return same(answer["weights"], right["weights"]) and all(
        any(same(row, other) for other in rest) for row in answer["rows"]
    )


def _line_lies(rng: Random, folder: Path) -> None:
    """A row says something else, stands twice, or is cut off."""
    path = folder / "history.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    number = rng.randrange(len(lines))
    change = rng.randrange(4)
    if change == 0:
        lines.insert(rng.randrange(len(lines)), lines[number])
    elif change == 1:
        lines[number] = lines[number][: rng.randrange(len(lines[number]))]
    else:
        lines[number] = json.dumps(lied(rng, json.loads(lines[number])))
    path.write_text("\n".join(lines) + rng.choice(("\n", "")), encoding="utf-8")


TARGETS = [
    Target(
        "result",
        _build_result,
        _read_result,
        (
            damage("result.json"),
            damage("arrays.npz"),
            lie("result.json"),
            Mutation("lies in arrays.npz", _member_lies, same=False),
        ),
        _sane_result,
        inputs=600,
    ),
    Target(
        "checkpoint",
        lambda folder: _checkpoint(folder).save(7, _parts()),
        _read_checkpoint,
        (damage("checkpoint.pt"), Mutation("lies in checkpoint.pt", _checkpoint_lies, same=False)),
        _sane_checkpoint,
        inputs=300,
    ),
    Target(
        "training",
        _build_training,
        _read_training,
        (
            damage("history.jsonl"),
            damage("checkpoint.pt"),
            Mutation("lies in history.jsonl", _line_lies, same=False),
            Mutation("lies in checkpoint.pt", _checkpoint_lies, same=False),
        ),
        _sane_training,
        agrees=_same_training,
        inputs=200,
    ),
]

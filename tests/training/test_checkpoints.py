"""A checkpoint is the state of one training, whole and unchanged, or it is refused and changes nothing."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from deepscope.errors import DeepscopeError
from deepscope.training import Checkpoint, History
from deepscope.training.checkpoints import Parts
from kills import every_kill
from toy_training import train

SETTINGS = {"steps": 9, "data": "digits"}
ROWS = [{"step": 1, "loss": 0.5}, {"step": 3, "loss": 0.1}]


def parts(seed: int = 0) -> Parts:
    """A network with running statistics, Adam with a state, and SGD without momentum, which has none."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))
    adam, sgd = torch.optim.AdamW(network.parameters()), torch.optim.SGD(network[0].parameters(), lr=0.1)
    network(torch.rand(5, 4)).square().sum().backward()
    adam.step()
    sgd.step()
    return {"network": network, "adam": adam, "sgd": sgd}


def state(found: Parts) -> list[Tensor]:
    networks = [part for part in found.values() if isinstance(part, nn.Module)]
    adam = found["adam"].state_dict()["state"]
    return [t.clone() for n in networks for t in n.state_dict().values()] + [
        value.clone() for number in sorted(adam) for _, value in sorted(adam[number].items())
    ]


def equal(one: list[Tensor], two: list[Tensor]) -> bool:
    return len(one) == len(two) and all(map(torch.equal, one, two))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "checkpoint.pt"
    Checkpoint(path, SETTINGS).save(3, parts(), History([dict(row) for row in ROWS]))
    return path


def refused(path: Path, words: str = "remove it") -> None:
    """The file is refused in one line, and nothing was loaded."""
    found, history = parts(seed=1), History()
    before = state(found)
    with pytest.raises(DeepscopeError, match=words) as caught:
        Checkpoint(path, SETTINGS).load(found, history)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert equal(state(found), before) and history.rows == []


def test_a_checkpoint_brings_back_parts_history_and_step(good: Path) -> None:
    found, history = parts(seed=1), History([{"step": 8, "loss": 9.0}])
    assert not equal(state(found), state(parts()))
    assert Checkpoint(good, SETTINGS).load(found, history) == 3
    assert equal(state(found), state(parts())) and history.rows == ROWS
    assert torch.load(good, weights_only=True)["step"] == 3
    assert Checkpoint(good.with_name("none.pt"), SETTINGS).load(found) == 0


@given(st.data())
@settings(max_examples=150)
def test_a_flipped_bit_is_refused_or_changes_nothing(good: Path, data: st.DataObject) -> None:
    content = bytearray(good.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path, found, history = good.with_name("flipped.pt"), parts(seed=1), History()
    path.write_bytes(content)
    before = state(found)
    try:
        step = Checkpoint(path, SETTINGS).load(found, history)
    except DeepscopeError as error:
        assert "remove it" in str(error)
        assert equal(state(found), before) and history.rows == []
    else:
        assert step == 3 and history.rows == ROWS and equal(state(found), state(parts()))


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a weight of another shape": lambda held: held["parts"]["network"].update({"0.weight": torch.zeros(3, 3)}),
    "a weight of another type": lambda held: held["parts"]["network"].update({"0.bias": torch.zeros(6).double()}),
    "a weight of many bytes": lambda h: h["parts"]["network"].update({"0.bias": torch.zeros(1).expand(10**12)}),
    "a weight is missing": lambda held: held["parts"]["network"].pop("1.running_mean"),
    "a weight too many": lambda held: held["parts"]["network"].update(more=torch.zeros(1)),
    "a weight is a number": lambda held: held["parts"]["network"].update({"0.bias": 1.0}),
    "other numbers": lambda held: held["parts"]["network"]["0.bias"].add_(1),
    "no network": lambda held: held["parts"].update(network=[]),
    "no optimiser": lambda held: held["parts"].update(adam={}),
    "an optimiser that is a number": lambda held: held["parts"].update(adam=5),
    "an optimiser of no parameters": lambda held: held["parts"]["adam"]["param_groups"][0].update(params=[]),
    "moments of another shape": lambda held: held["parts"]["adam"]["state"][0].update(exp_avg=torch.zeros(7)),
    "moments of other parameters": lambda held: held["parts"]["adam"]["state"].update({9: {"exp_avg": torch.ones(1)}}),
    "other moments": lambda held: held["parts"]["adam"]["state"][0]["exp_avg"].add_(1),
    "another rate": lambda held: held["parts"]["adam"]["param_groups"][0].update(lr=1.0),
    "a negative step": lambda held: held.update(step=-5),
    "a step after the last": lambda held: held.update(step=10),
    "a step between": lambda held: held.update(step=4),
    "a step that is no number": lambda held: held.update(step="3"),
    "settings that are a list": lambda held: held.update(settings="[]"),
    "settings that are no JSON": lambda held: held.update(settings="{"),
    "another history": lambda held: held.update(history=held["history"].replace("0.5", "0.4")),
    "no history": lambda held: held.pop("history"),
    "no digest": lambda held: held.pop("sha256"),
    "parts that are a list": lambda held: held.update(parts=[]),
    "nothing": lambda held: held.clear(),
}


FITS = (
    "other numbers",
    "other moments",
    "another rate",
    "a step between",
    "another history",
    "no history",
    "no digest",
)
"""Changes that only the digest shows."""


@pytest.mark.parametrize("name", CHANGES)
def test_another_content_is_refused(good: Path, tmp_path: Path, name: str) -> None:
    held = torch.load(io.BytesIO(good.read_bytes()), weights_only=True)
    CHANGES[name](held)
    torch.save(held, tmp_path / "checkpoint.pt")
    refused(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("name", [name for name in CHANGES if name not in FITS])
def test_what_does_not_fit_is_refused_without_a_digest_too(good: Path, tmp_path: Path, name: str) -> None:
    held = torch.load(io.BytesIO(good.read_bytes()), weights_only=True)
    (tmp_path / "history.jsonl").write_text(held["history"])
    del held["sha256"], held["history"]
    CHANGES[name](held)
    torch.save(held, tmp_path / "checkpoint.pt")
    refused(tmp_path / "checkpoint.pt")


def test_a_checkpoint_of_version_0_1_is_continued(good: Path, tmp_path: Path) -> None:
    held = torch.load(good, weights_only=True)
    torch.save({key: held[key] for key in ("step", "settings", "parts")}, tmp_path / "checkpoint.pt")
    refused(tmp_path / "checkpoint.pt", r"history\.jsonl, which belongs to it, is missing")
    later = json.dumps({"step": 5, "loss": 0.0})
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS) + later)
    found, history = parts(seed=1), History()
    assert Checkpoint(tmp_path / "checkpoint.pt", SETTINGS).load(found, history) == 3
    assert equal(state(found), state(parts())) and history.rows == ROWS


def test_what_is_no_checkpoint_is_refused_before_it_is_read(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.mkdir()
    refused(path)
    path.rmdir()
    os.mkfifo(path)  # to read it would take forever
    refused(path)
    path.unlink()
    for content in (b"", b"no archive", good.read_bytes()[:-30]):
        path.write_bytes(content)
        refused(path)
    with zipfile.ZipFile(good) as archive, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for item in archive.infolist():
            bomb.writestr(item.filename, archive.read(item))
        bomb.writestr("zeros", bytes(10**7))
    refused(path, "larger than the state")
    with path.open("wb") as file:
        file.write(good.read_bytes())
        file.truncate(2**30)
    refused(path)


def test_a_training_that_is_killed_at_any_change_is_continued_with_its_own_history(tmp_path: Path) -> None:
    whole = train(None, steps=4, every=2)[1].rows
    folder = tmp_path / "run"

    def begin() -> None:
        for path in folder.glob("*"):
            path.unlink()

    def look() -> None:
        _, history = train(folder, steps=4, every=2)
        assert history.rows == whole == History.read(folder / "history.jsonl").rows

    assert every_kill(lambda: train(folder, steps=4, every=2), begin, look) > 1


def test_a_new_training_keeps_nothing_of_an_earlier_one(tmp_path: Path) -> None:
    train(tmp_path, steps=6)
    (tmp_path / "checkpoint.pt").unlink()
    _, history = train(tmp_path, steps=3)
    assert [row["step"] for row in History.read(tmp_path / "history.jsonl").rows] == [1, 2, 3]
    assert History.read(tmp_path / "history.jsonl").rows == history.rows


def test_the_history_of_another_run_beside_a_checkpoint_is_replaced_by_its_own(tmp_path: Path) -> None:
    _, expected = train(tmp_path, steps=4)
    (tmp_path / "history.jsonl").write_text('{"step": 1, "loss/one": 77.0}\n{"step": 1, "loss/one": 78.0}\n')
    _, history = train(tmp_path, steps=4)
    assert history.rows == expected.rows == History.read(tmp_path / "history.jsonl").rows


ODD = ["[]", "3", "{", "null", '{"loss": 1}', *(f'{{"step": {step}}}' for step in ('"1"', "true", "-1", "9" * 99))]
LINE = st.builds(
    lambda *row: json.dumps(dict(zip(("step", "loss"), row))), st.integers(0, 9), st.floats(0, 1) | st.none()
)


@given(st.lists(st.sampled_from(ODD) | LINE | st.text(max_size=20), max_size=12))
def test_a_history_from_outside_has_numbers_by_rising_steps_or_nothing(lines: list[str]) -> None:
    rows = History.parse("\n".join(lines)).rows
    steps = [row["step"] for row in rows]
    assert all(before < after for before, after in pairwise(steps)) and all(s >= 0 for s in steps)
    assert all(isinstance(value, (int, float)) for row in rows for value in row.values())
    assert History.parse(History(rows).text()).text() == History(rows).text()

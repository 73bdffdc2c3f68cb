from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import toy_training
from deepscope.errors import DeepscopeError
from deepscope.session import Session
from deepscope.training import Diverged, History, Log, Moment, Shuffled, Update, fit
from toy_training import Data, Toy, train

SCRIPT = Path(toy_training.__file__)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
QUIET = Session(seed=3, quiet=True)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As many threads as the scripts have: sums of more threads are rounded otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def script(*arguments: object, launcher: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, *launcher, str(SCRIPT), *map(str, arguments)]


def weights(toy: Toy) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for name in ("one", "two") for key, value in toy.parts[name].state_dict().items()}


def same_bits(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_fit_is_the_plain_loop() -> None:
    toy, history = train(None, dropout=0.0)
    plain, data = Toy(QUIET, dropout=0.0), Data(QUIET)
    for number in range(60):
        inputs, labels = data(Moment(number, 60, QUIET))
        outputs = plain.one(inputs)
        first = nn.functional.cross_entropy(outputs, labels)
        second = (plain.two(inputs) - outputs.detach()).square().mean()
        for loss, optimiser in ((first, plain.adam), (second, plain.sgd)):
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        assert history.rows[number]["loss/one"] == pytest.approx(first.item(), rel=1e-6)
    assert same_bits(weights(toy), weights(plain))


def test_two_processes_are_one_with_the_doubled_batch(tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    command = script(tmp_path, "--dropout", 0, launcher=launcher)
    subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, timeout=300)
    toy, alone = train(None, dropout=0.0)
    together = History.read(tmp_path / "history.jsonl")
    for name in ("loss/one", "loss/two"):
        assert together.column(name)[1] == pytest.approx(alone.column(name)[1], rel=1e-4, abs=1e-6)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["parts"]
    torch.testing.assert_close(state["one"], dict(toy.one.state_dict()), rtol=1e-4, atol=1e-5)


def test_a_killed_training_resumes_to_the_same_bits(tmp_path: Path) -> None:
    steps, checkpoint = 1200, tmp_path / "checkpoint.pt"
    process = subprocess.Popen(script(tmp_path, "--steps", steps, "--every", 40), env=ENVIRONMENT)
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.005)
    time.sleep(random.uniform(0, 0.3))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the training ended before it could be killed"
    assert torch.load(checkpoint, weights_only=True)["step"] < steps
    resumed, history = train(tmp_path, steps=steps, every=40)
    whole, expected = train(None, steps=steps, every=40)
    assert same_bits(weights(resumed), weights(whole))
    assert history.rows == expected.rows == History.read(tmp_path / "history.jsonl").rows


def test_resume_from_every_kind_of_step(tmp_path: Path) -> None:
    whole, history = train(None, steps=20)

    class Interrupted(Exception):
        pass

    for stop in (3, 7, 8, 15):
        folder = tmp_path / str(stop)

        class Stops(Toy):
            limit = stop

            def __call__(self, batch: tuple[Tensor, Tensor], moment: Moment, update: Update) -> Mapping[str, Tensor]:
                if moment.step == self.limit:
                    raise Interrupted
                return super().__call__(batch, moment, update)

        with pytest.raises(Interrupted):
            fit(Stops(QUIET), Data(QUIET), steps=20, session=QUIET, log=Log(folder=folder, every=7, record=1))
        resumed, told = train(folder, steps=20)
        assert same_bits(weights(resumed), weights(whole))
        assert told.rows == history.rows
        again, _ = train(folder, steps=20)  # a finished one is only loaded
        assert same_bits(weights(again), weights(whole))


def test_the_callers_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    toy = Toy(QUIET)
    torch.manual_seed(5)
    fit(toy, Data(QUIET), steps=3, session=QUIET)
    assert torch.equal(torch.rand(3), expected)


class Exploding(Toy):
    """Its weights or its loss stop being numbers at step 9."""

    what = "loss"

    def __call__(self, batch: Any, moment: Moment, update: Update) -> Mapping[str, Tensor]:
        figures = super().__call__(batch, moment, update)
        if moment.step == 9:
            if self.what == "loss":
                return {**figures, "loss/one": torch.tensor(float("nan"))}
            with torch.no_grad():
                self.two.bias[0] = float("inf")
        return figures


@pytest.mark.parametrize("what", ["loss", "weight"])
def test_nan_stops_the_training_and_keeps_the_last_good_checkpoint(tmp_path: Path, what: str) -> None:
    toy = Exploding(QUIET)
    toy.what = what
    with pytest.raises(Diverged, match=r"NaN or infinite after step 10; .*checkpoint\.pt is the last good state"):
        fit(toy, Data(QUIET), steps=20, session=QUIET, log=Log(folder=tmp_path, every=5, record=5))
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["step"] == 5
    assert all(tensor.isfinite().all() for tensor in state["parts"]["two"].values())


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import toy_training
from deepscope.training import checkpoints

folder = Path(sys.argv[1])
save = checkpoints.Checkpoint.save

def limited(self, step, *rest):
    if step > 7:  # from here on the disk takes no file of more than 100 bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    try:
        save(self, step, *rest)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
checkpoints.Checkpoint.save = limited
trained, _ = toy_training.train(folder, steps=21)
print([float(value.double().sum()) for name in ("one", "two") for value in trained.parts[name].state_dict().values()])
"""


def test_a_full_disk_keeps_the_last_good_checkpoint_and_ends_no_training(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    environment = {**ENVIRONMENT, "PYTHONPATH": str(SCRIPT.parent)}
    command = [sys.executable, "-c", FULL_DISK, str(folder)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=300)
    trained, _ = train(None, steps=21)
    assert done.stdout == f"{[float(value.double().sum()) for value in weights(trained).values()]}\n"
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["step"] == 7
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.pt", "history.jsonl"]
    resumed, _ = train(folder, steps=21)
    whole, _ = train(None, steps=21)
    assert same_bits(weights(resumed), weights(whole))


def test_a_checkpoint_of_another_training_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    train(tmp_path, steps=8)
    with pytest.raises(DeepscopeError, match="steps 8, now 9"):
        train(tmp_path, steps=9)
    other = replace(QUIET, seed=4)
    with pytest.raises(DeepscopeError, match="seed 3, now 4"):
        fit(Toy(other), Data(other), steps=8, session=other, log=Log(folder=tmp_path))
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DeepscopeError, match="cannot be read"):
        train(tmp_path, steps=8)


def test_history_is_json_lines_and_forgives_a_cut_off_line(tmp_path: Path) -> None:
    _, history = train(tmp_path, steps=5)
    path = tmp_path / "history.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows == history.rows and [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    path.write_text(path.read_text()[:-10])
    assert History.read(path).rows == rows[:4]
    steps, values = history.column("loss/one")
    assert steps.tolist() == [1, 2, 3, 4, 5] and values.tolist() == [row["loss/one"] for row in rows]


def test_rows_are_means_and_observations_come_between_steps() -> None:
    session, modes = QUIET, []
    toy, each = Toy(session, dropout=0.0), train(None, dropout=0.0, steps=6)[1]

    def observe(step: int) -> dict[str, float]:
        modes.append(toy.one.training)
        toy.one.eval()
        return {"observed": 10.0 * step}

    history = fit(toy, Data(session), steps=6, session=session, observe=observe, log=Log(every=4, record=3))
    assert [row["step"] for row in history.rows] == [3, 4, 6]
    assert history.rows[0]["loss/one"] == pytest.approx(each.column("loss/one")[1][:3].mean(), rel=1e-5)
    assert history.rows[2]["loss/one"] == pytest.approx(each.column("loss/one")[1][4:].mean(), rel=1e-5)
    assert history.column("observed")[1].tolist() == [40.0, 60.0]
    assert modes == [True, True] and toy.one.training


def test_gradients_are_clipped_and_only_the_optimisers_own_are_computed() -> None:
    class Big:
        def __init__(self) -> None:
            self.network, self.bystander = nn.Linear(2, 1), nn.Linear(1, 1)
            self.before = self.network.weight.detach().clone(), self.network.bias.detach().clone()
            self.sgd = torch.optim.SGD(self.network.parameters(), lr=1.0)
            self.parts = {"network": self.network, "bystander": self.bystander, "sgd": self.sgd}

        def __call__(self, batch: Tensor, moment: Moment, update: Update) -> Mapping[str, Tensor]:
            loss = 1000 * self.bystander(self.network(batch)).square().sum()
            update(loss, self.sgd)
            return {"loss": loss}

    big = Big()
    fit(big, lambda moment: torch.ones(4, 2), steps=1, session=QUIET, clip=0.5)
    moved = torch.cat([(big.network.weight - big.before[0]).flatten(), big.network.bias - big.before[1]])
    assert moved.norm().item() == pytest.approx(0.5, rel=1e-3)
    assert big.bystander.weight.grad is None


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_weights() -> None:
    session = replace(QUIET, precision="bfloat16")
    seen: list[torch.dtype] = []
    toy = Toy(session)
    toy.two.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    fit(toy, Data(session), steps=2, session=session)
    assert seen == [torch.bfloat16] * 2 and toy.two.weight.dtype == torch.float32


def test_tensorboard_gets_every_row(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="reads TensorBoard's events: pip install 'deepscope[peers]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    toy = Toy(QUIET)
    history = fit(toy, Data(QUIET), steps=4, session=QUIET, log=Log(folder=tmp_path, record=1, tensorboard=True))
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    scalars = events.Scalars("loss/one")
    assert [scalar.step for scalar in scalars] == [1, 2, 3, 4]
    assert [scalar.value for scalar in scalars] == pytest.approx(history.column("loss/one")[1].tolist())


def test_shuffled_gives_each_row_once_an_epoch() -> None:
    rows = Shuffled(10, 3, QUIET, "a")
    assert rows.steps == 3
    epoch = torch.cat([rows(step) for step in range(3)])
    assert len(set(epoch.tolist())) == 9
    assert not torch.equal(epoch, torch.cat([rows(step) for step in range(3, 6)]))
    assert torch.equal(epoch[3:6], Shuffled(10, 3, QUIET, "a")(1))
    assert not torch.equal(rows(0), Shuffled(10, 3, QUIET, "b")(0))
    assert len(Shuffled(2, 8, QUIET)(5)) == 2


def test_shares_are_equal_parts_or_refused() -> None:
    rows = torch.arange(6)
    assert [Moment(0, 1, QUIET, p, 2).share(rows).tolist() for p in (0, 1)] == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(DeepscopeError, match="cannot be shared equally"):
        Moment(0, 1, QUIET, 0, 4).share(rows)

"""Workers on Ray: the same bytes as in this process, also where workers are killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from deepscope.batch import Sharding, run
from deepscope.batch.executors import executor_of, in_process
from deepscope.batch.shard import Shard
from deepscope.batch.worker import Work, versions
from deepscope.classification.job import ClassifyJob
from deepscope.errors import MissingExtraError, SettingError
from deepscope.session import Session

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Ray leaves files open


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A cluster of this machine, for all tests of the module."""
    found = pytest.importorskip("ray", reason="workers need the extra cluster")
    found.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 2**20)
    yield found
    found.shutdown()


def names(out: Path) -> list[str]:
    """What the parts are called: their names carry the digests of their bytes."""
    return sorted(path.name for path in (out / "parts").glob("part-*"))


def computed(model: str, photos: Path, out: Path, sharding: Sharding) -> list[str]:
    run(ClassifyJob(model), [photos], Session(quiet=True, out=out), sharding=sharding)
    return names(out)


def test_workers_write_the_same_bytes_and_a_kill_costs_one_part(
    ray: Any, photos: Path, tmp_path: Path, model_file: str
) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import os, pathlib, time\n"
        f"exec(pathlib.Path({model_file.rpartition(':')[0]!r}).read_text())\n"
        f"log = {str(tmp_path / 'pids')!r}\n"
        "def slowly():\n"
        "    model = build()\n"
        "    def wait(*_):\n"
        "        with open(log, 'a') as file:\n"
        "            file.write(f'{os.getpid()}\\n')\n"
        "        end = time.monotonic() + 60\n"
        f"        while not pathlib.Path({str(tmp_path / 'go')!r}).exists() and time.monotonic() < end:\n"
        "            time.sleep(0.02)\n"
        "    model.network.register_forward_pre_hook(wait)\n"
        "    return model\n"
    )
    (tmp_path / "go").touch()  # until it is there, every worker waits in the middle of its first part
    wanted = computed(f"{slow}:slowly", photos, tmp_path / "alone", Sharding(shard_size=2))
    (tmp_path / "pids").unlink()
    (tmp_path / "go").unlink()
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 300  # Ray gives its workers the lowest priority
        while not killed and time.monotonic() < deadline:
            time.sleep(0.02)
            written = (tmp_path / "pids").read_text().split() if (tmp_path / "pids").exists() else []
            if pids := [int(pid) for pid in written if int(pid) != os.getpid()]:
                os.kill(pids[-1], signal.SIGKILL)
                killed.append(pids[-1])
        (tmp_path / "go").touch()

    killer = threading.Thread(target=kill)
    killer.start()
    found = computed(f"{slow}:slowly", photos, tmp_path / "two", Sharding(shard_size=2, workers=2))
    killer.join()
    assert killed
    assert found == wanted
    assert not list((tmp_path / "two" / "parts").glob(".part-*"))  # what the killed worker had begun to write
    passes = len((tmp_path / "pids").read_text().split())
    assert passes <= 16 + 2 * 2 + 2  # at most the killed worker's part again, and what opening a model needs


def test_a_cluster_that_is_too_small_is_refused(ray: Any, photos: Path, tmp_path: Path, model_file: str) -> None:
    with pytest.raises(SettingError, match=r"workers must be at most 2, the CPUs of the Ray cluster \(got 3\)"):
        computed(model_file, photos, tmp_path, Sharding(workers=3))


@pytest.mark.parametrize(("given", "used"), [("cuda:3", "cuda:0"), ("cuda", "cuda:0"), ("cpu", "cpu")])
def test_a_worker_takes_the_gpu_that_ray_shows_it_before_it_loads_the_model(
    given: str, used: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray hides the other GPUs by CUDA_VISIBLE_DEVICES, so that its own is the first."""
    pytest.importorskip("ray", reason="workers need the extra cluster")
    from deepscope.batch import on_ray

    opened = list[str]()

    def of(job: Any, session: Session) -> Any:
        opened.append(str(session.device))
        raise SettingError("device", "is far away")

    monkeypatch.setattr("deepscope.batch.worker.OpenJob.of", of)
    job, session = ClassifyJob("tiny"), Session(quiet=True, device=torch.device(given))
    actor = on_ray._Actor(Work(job, session, tmp_path, "", "", versions(job)), str(tmp_path / "nowhere"))
    assert (str(actor.work.session.device), opened) == (used, [])
    assert actor.do(Shard(0, 1, b"")).failure
    assert opened == [used]


def test_ray_is_asked_for_by_several_workers_or_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert executor_of(Sharding()) is executor_of(Sharding(workers=1)) is in_process
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for sharding in (Sharding(workers=2), Sharding(cluster="127.0.0.1:1")):
        with pytest.raises(MissingExtraError, match=r"deepscope\[cluster\]"):
            executor_of(sharding)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(MissingExtraError):
        executor_of(Sharding(shard_size=5))

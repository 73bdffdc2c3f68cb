"""What is finished is never computed again, and what is damaged, stale or half-written never counts."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pyarrow import parquet
from torch import Tensor, nn

import deepscope.attacks.evaluate_job as attack_evaluate_module
import deepscope.attacks.job as attack_module
import deepscope.attributions.evaluate_job as explain_evaluate_module
import deepscope.attributions.job as explain_module
import deepscope.classification.job as classify_module
import deepscope.features.job as features_module
from deepscope.attacks.evaluate_job import AttackEvaluateJob
from deepscope.attacks.job import AttackJob
from deepscope.attributions.evaluate_job import ExplainEvaluateJob
from deepscope.attributions.job import ExplainJob
from deepscope.batch import Sharding, Summary, parts, run, worker
from deepscope.batch.plan import plan
from deepscope.classification.job import ClassifyJob
from deepscope.errors import FileError, JobError
from deepscope.features.job import FeaturesJob
from deepscope.files import lock
from deepscope.models import Preprocessing, load_model
from deepscope.session import Session
from kills import every_kill

SIZE = 5


def computed(model: str, photos: Path, out: Path, *, size: int | None = SIZE, seed: int = 0) -> Summary:
    sharding = Sharding(shard_size=size)
    return run(ClassifyJob(model), [photos], Session(quiet=True, out=out, seed=seed), sharding=sharding)


def content(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "parts").iterdir())}


@contextmanager
def counting() -> Iterator[list[int]]:
    """The shards that are computed in the block."""
    shards: list[int] = []
    own = worker.run_shard

    def counted(opened: Any, shard: Any) -> Any:
        shards.append(shard.number)
        return own(opened, shard)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "run_shard", counted)
        yield shards


def test_the_same_command_gives_the_same_bytes(model_file: str, photos: Path, tmp_path: Path) -> None:
    for out in ("first", "second"):
        computed(model_file, photos, tmp_path / out)
    assert content(tmp_path / "first") == content(tmp_path / "second")
    assert len(content(tmp_path / "first")) == 5  # 16 images in fours and one, and what they are parts of


def test_finished_parts_are_kept(model_file: str, photos: Path, tmp_path: Path) -> None:
    first = computed(model_file, photos, tmp_path)
    before = content(tmp_path)
    (tmp_path / "parts" / first.files[2]).unlink()
    with counting() as shards:
        again = computed(model_file, photos, tmp_path)
    assert shards == [2]
    assert content(tmp_path) == before
    assert (again.computed, dict(again.metrics)) == (1, dict(first.metrics))
    with counting() as shards:
        computed(model_file, photos, tmp_path, size=None)  # the size is that of the parts that there are
    assert shards == []


@pytest.mark.parametrize("damage", [b"", b"PAR1", None])
def test_a_damaged_part_is_computed_again(damage: bytes | None, model_file: str, photos: Path, tmp_path: Path) -> None:
    first = computed(model_file, photos, tmp_path)
    before = content(tmp_path)
    part = tmp_path / "parts" / first.files[1]
    whole = bytearray(part.read_bytes())
    whole[len(whole) // 2] ^= 1
    part.write_bytes(bytes(whole) if damage is None else damage)
    with counting() as shards:
        computed(model_file, photos, tmp_path)
    assert shards == [1]
    assert content(tmp_path) == before


def test_parts_of_images_that_changed_are_computed_again(model_file: str, photos: Path, tmp_path: Path) -> None:
    computed(model_file, photos, tmp_path / "out")
    Image.new("RGB", (20, 20), "red").save(photos / "snail" / "07.png")
    (photos / "snail" / "06.png").unlink()
    with counting() as shards:
        again = computed(model_file, photos, tmp_path / "out")
    assert shards == [2]
    assert (len(again), len(again.files)) == (15, 3)
    computed(model_file, photos, tmp_path / "fresh")
    assert content(tmp_path / "out") == content(tmp_path / "fresh")


def test_parts_of_another_job_are_left_alone(model_file: str, photos: Path, tmp_path: Path) -> None:
    computed(model_file, photos, tmp_path)
    before = content(tmp_path)
    with pytest.raises(FileError, match="parts of a job that was run with shard_size 5, and not 4"):
        computed(model_file, photos, tmp_path, size=4)
    with pytest.raises(FileError, match="with seed 0, and not 1: give the same settings, name another folder"):
        computed(model_file, photos, tmp_path, seed=1)
    assert content(tmp_path) == before


def test_parts_of_other_images_are_left_alone(model_file: str, photos: Path, tmp_path: Path) -> None:
    job, out = ClassifyJob(model_file), Session(quiet=True, out=tmp_path / "out")
    run(job, [photos / "hay"], out, sharding=Sharding(shard_size=4))
    before = content(tmp_path / "out")
    said = r"holds parts of a job on .*hay: name the same images, others only after them, or name another folder"
    with pytest.raises(FileError, match=said):
        run(job, [photos / "snail"], out)
    with pytest.raises(FileError, match=r"on .*hay without a limit: name the same images"):
        run(job, [photos / "hay"], out, limit=3)
    assert content(tmp_path / "out") == before
    with counting() as shards:
        more = run(job, [photos / "hay", photos / "snail"], out)
    assert (shards, len(more)) == ([2, 3], 16)
    assert before.items() - {*content(tmp_path / "out").items()} == {(parts.ABOUT, before[parts.ABOUT])}


def test_a_folder_is_reserved_while_it_is_locked(
    model_file: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, held = parts.reserve, list[bool]()

    def another(folder: Path) -> None:
        try:
            with lock(folder):
                held.append(False)
        except FileError:
            held.append(True)

    def reserved(folder: Path, about: Any, images: Any) -> None:
        thread = threading.Thread(target=another, args=(folder,))
        thread.start()
        thread.join()
        own(folder, about, images)

    monkeypatch.setattr(parts, "reserve", reserved)
    computed(model_file, photos, tmp_path)
    assert held == [True]


def test_a_kill_at_any_moment_leaves_whole_parts(model_file: str, photos: Path, tmp_path: Path) -> None:
    computed(model_file, photos, tmp_path / "wanted")
    out = tmp_path / "out"

    def work() -> None:
        computed(model_file, photos, out)

    def look() -> None:
        computed(model_file, photos, out)
        assert content(out) == content(tmp_path / "wanted")

    def begin() -> None:
        for path in (out / "parts").glob("*") if out.exists() else ():
            path.unlink()

    assert every_kill(work, begin, look) > 4


def test_a_full_disk_is_one_line_and_loses_nothing(
    model_file: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if "part-000001" in path.name:
            own(path, data[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return own(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(JobError, match=r"part 1 cannot be computed: it cannot be written .*No space left") as said:
            computed(model_file, photos, tmp_path / "out")
    assert "3 of 4 parts are finished, and the same command computes the rest" in str(said.value)
    with counting() as shards:
        computed(model_file, photos, tmp_path / "out")
    assert shards == [1]
    computed(model_file, photos, tmp_path / "wanted")
    assert content(tmp_path / "out") == content(tmp_path / "wanted")


def test_a_disk_that_is_full_from_the_start_stops_the_job_after_a_few_parts(
    model_file: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if parts.ABOUT.removesuffix(".json") in path.name:
            return own(path, data)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with counting() as shards, pytest.raises(JobError) as said:
        computed(model_file, photos, tmp_path / "out", size=2)
    (line,) = str(said.value).splitlines()
    assert "part 0 (and 2 more) cannot be computed: it cannot be written to" in line
    assert "0 of 8 parts are finished, and the same command computes the rest" in line
    assert shards == [0, 1, 2]


OF_BATCHES = {
    "classify": ClassifyJob(""),
    "features": FeaturesJob(""),
    "explain": ExplainJob(""),
    "attack": AttackJob(""),
    "attack evaluate": AttackEvaluateJob("", methods=("fgsm",), radii=(0.02, 0.2)),
    "explain evaluate": ExplainEvaluateJob("", methods=("saliency",), measures=("roughness", "deletion")),
}
MODULES = (
    *(attack_module, attack_evaluate_module, classify_module, features_module),
    *(explain_module, explain_evaluate_module),
)


@pytest.mark.parametrize("name", OF_BATCHES)
def test_a_batch_that_runs_out_of_memory_is_halved_and_gives_the_same_bytes(
    name: str, model_file: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, in batches of eight; here an image's bits do not depend on the size of its batch."""
    for module in MODULES:
        monkeypatch.setattr(module, "alone", lambda session, size: 8)
    passes, most = list[int](), [99]

    def allocated(pixels: Tensor) -> None:
        passes.append(len(pixels))
        if len(pixels) > most[0]:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB (simulated)")

    own = nn.Conv2d.forward

    def forward(layer: nn.Conv2d, pixels: Tensor) -> Tensor:
        if layer.in_channels == 3:
            allocated(pixels)
        return torch.cat([own(layer, one[None]) for one in pixels])  # the same bits in every batch

    monkeypatch.setattr(nn.Conv2d, "forward", forward)
    linear = nn.Linear.forward
    monkeypatch.setattr(nn.Linear, "forward", lambda layer, rows: torch.cat([linear(layer, one[None]) for one in rows]))
    job, found = replace(OF_BATCHES[name], model=model_file, batch_size=8), list[dict[str, bytes]]()
    for number in range(2):
        session = Session(quiet=True, out=tmp_path / str(number))
        most[0] = 99 if number == 0 else 3
        run(job, [photos], session, sharding=Sharding(shard_size=16, keep_arrays=True))
        found.append(content(tmp_path / str(number)))
    assert 8 in passes
    assert {1, 2, 3} & set(passes)
    assert found[0] == found[1]


def test_memory_that_runs_out_while_images_are_read_is_one_line_and_loses_nothing(
    model_file: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = Preprocessing.__call__

    def out_of_memory(preprocessing: Preprocessing, source: Any) -> Tensor:
        if source == (photos / "snail" / "01.png").read_bytes():
            raise MemoryError
        return decode(preprocessing, source)

    with monkeypatch.context() as patch:
        patch.setattr(Preprocessing, "__call__", out_of_memory)
        with pytest.raises(JobError, match=r"part 1 cannot be computed: memory ran out while .*01\.png was read"):
            computed(model_file, photos, tmp_path / "out")
    with counting() as shards:
        computed(model_file, photos, tmp_path / "out")
    assert shards == [1]


def test_ctrl_c_keeps_finished_parts(
    model_file: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = worker.run_shard

    def stopped(opened: Any, shard: Any) -> Any:
        if shard.number == 2:
            raise KeyboardInterrupt
        return own(opened, shard)

    with monkeypatch.context() as patch:
        patch.setattr(worker, "run_shard", stopped)
        with pytest.raises(KeyboardInterrupt):
            computed(model_file, photos, tmp_path)
    with counting() as shards:
        computed(model_file, photos, tmp_path)
    assert shards == [2, 3]


def test_an_unreadable_image_is_a_row_with_an_error(model_file: str, photos: Path, tmp_path: Path) -> None:
    (photos / "hay" / "03.png").write_bytes(b"no image")
    found = computed(model_file, photos, tmp_path)
    rows = [row for file in found.files for row in parquet.read_table(found.folder / file).to_pylist()]
    (bad,) = [row for row in rows if row["error"]]
    assert (Path(bad["path"]).name, bad["label"], len(rows)) == ("03.png", None, 16)
    assert "it is not an image" in bad["error"]
    assert (found.metrics["images"], found.metrics["skipped"]) == (15, 1)
    assert found.skipped[0][0].endswith("03.png")
    assert found.result().metrics["skipped"] == 1


def test_what_a_folder_says_of_its_parts_is_checked(model_file: str, photos: Path, tmp_path: Path) -> None:
    computed(model_file, photos, tmp_path)
    about = tmp_path / "parts" / parts.ABOUT
    assert json.loads(about.read_text())["job"] == "classify"
    for damage in ("", "[]", "{", '{"job": "classify"}'):
        about.write_text(damage)
        with pytest.raises(FileError, match="parts of a job that was run"):
            computed(model_file, photos, tmp_path)


def test_what_a_worker_refuses_is_one_line(model_file: str, photos: Path, tmp_path: Path) -> None:
    own = worker.versions(ClassifyJob(model_file))
    session = Session(quiet=True)
    model = load_model(model_file, session)

    def work(job: ClassifyJob = ClassifyJob(model_file), weights: str = model.identity, **other: str) -> worker.Work:
        return worker.Work(job, session, tmp_path, "", weights, {**own, **other})

    for asked, said in (
        (work(ClassifyJob("nonsense")), "no model is named 'nonsense'"),
        (work(torch="0.1"), "and this machine 0.1"),
        (work(code="other"), "and this machine other"),
        (work(weights="other"), "loads other weights"),
    ):
        done = worker.Worker(asked).do(plan([photos], model, session, size=5)[0][0])
        assert (done.shard, done.count, done.file) == (0, 5, "")
        assert said in done.failure

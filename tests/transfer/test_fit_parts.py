"""A folder of features in parts becomes a saved classifier."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepscope import devices
from deepscope.batch import Sharding, run
from deepscope.classification import classify
from deepscope.cli.program import run as command
from deepscope.errors import DataError, DeepscopeError, FileError
from deepscope.features.job import FeaturesJob
from deepscope.models import load_model
from deepscope.models.classifier import Normalisation, NormalisationKind
from deepscope.session import Session
from deepscope.transfer.fit_parts import _normalisation, fit_parts
from deepscope.transfer.fitting import fit_features
from deepscope.transfer.heads import Head
from deepscope.transfer.parts import FeatureParts
from painted import CLASSES, paint

parquet = pytest.importorskip("pyarrow.parquet", reason="jobs in parts need the extra parquet")


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of 36 pictures in three class folders, of a copy of one of them, and of a file that is no picture."""
    folder, rng = tmp_path_factory.mktemp("parts"), np.random.default_rng(1)
    for number in range(36):
        path = folder / "photos" / CLASSES[number % 3] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        paint(CLASSES[number % 3], rng).save(path)
    one = folder / "photos" / CLASSES[0] / "00.png"
    (one.parent / "copy.png").write_bytes(one.read_bytes())
    (one.parent / "broken.png").write_bytes(b"nothing")
    job = FeaturesJob("efficientnet_lite0", layer="blocks.0")
    run(job, [folder / "photos"], Session(quiet=True, out=folder / "out"), sharding=Sharding(shard_size=15))
    return folder / "out"


def test_a_folder_of_parts_holds_features_and_classes(features: Path) -> None:
    found = FeatureParts.of(features)
    assert (len(found), found.classes, found.unreadable, found.unlabelled) == (37, tuple(sorted(CLASSES)), 1, 0)
    rows = [row for file in found.files for row in parquet.read_table(file).to_pylist() if not row["error"]]
    assert [found.classes[label] for label in found.labels] == [Path(row["path"]).parent.name for row in rows]
    chosen = np.arange(37) % 2 == 0
    read = torch.cat(list(found.read(chosen)))
    assert torch.equal(read, torch.tensor([row["features"] for row in rows[::2]]))


@pytest.mark.parametrize("head", ["ridge", "linear-svc"])
def test_the_classifier_is_that_of_the_same_features_in_memory(head: str, features: Path) -> None:
    fitted = fit_parts(features, head=head)
    data, train = fitted.data, ~fitted.test
    block, labels = torch.cat(list(data.read(train))), torch.from_numpy(data.labels[train])
    plain = fit_features([block], labels, Head.named(head), "l2", seed=0)
    found = fitted.classifier.fitted_
    assert (found.head.setting, found.validation) == (plain.head.setting, plain.validation)
    test = torch.cat(list(data.read(fitted.test)))
    torch.testing.assert_close(found.scores([test]), plain.scores([test]), rtol=0, atol=1e-3)
    assert fitted.right.sum() == (plain.scores([test]).argmax(1).numpy() == data.labels[fitted.test]).sum()
    copies = [row for row, one in enumerate(data.digests) if (data.digests == one).sum() > 1]
    assert len({bool(fitted.test[row]) for row in copies}) == 1


def test_parts_become_a_model_on_the_command_line(
    features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["transfer", "fit", str(features), "--head", "ridge", "--out", str(tmp_path / "model")]
    assert command([*line, "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics["images"] == 37
    model = load_model(str(tmp_path / "model"), Session(quiet=True))
    assert model.categories == tuple(sorted(CLASSES))
    again = fit_parts(features, head="ridge")
    rows = [row for file in again.data.files for row in parquet.read_table(file).to_pylist() if not row["error"]]
    paths = [row["path"] for row, test in zip(rows, again.test, strict=True) if test]
    seen = classify(model, paths)  # from the pictures, by the saved network
    right = sum(label == Path(path).parent.name for label, path in zip(seen.labels, paths, strict=True))
    assert metrics["accuracy"] == right / len(paths)
    assert 0 < right < len(paths) == metrics["test-images"]
    del line[3:5]
    for more, said in (
        (["--flip"], "--flip cannot be used"),
        (["--head", "nearest-neighbours"], "at once: choose linear-svc or ridge"),
        (["--normalisation", "whiten"], "--normalisation needs all features at once"),
    ):
        assert command([*line, *more]) == 2
        assert said in capsys.readouterr().err


def test_parts_that_are_missing_damaged_or_of_another_job_are_refused(features: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no parts: name the folder that `transfer features` wrote"):
        fit_parts(tmp_path)
    place = tmp_path / "parts"
    place.mkdir()
    for path in (features / "parts").iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    part = sorted(place.glob("*.parquet"))[1]
    content = bytearray(part.read_bytes())
    content[100] ^= 1
    part.write_bytes(bytes(content))
    with pytest.raises(FileError, match="is damaged: run the command that wrote it again"):
        fit_parts(tmp_path)
    part.unlink()
    with pytest.raises(DataError, match="1 of 3 parts are missing"):
        fit_parts(tmp_path)
    about = json.loads((place / "_job.json").read_text())
    (place / "_job.json").write_text(json.dumps({**about, "job": "classify"}))
    with pytest.raises(DataError, match="holds parts of classify, not of features"):
        fit_parts(tmp_path)
    (place / "_job.json").write_text(json.dumps({**about, "images": None}))
    with pytest.raises(DeepscopeError):
        fit_parts(tmp_path)


@pytest.mark.parametrize("kind", ["raw", "standard", "l2", "power"])
def test_a_normalisation_in_one_pass_is_that_of_all_features(kind: NormalisationKind) -> None:
    features = torch.rand(200, 6, generator=torch.Generator().manual_seed(0)) * 3 + 2
    features[:, 2] = 1.0
    wanted, found = Normalisation.fit(kind, features), _normalisation(kind, iter(features.split(33)))
    torch.testing.assert_close(found(features), wanted(features), rtol=1e-5, atol=1e-6)


def test_one_process_fits_the_head_and_the_others_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = list[list[Any]]()

    def broadcast(what: list[Any], from_process: int) -> list[Any]:
        """As accelerate's: what the first process has comes to all."""
        assert from_process == 0
        if os.environ["RANK"] == "0":
            sent.append(what)
        return sent[-1]

    monkeypatch.setattr("accelerate.utils.broadcast_object_list", broadcast)
    monkeypatch.setattr(devices, "wait_for_others", lambda: None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    calls = list[str]()

    def fit() -> str:
        calls.append(os.environ["RANK"])
        return "fitted"

    def fails() -> str:
        raise DataError("no images")

    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        assert devices.computed_once(fit) == "fitted"
    assert calls == ["0"]
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(DataError, match="no images"):
            devices.computed_once(fails)

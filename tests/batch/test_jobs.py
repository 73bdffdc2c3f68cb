"""A part follows from its images alone: not from their number, their order, the cut, or the workers."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import torch
from pyarrow import parquet

import deepscope as ds
from deepscope.attacks import PGD, Conditions, Square, evaluate_attacks
from deepscope.attacks.evaluate_job import AttackEvaluateJob
from deepscope.attacks.job import AttackJob
from deepscope.attributions import RISE, GradCAM, SmoothGrad, evaluate
from deepscope.attributions.evaluate_job import ExplainEvaluateJob
from deepscope.attributions.job import ExplainJob
from deepscope.batch import Job, Sharding, Summary, rng_of, run
from deepscope.classification import classify
from deepscope.classification.corruptions_job import CorruptionsJob
from deepscope.classification.job import ClassifyJob
from deepscope.data.corruptions import Corruption
from deepscope.errors import UnsupportedError
from deepscope.features.job import FeaturesJob
from deepscope.images import decode
from deepscope.models import Preprocessing, load_model
from deepscope.session import Session
from networks import tiny_model

JOBS: dict[str, Job] = {
    "classify": ClassifyJob("", top=2),
    "explain": ExplainJob("", method=SmoothGrad(samples=2)),
    "explain two classes": ExplainJob("", method=GradCAM(), target="hay", versus="snail"),
    "explain by masks": ExplainJob("", method=RISE(masks=8)),
    "explain evaluate": ExplainEvaluateJob(
        "", methods=("saliency", "smooth-grad"), measures=("deletion", "infidelity", "max-sensitivity")
    ),
    "attack evaluate": AttackEvaluateJob("", methods=("fgsm", "pgd"), radii=(4 / 255, 0.5)),
    "attack": AttackJob("", method=PGD(steps=2), target="random"),
    "attack by queries": AttackJob("", method=Square(queries=10)),
    "features": FeaturesJob(""),
    "corruptions": CorruptionsJob("", severities=(4,)),
}


def computed(job: Job, named: Path | list[Path], out: Path, size: int | None, *, seed: int = 0) -> Summary:
    given = named if isinstance(named, list) else [named]
    session = Session(quiet=True, out=out, seed=seed)
    return run(job, given, session, sharding=Sharding(shard_size=size, keep_arrays=True))


def rows(found: Summary) -> list[dict[str, Any]]:
    return [row for file in found.files for row in parquet.read_table(found.folder / file).to_pylist()]


def by_image(found: Summary) -> Mapping[str, list[Any]]:
    images: dict[str, list[Any]] = {}
    for row in rows(found):
        images.setdefault(row["path"], []).append(row)
    return images


@pytest.mark.parametrize("name", JOBS)
def test_rows_do_not_depend_on_the_cut_or_the_company(name: str, model_file: str, photos: Path, tmp_path: Path) -> None:
    job = replace(JOBS[name], model=model_file)
    whole = by_image(computed(job, photos, tmp_path / "whole", 100))
    assert len(whole) == 16
    assert by_image(computed(job, photos, tmp_path / "cut", 3)) == whole
    few = sorted(map(Path, whole), reverse=True)[2:5]
    some = by_image(computed(job, few, tmp_path / "some", 2))
    assert some == {str(path): whole[str(path)] for path in few}


@pytest.mark.parametrize("name", ["explain", "explain by masks", "attack", "attack by queries", "corruptions"])
def test_rows_depend_on_the_seed(name: str, model_file: str, photos: Path, tmp_path: Path) -> None:
    job = replace(JOBS[name], model=model_file)
    first, other = (computed(job, photos, tmp_path / str(seed), 8, seed=seed) for seed in (0, 1))
    assert rows(first) != rows(other)


def test_copies_of_an_image_have_the_same_rows(model_file: str, photos: Path, tmp_path: Path) -> None:
    copy = photos / "hay" / "zz.png"
    copy.write_bytes((photos / "hay" / "03.png").read_bytes())
    found = by_image(computed(replace(JOBS["explain"], model=model_file), photos, tmp_path / "out", 5))
    without = [[{**row, "path": ""} for row in found[str(photos / "hay" / name)]] for name in ("zz.png", "03.png")]
    assert without[0] == without[1]


def test_classes_are_those_of_the_workflow(model_file: str, photos: Path, tmp_path: Path) -> None:
    found = computed(ClassifyJob(model_file), photos, tmp_path / "out", 5)
    plain = classify(load_model(model_file, Session(quiet=True)), photos)
    own = rows(found)
    assert [row["path"] for row in own] == [str(path) for path in plain.paths]
    assert [row["label"] for row in own] == plain.labels
    assert torch.allclose(torch.tensor([row["probabilities"] for row in own]), plain.probabilities, atol=1e-6)
    assert [row["sha256"] for row in own] == [digest.hex() for digest in plain.digests]
    shown = plain.result().metrics
    assert {name: found.metrics[name] for name in shown} == pytest.approx(dict(shown))


def test_maps_are_those_of_the_method_alone(model_file: str, photos: Path, tmp_path: Path) -> None:
    session = Session(quiet=True)
    model, method = load_model(model_file, session), SmoothGrad(samples=2)
    found = rows(computed(ExplainJob(model_file, method=method, target="hay"), photos, tmp_path / "out", 5))
    for row in found[::5]:
        pixels = model.preprocessing(row["path"])[None]
        rng = rng_of(session, [bytes.fromhex(row["sha256"])], "explain", method.name)
        wanted = method(model, pixels, torch.tensor([model.category("hay")]), rng=rng)
        assert torch.allclose(torch.tensor(row["map"]).view(row["height"], row["width"]), wanted[0], atol=1e-7)


def test_an_attack_counts_what_it_leaves_out(model_file: str, photos: Path, tmp_path: Path) -> None:
    found = computed(AttackJob(model_file, method=PGD(radius=0.5, steps=5)), photos, tmp_path / "out", 5)
    own = rows(found)
    left = [row for row in own if row["left_out"]]
    assert {row["path"].split("/")[-2] for row in left} == {"snail"}  # the tiny network sees hay everywhere
    assert found.metrics["misclassified"] == len(left) == 8
    assert found.metrics["attacked"] == 8
    assert found.metrics["success"] == sum(bool(row["success"]) for row in own) / 8
    successes = [row["l2"] for row in own if row["success"]]
    assert successes
    assert found.metrics["l2/mean"] == pytest.approx(sum(successes) / len(successes))


@pytest.mark.parametrize("target", [None, "snail"])
def test_an_evaluation_of_attacks_is_that_of_the_workflow(
    target: str | None, model_file: str, photos: Path, tmp_path: Path
) -> None:
    radii = (1 / 255, 8 / 255, 0.2)
    job = AttackEvaluateJob(model_file, methods=("fgsm", "deepfool"), radii=radii, target=target)
    found = computed(job, photos, tmp_path / "out", 5).metrics
    model, conditions = load_model(model_file, Session(quiet=True)), Conditions(radii, defences={})
    plain = evaluate_attacks(model, photos, ["fgsm", "deepfool"], conditions, target=target).result().metrics
    same = [name for name in plain if name.startswith(("success/", "accuracy/", "gradients/vanished/"))]
    assert len(same) > 20
    assert {name: found[name] for name in same} == pytest.approx({name: plain[name] for name in same})


def test_an_evaluation_of_maps_is_that_of_the_workflow(model_file: str, photos: Path, tmp_path: Path) -> None:
    methods, measures = ("saliency", "grad-cam"), ("deletion", "roughness")
    found = computed(ExplainEvaluateJob(model_file, methods=methods, measures=measures), photos, tmp_path / "out", 5)
    model, session = load_model(model_file, Session(quiet=True)), Session(quiet=True, cache=tmp_path / "cache")
    plain = evaluate(model, photos, methods, measures=measures, sanity=0, session=session).result().metrics
    for method in methods:
        for measure in measures:
            name = f"{measure}/{method}"
            assert found.metrics[name] == pytest.approx(plain[name], rel=1e-5)
            assert found.metrics[f"{name}/low"] == pytest.approx(plain[f"{name}/low"], rel=0.2)
        assert found.metrics[f"constant/{method}"] == plain[f"constant/{method}"]


def test_an_attack_on_many_images_is_refused(model_file: str, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="universal learns one change from many images"):
        computed(AttackJob(model_file, method="universal"), photos, tmp_path / "out", 5)


def test_parts_are_computed_by_the_reference_unless_an_engine_is_named(
    model_file: str, photos: Path, tmp_path: Path
) -> None:
    session = Session(quiet=True, out=tmp_path / "out", engine="auto")
    assert run(ClassifyJob(model_file), [photos], session).computed
    assert run(ClassifyJob(model_file), [photos], replace(session, engine="torch")).computed == 0


def test_tar_files_and_tables_give_the_rows_of_their_images(model_file: str, photos: Path, tmp_path: Path) -> None:
    files = sorted(photos.rglob("*.png"))
    numbers = {"hay": 2, "snail": 3}  # as the tiny network calls them
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        for file in files:
            label = str(numbers[file.parent.name]).encode()
            for suffix, content in (("png", file.read_bytes()), ("cls", label)):
                about = tarfile.TarInfo(f"{file.parent.name}-{file.stem}.{suffix}")
                about.size = len(content)
                archive.addfile(about, io.BytesIO(content))
    table = {"image": [file.read_bytes() for file in files], "label": [file.parent.name for file in files]}
    parquet.write_table(pyarrow.table(table), tmp_path / "photos.parquet", row_group_size=5)
    job = ClassifyJob(model_file)
    images, tar, parquet_file = (
        [{**row, "path": ""} for row in rows(computed(job, named, tmp_path / f"out-{size}", size))]
        for named, size in ((photos, 3), (tmp_path / "photos.tar", 7), (tmp_path / "photos.parquet", 6))
    )
    assert tar == images
    assert parquet_file == images
    assert {row["right"] for row in images} == {True, False}


def test_corrupted_images_are_those_of_the_corruption_alone(model_file: str, photos: Path, tmp_path: Path) -> None:
    session = Session(quiet=True)
    found = computed(CorruptionsJob(model_file, severities=(2, 5)), photos, tmp_path / "out", 5)
    model, own = load_model(model_file, session), rows(found)
    assert len(own) == 16 * (1 + 2 * len(Corruption.members()))
    for row in own[3::17]:
        image = decode(row["path"])
        if row["corruption"] != "none":
            kind = replace(Corruption.named(row["corruption"]), severity=row["severity"])
            image = kind.applied(image, session)
        with torch.inference_mode():
            scores = model.probabilities(model(model.preprocessing(image)[None]))[0]
        assert model.categories[int(scores.argmax())] == row["label"]
        assert float(scores.max()) == pytest.approx(row["probability"], abs=1e-6)
    right = [row["right"] for row in own if (row["corruption"], row["severity"]) == ("contrast", 5)]
    assert found.metrics["accuracy/contrast/5"] == sum(right) / 16
    damaged = [row["right"] for row in own if row["severity"]]
    assert found.metrics["accuracy/corrupted"] == pytest.approx(sum(damaged) / len(damaged))


def test_several_labels_are_right_where_all_of_them_are(photos: Path, tmp_path: Path) -> None:
    """As `Photos.correct` says of the same images: the most probable label alone is not enough."""
    model = ds.wrap(
        tiny_model().network, list("abcd"), preprocessing=Preprocessing(resize=16, crop=16), head="multilabel"
    )
    files = sorted(photos.rglob("*.png"))
    plain = classify(model, files, top=None)
    said = [frozenset(row[shown].tolist()) for row, shown in zip(plain.classes, plain.predictions)]
    best = [int(row[0]) for row in plain.classes]
    assert any(len(one) > 1 for one in said)
    shown = [sorted(own) if row % 2 else [label] for row, (own, label) in enumerate(zip(said, best))]
    names = [["a", "no label of it"], *(["abcd"[label] for label in own] for own in shown[1:])]
    table = pyarrow.table({"image": [file.read_bytes() for file in files], "label": names})
    parquet.write_table(table, tmp_path / "a.parquet")
    found = run(
        ClassifyJob("", top=4), [tmp_path / "a.parquet"], Session(quiet=True, out=tmp_path / "out"), model=model
    )
    right = [None, *(frozenset(own) == truth for own, truth in zip(shown[1:], said[1:]))]
    assert [row["right"] for row in rows(found)] == right
    assert True in right
    assert False in right
    assert found.metrics["known"] == 15
    assert found.metrics["exact-match"] == sum(map(bool, right)) / 15
    assert "accuracy/top1" not in found.metrics


def test_a_limit_draws_the_same_images_every_time(model_file: str, photos: Path, tmp_path: Path) -> None:
    job = ClassifyJob(model_file)
    drawn = [
        run(job, [photos], Session(quiet=True, out=tmp_path / str(size)), sharding=Sharding(shard_size=size), limit=6)
        for size in (2, 5)
    ]
    whole = by_image(computed(job, photos, tmp_path / "whole", 4))
    found = by_image(drawn[0])
    assert len(found) == 6
    assert by_image(drawn[1]) == found
    assert list(found) == sorted(found)
    assert all(found[path][0]["label"] == whole[path][0]["label"] for path in found)

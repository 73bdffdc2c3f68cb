"""The commands, on painted pictures and the bundled network."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from deepscope.command import NotKept, perform
from deepscope.commands.transfer_fit import TransferFit
from deepscope.commands.transfer_improve import TransferImprove
from deepscope.commands.transfer_predict import TransferPredict
from deepscope.commands.transfer_table import TransferTable
from deepscope.errors import DeepscopeError, SettingError
from deepscope.models import VisionModel, load_model
from deepscope.results import Curves, Heatmap, ImageGrid, Note, Result, Table
from deepscope.session import Session
from networks import tiny_model
from painted import paint_folder

FEATURES = ("efficientnet_lite0@blocks.1", "efficientnet_lite0@blocks.2:max")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return paint_folder(tmp_path / "data", train=6, test=3)


def table(data: Path, session: Session, **settings: object) -> Result:
    return TransferTable(str(data), **{"features": FEATURES, "size": 64, **settings}).run(session)  # pyright: ignore[reportArgumentType]


def test_table_compares_every_row(data: Path, session: Session) -> None:
    result = table(data, session, heads=("linear-svc", "ridge"))
    shown = result.blocks[0]
    assert isinstance(shown, Table)
    assert len(shown.rows) == 2 * 2 * 2
    name = "efficientnet_lite0/blocks.1/l2"
    low, value, high = (result.metrics[f"accuracy/{name}{end}"] for end in ("/low", "", "/high"))
    assert low <= value <= high
    assert "accuracy/efficientnet_lite0/blocks.2:max/raw/ridge" in result.metrics
    validations = {key: v for key, v in result.metrics.items() if key.startswith("validation/")}
    best = max(validations, key=lambda key: validations[key]).removeprefix("validation/")
    assert validations[f"validation/{best}"] == max(validations.values())
    marked = next(row for n, row in enumerate(shown.rows) if n == shown.mark)
    assert marked[5] == max(validations.values())
    assert marked[9] is None  # no p against itself


def test_copies_across_the_split_are_found_and_left_out(data: Path, session: Session) -> None:
    shutil.copy(data / "train" / "dots" / "0.png", data / "test" / "dots" / "copy.png")
    result = table(data, session)
    assert result.metrics["copies-across-splits"] == 1
    assert "accuracy-without-copies/efficientnet_lite0/blocks.1/l2" in result.metrics


def test_repeated_splits_have_students_interval(data: Path, session: Session) -> None:
    one, again = (table(data, session, splits=3, normalisations=("l2",)) for _ in range(2))
    assert one.metrics == again.metrics
    other = table(data, replace(session, seed=1), splits=3, normalisations=("l2",))
    assert set(other.metrics) == set(one.metrics)


def test_undivided_data_is_divided(data: Path, session: Session) -> None:
    result = table(data / "train", session, normalisations=("l2",), test_fraction=0.5)
    assert "9 training and 9 test images" in result.title


def test_rows_without_weights_are_not_measured_beside_the_published_figure(data: Path, session: Session) -> None:
    result = TransferTable(str(data), size=64, normalisations=("l2",)).run(session)
    shown = result.blocks[0]
    assert isinstance(shown, Table)
    relu6 = next(row for row in shown.rows if row[0] == "vgg16@relu6")
    headings = [column.name for column in shown.columns]
    assert relu6[headings.index("test accuracy")] is None
    assert relu6[headings.index("published")] == 0.912
    assert result.metrics["accuracy/efficientnet_lite0/global_pool/l2"] > 0.4


def test_a_full_disk_loses_the_model_but_not_its_accuracy(
    data: Path, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = TransferFit(str(data), features=FEATURES[1], size=64)
    whole = command.run(replace(session, out=tmp_path / "whole"))

    def full(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save", full)
    with pytest.raises(NotKept, match="No space left on device") as caught:
        perform(command, replace(session, out=tmp_path / "model"), typed="deepscope")
    result = caught.value.result
    assert result.metrics == whole.metrics
    assert result.provenance.command == "deepscope" and result.provenance.data == whole.provenance.data
    assert "Saved" not in {block.title for block in result.blocks}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": "svc"}, "no head is named 'svc'"),
        ({"head": "nearest-neighbours"}, "head nearest-neighbours cannot be saved.*linear-svc"),
        ({"features": "MODEL"}, "no architecture by name"),
        ({"features": "efficientnet_lite0+squeezenet1_0"}, "different sizes"),
        ({"normalisation": "l3"}, "no normalisation"),
        ({"size": 15}, "16 and 4096"),
    ],
)
def test_settings_that_fit_no_model_are_refused_before_features_are_extracted(
    data: Path,
    session: Session,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    message: str,
) -> None:
    def opened(name: str, _: Session) -> VisionModel:
        model = tiny_model(size=16 + 8 * ("net1" in name))
        return replace(model, name=name, architecture="" if name == "MODEL" else "timm:x")

    def extracted(*_: object) -> None:
        raise AssertionError("features were extracted")

    monkeypatch.setattr("deepscope.transfer.recipe.load_model", opened)
    monkeypatch.setattr("deepscope.transfer.recipe_features.extract", extracted)
    with pytest.raises(DeepscopeError, match=message):
        TransferFit(str(data), **settings).run(replace(session, out=data.parent / "out"))


@pytest.mark.parametrize("share", [0, 1])
@pytest.mark.parametrize("command", [TransferFit, TransferTable, TransferImprove])
def test_a_share_of_nothing_or_all_is_no_test_fraction(command: type[Any], share: float) -> None:
    with pytest.raises(SettingError, match=f"test_fraction {share} is out of range: it must be above 0 and below 1"):
        command("photos", test_fraction=share)


def test_a_fit_retires_the_export_and_the_training_of_the_earlier_one(
    data: Path, session: Session, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    command = TransferFit(str(data), features=FEATURES[1], size=64)
    fingerprint = load_model(out, session).fingerprint if command.run(replace(session, out=out)) else ""
    (out / "model.onnx").write_bytes(b"...fingerprint" + fingerprint.encode())
    (out / "training").mkdir()
    for name in ("checkpoint.pt", "history.jsonl"):
        (out / "training" / name).touch()
    (out / "mine.txt").touch()
    replace(command, normalisation="raw").run(replace(session, out=out))
    assert sorted(path.name for path in out.iterdir()) == ["mine.txt", "model.json", "weights.safetensors"]
    (out / "model.onnx").write_bytes(b"of another program")
    (out / "training").mkdir()
    (out / "training" / "mine.txt").touch()
    command.run(replace(session, out=out))
    assert (out / "model.onnx").exists() and (out / "training" / "mine.txt").exists()


def test_fit_and_predict(data: Path, session: Session, tmp_path: Path) -> None:
    out = tmp_path / "model"
    fit = TransferFit(str(data), features=FEATURES[1], size=64).run(replace(session, out=out))
    kinds = [type(block) for block in fit.blocks]
    assert {Table, Heatmap, Curves} <= set(kinds)
    assert (ImageGrid in kinds) == (fit.metrics["accuracy"] < 1)
    assert 0 <= fit.metrics["expected-calibration-error"] <= 1
    assert "accuracy/shots/1" in fit.metrics
    accuracy = next(block.text for block in fit.blocks if isinstance(block, Note) and block.title == "Accuracy")
    for end in ("", "/low", "/high"):
        assert f"{100 * fit.metrics[f'accuracy{end}']:.1f} %" in accuracy
    said = TransferPredict(out, (data / "test",)).run(session)
    shown = said.blocks[0]
    assert isinstance(shown, Table)
    right = sum(Path(str(row[0])).parent.name == row[1] for row in shown.rows) / len(shown.rows)
    assert right == pytest.approx(fit.metrics["accuracy"])
    assert torch.allclose(
        torch.from_numpy(said.arrays["probabilities"]), torch.from_numpy(fit.arrays["probabilities"]), atol=1e-4
    )
    assert load_model(out, session).categories == ("dots", "plain", "stripes")


def _one_class(data: Path) -> None:
    for part in ("train", "test"):
        for name in ("dots", "plain"):
            shutil.rmtree(data / part / name)


def _empty(data: Path) -> None:
    shutil.rmtree(data / "train" / "dots")
    (data / "train" / "dots").mkdir()


def _all_bad(data: Path) -> None:
    for path in data.rglob("*.png"):
        path.write_bytes(b"no image")


def test_a_training_image_per_class_is_enough(data: Path, session: Session, tmp_path: Path) -> None:
    """The settings of the heads are their defaults then: cross-validation would need two."""
    for folder in (data / "train").iterdir():
        for path in sorted(folder.glob("*.png"))[1:]:
            path.unlink()
    result = table(data, session, heads=("linear-svc", "ridge"), normalisations=("l2",))
    assert "3 training and 9 test images" in result.title
    assert result.metrics["accuracy/efficientnet_lite0/blocks.1/l2"] > 1 / 3
    command = TransferFit(str(data), features=FEATURES[1], size=64)
    fitted = command.run(replace(session, out=tmp_path / "model"))
    assert "there was no cross-validation" in " ".join(block.text for block in fitted.blocks if isinstance(block, Note))
    assert load_model(tmp_path / "model", session).categories == ("dots", "plain", "stripes")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_one_class, "at least two, and has"),
        (_empty, "'dots' in .* has no image"),
        (lambda data: shutil.rmtree(data / "test" / "plain"), "'plain' is in .* but not in"),
        (_all_bad, "no image could be read"),
    ],
)
def test_bad_data_is_one_line(data: Path, session: Session, damage: object, message: str) -> None:
    assert callable(damage)
    damage(data)
    with pytest.raises(DeepscopeError, match=message) as caught:
        table(data, session)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": ("efficientnet_lite0@blocks.77",)}, "no layer is named"),
        ({"features": ("no_such_model",)}, "no model is named"),
        ({"features": ()}, "nothing to compare"),
        ({"heads": ("forest",)}, "no head is named"),
        ({"splits": 0}, "splits 0 is out of range: it must be at least 1"),
        ({"size": 3}, "must be a side between"),
        ({"scales": ()}, "between 0.1 and 10"),
    ],
)
def test_bad_settings_are_one_line(data: Path, session: Session, settings: dict[str, object], message: str) -> None:
    with pytest.raises(DeepscopeError, match=message):
        table(data, session, **settings)

"""The workflows from Python: data in any form, models as objects, data that shows and saves itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from deepscope import render
from deepscope.adaptation import Dann, Recipe, SourceOnly, adapt, evaluate, load_domains
from deepscope.commands.adapt_fit import AdaptFit
from deepscope.data import ClassFolders, load_any
from deepscope.errors import DataError, DeepscopeError, SettingError
from deepscope.models import Preprocessing, VisionModel, load_model
from deepscope.models import digits as digit_model
from deepscope.session import Session
from networks import tiny_model

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
SHORT = Recipe(epochs=3)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(quiet=True, cache=tmp_path / "cache")


@pytest.fixture
def model() -> VisionModel:
    torch.manual_seed(0)
    return VisionModel("tiny", digit_model.network(), Preprocessing(28, 28), architecture="deepscope:digits")


def photographs(folder: Path, *, dim: float = 1.0) -> Path:
    rng = np.random.default_rng(round(dim * 10))
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(8):
            pixels = np.clip(np.array(colour) + rng.integers(-40, 40, (28, 28, 3)), 0, 255) * dim
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


def forms(folder: Path, model: VisionModel) -> dict[str, Any]:
    data = ClassFolders.read(folder)
    paths, labels = data.train.paths, [data.classes[label] for label in data.train.labels]
    return {
        "folder": folder,
        "folders": data,
        "paths": list(zip(paths, labels, strict=True)),
        "arrays": [(np.asarray(Image.open(path)), label) for path, label in zip(paths, labels, strict=True)],
        "tensors": list(zip(model.read(paths), labels, strict=True)),
    }


def test_every_form_of_data_gives_the_same_source(tmp_path: Path, model: VisionModel, session: Session) -> None:
    source, target = photographs(tmp_path / "source"), photographs(tmp_path / "target", dim=0.6)
    wanted = load_domains(source, target, model, session)
    for name, each in forms(source, model).items():
        found = load_domains(each, target, model, session)
        assert torch.allclose(found.source.inputs, wanted.source.inputs, atol=1e-5), name
        assert torch.equal(found.source.labels, wanted.source.labels)
        assert torch.equal(found.target, wanted.target)
    for name, each in forms(target, model).items():  # in the order of digests, which differ from form to form
        found = load_domains(source, each, model, session)
        assert found.target_test is not None and len(found.target) == len(wanted.target), name
    images = [np.asarray(Image.open(path)) for path in sorted(target.rglob("*.png"))]
    unlabelled = load_domains(source, images, model, session)
    assert unlabelled.target_test is None and len(unlabelled.target) == 24
    assert "cannot be measured" in unlabelled.remarks[0]


def test_adapting_is_what_the_command_does(
    tmp_path: Path, model: VisionModel, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = photographs(tmp_path / "source"), photographs(tmp_path / "target", dim=0.6)
    monkeypatch.setattr("deepscope.adaptation.loading.load_model", lambda name, session: model)
    command = AdaptFit(source=str(source), target=str(target), method=Dann(), epochs=3)
    typed = command.run(Session(quiet=True, cache=session.cache, out=tmp_path / "typed"))
    adapted = adapt(source, target, method="dann", recipe=SHORT, model=model, session=session)
    assert adapted.result().metrics == typed.metrics
    frame = adapted.to_pandas()
    assert frame["accuracy"].tolist() == [typed.metrics[f"accuracy/{domain}"] for domain in frame["domain"]]
    assert adapted.model.categories == ("blue", "green", "red")
    paths = sorted(target.rglob("*.png"))
    with torch.no_grad():
        wanted = load_model(tmp_path / "typed", session)(model.read(paths))
        assert torch.allclose(adapted.model(model.read(paths)), wanted, atol=1e-4)
    assert adapted.saved is None and adapted.save_model(tmp_path / "model").model.name == str(tmp_path / "model")
    assert render.load(adapted.save(tmp_path / "result")).metrics == typed.metrics
    assert "Adapted from" in adapted._repr_html_()


@pytest.mark.usefixtures("small_extracts")
def test_digits_that_were_read_are_those_by_name(session: Session) -> None:
    read = [load_any(name, session) for name in ("mnist-extract", "mnist-m-extract")]
    one = adapt(*read, method=SourceOnly(), recipe=Recipe(epochs=1), session=session)  # type: ignore[arg-type]
    other = adapt("mnist-extract", "mnist-m-extract", method="source-only", recipe=Recipe(epochs=1), session=session)
    assert one.result().metrics == other.result().metrics
    assert set(one.accuracies) == {
        f"accuracy/{name}{end}" for name in ("source", "target") for end in ("", "/one-view")
    }
    assert one.epoch == 1
    digits = one.model
    found = evaluate(digits, source=read[0], target=read[1], session=session)  # type: ignore[arg-type]
    by_name = evaluate(digits, source="mnist-extract", target="mnist-m-extract", batch_size=7, session=session)
    for each, same in zip(found.domains, by_name.domains, strict=True):
        assert torch.equal(each.predicted, same.predicted) and torch.equal(each.labels, same.labels)


def test_evaluation_of_a_classifier_on_labelled_images_in_any_form(tmp_path: Path, session: Session) -> None:
    colours = VisionModel("colours", tiny_model(classes=3, size=28).network, Preprocessing(28, 28), tuple(COLOURS))
    folder = photographs(tmp_path / "target")
    wanted = evaluate(colours, target=folder, session=session)
    with torch.no_grad():
        paths = wanted.domains[0].paths
        assert torch.equal(wanted.domains[0].predicted, colours(colours.read(paths)).argmax(1))
    assert [colours.categories[label] for label in wanted.domains[0].labels] == [path.parent.name for path in paths]
    for name, each in forms(folder, colours).items():
        found = evaluate(colours, target=each, session=session)
        assert torch.equal(found.domains[0].predicted, wanted.domains[0].predicted), name
        assert found.domains[0].accuracy == wanted.domains[0].accuracy
    numbered = [(path, colours.category(path.parent.name)) for path in paths]  # the model's own numbers
    assert torch.equal(evaluate(colours, source=numbered, session=session).domains[0].labels, wanted.domains[0].labels)
    frame = wanted.to_pandas()
    assert frame["correct"].mean() == pytest.approx(wanted.result().metrics["accuracy/target"])
    assert render.load(wanted.save(tmp_path / "result")).metrics == wanted.result().metrics
    assert "in two domains" in wanted._repr_html_()


def test_unreadable_images_are_listed(tmp_path: Path, model: VisionModel, session: Session) -> None:
    source, target = photographs(tmp_path / "source"), photographs(tmp_path / "target", dim=0.6)
    (source / "red" / "0.png").write_bytes(b"no image")
    adapted = adapt(source, target, recipe=Recipe(epochs=1), model=model, session=session)
    assert [item.path for item in adapted.domains.skipped] == [str(source / "red" / "0.png")]
    assert "Skipped" in {block.title for block in adapted.result().blocks}


@pytest.mark.parametrize(
    ("call", "error", "field"),
    [
        (lambda f, m: adapt(f, f, model=m, recipe=Recipe(epochs=0)), SettingError, "epochs"),
        (lambda f, m: adapt(f, f, model=m, recipe=Recipe(batch_size=1)), SettingError, "batch_size"),
        (lambda f, m: adapt(f, f, model=m, tensorboard=True), SettingError, "tensorboard"),
        (lambda f, m: adapt(f, "mnist-extract", model=m), DataError, ""),
        (lambda f, m: adapt([np.zeros((9, 9, 3), np.uint8)] * 4, f, model=m), DataError, ""),
        (lambda f, m: adapt(f, f, model=m, method="dan"), DeepscopeError, ""),
        (lambda f, m: evaluate(tiny_model()), SettingError, "source"),
        (lambda f, m: evaluate(tiny_model(), target=f), DataError, ""),
        (lambda f, m: evaluate(tiny_model(), target=[np.zeros((9, 9, 3), np.uint8)]), DataError, ""),
    ],
)
def test_errors_are_typed(
    tmp_path: Path,
    model: VisionModel,
    call: Callable[[Path, VisionModel], object],
    error: type[DeepscopeError],
    field: str,
) -> None:
    with pytest.raises(error) as caught:
        call(photographs(tmp_path / "data"), model)
    assert getattr(caught.value, "setting", "") == field
    assert "--" not in str(caught.value)

"""From images and labels to a model, and the same answers on every way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.svm import LinearSVC

from deepscope import images
from deepscope.classification import classify
from deepscope.commands.transfer_export import TransferExport
from deepscope.data import ClassFolders
from deepscope.errors import DeepscopeError
from deepscope.inputs import read_photos
from deepscope.models import load_model
from deepscope.session import Session
from deepscope.transfer.classifier import ImageClassifier
from deepscope.transfer.fine_tuning import FineTuning
from deepscope.transfer.recipe import Block, Recipe
from networks import tiny_model
from painted import paint_folder


@pytest.fixture
def data(tmp_path: Path) -> ClassFolders:
    return ClassFolders.read(paint_folder(tmp_path / "data", train=8, test=4))


def names(data: ClassFolders, labels: np.ndarray) -> np.ndarray:
    return np.asarray(data.classes)[labels]


def test_scikit_learns_conventions(data: ClassFolders, session: Session) -> None:
    classifier: ImageClassifier = clone(ImageClassifier(size=64, flip=True, session=session))  # pyright: ignore
    assert data.test is not None
    assert classifier.fit(data.train.paths, names(data, data.train.labels)) is classifier
    assert classifier.classes_.tolist() == list(data.classes)
    assert classifier.score(data.test.paths, names(data, data.test.labels)) > 0.8
    probabilities = classifier.predict_proba(data.test.paths)
    assert probabilities.shape == (12, 3)
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert np.array_equal(classifier.predict(data.test.paths), classifier.classes_[probabilities.argmax(1)])


def test_saved_model_scikit_learn_and_onnx_agree(data: ClassFolders, session: Session, tmp_path: Path) -> None:
    assert data.test is not None
    features = "efficientnet_lite0@blocks.2:pyramid+efficientnet_lite0@blocks.4"
    classifier = ImageClassifier(features, normalisation="power", size=64, session=session)
    classifier.fit(data.train.paths, data.train.labels)
    model = classifier.save(tmp_path / "model")
    wanted = classifier.predict_proba(data.test.paths)
    answers = read_photos(load_model(tmp_path / "model", session), data.test.paths, session)
    assert np.abs(answers.probabilities.numpy() - wanted).max() < 1e-4
    assert np.array_equal(answers.probabilities.numpy().argmax(1), wanted.argmax(1))
    export = TransferExport(str(tmp_path / "model"), check=(data.root / "test",)).run(session)
    assert export.metrics["difference"] < 1e-4
    assert export.metrics["same-top-1"] == export.metrics["images"] == 12
    runner = onnxruntime.InferenceSession(str(tmp_path / "model" / "model.onnx"), providers=["CPUExecutionProvider"])
    found = runner.run(None, {"pixels": model.read(data.test.paths).numpy()})[0]
    assert np.abs(np.asarray(found) - wanted).max() < 1e-4
    assert np.array_equal(np.asarray(found).argmax(1), wanted.argmax(1))


def test_what_cannot_be_fitted_or_read_is_one_line(data: ClassFolders, session: Session, tmp_path: Path) -> None:
    paths, labels = list(data.train.paths), data.train.labels
    with pytest.raises(DeepscopeError, match="at least two classes"):
        ImageClassifier(size=64, session=session).fit(paths[:3], [0, 0, 0])
    for path in paths[:8]:
        path.write_bytes(b"no image")
    with pytest.raises(DeepscopeError, match="'dots' has no readable image"):
        ImageClassifier(size=64, session=session).fit(paths, names(data, labels))
    classifier = ImageClassifier(size=64, head="nearest-neighbours", session=session).fit(paths[8:], labels[8:])
    with pytest.raises(DeepscopeError, match=r"0\.png cannot be used"):
        classifier.predict([paths[8], paths[0]])
    with pytest.raises(DeepscopeError, match="not linear"):
        classifier.save(tmp_path / "model")


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("a", (Block("a"),)),
        ("a@b.c", (Block("a", "b.c"),)),
        ("a@b:max+timm:c.d@e", (Block("a", "b", "max"), Block("timm:c.d", "e"))),
        ("dir/my-model@x:pyramid", (Block("dir/my-model", "x", "pyramid"),)),
    ],
)
def test_recipes_are_read_and_written(text: str, blocks: tuple[Block, ...]) -> None:
    assert Recipe.parse(text).blocks == blocks
    assert str(Recipe.parse(text)) == text


@pytest.mark.parametrize("text", ["", "a+", "@b", "a@b:meen"])
def test_bad_recipes_are_one_line(text: str) -> None:
    with pytest.raises(DeepscopeError):
        Recipe.parse(text)


@pytest.mark.real
def test_real_images_agree_with_scikit_learns_own_svm(home: Path, session: Session, tmp_path: Path) -> None:
    """SqueezeNet on two classes of 15-Scene: saved model against LinearSVC fitted by hand on plain features."""
    session = replace(session, home=home)
    scenes = [home / "data" / "15scene" / part / name for part in ("train", "test") for name in ("coast", "kitchen")]
    paths = [images.find([folder]).paths[:16] for folder in scenes]
    labels = np.repeat([0, 1], 16)
    classifier = ImageClassifier("squeezenet1_0", session=session).fit(paths[0] + paths[1], labels)
    model = classifier.save(tmp_path / "model")
    cost = float(classifier.fitted_.head.setting.removeprefix("C="))
    plain = load_model("squeezenet1_0", session)
    with torch.no_grad():
        train, test = (
            plain.activations(plain.read(part), ["features"])["features"].mean((2, 3))
            for part in (paths[0] + paths[1], paths[2] + paths[3])
        )
        logits = model(model.read(paths[2] + paths[3]))
    train, test = (torch.nn.functional.normalize(part).double().numpy() for part in (train, test))
    machine = LinearSVC(C=cost, max_iter=100_000, random_state=0).fit(train, labels)
    scores = machine.decision_function(test)
    found = (logits[:, 1] * classifier.fitted_.temperature).numpy()
    assert np.abs(found - scores).max() < 1e-3
    assert np.array_equal(logits.argmax(1).numpy(), machine.predict(test))


def fresh(classifier: ImageClassifier) -> ImageClassifier:
    made = clone(classifier)
    assert isinstance(made, ImageClassifier)
    return made


@pytest.fixture
def mine(session: Session) -> ImageClassifier:
    return ImageClassifier(tiny_model(size=16), session=session)


def test_every_form_of_images_gives_the_same_classifier(
    data: ClassFolders, mine: ImageClassifier, session: Session
) -> None:
    assert data.test is not None
    paths, labels = data.train.paths, names(data, data.train.labels)
    wanted = fresh(mine).fit(list(paths), labels).predict_proba(list(data.test.paths))
    pixels, tested = (tiny_model(size=16).read(part) for part in (paths, data.test.paths))
    fits = [
        fresh(mine).fit(data.root),  # its training images
        fresh(mine).fit(str(data.root / "train")),
        fresh(mine).fit(data),
        fresh(mine).fit(np.array([str(path) for path in paths]), labels),
        fresh(mine).fit([Image.open(path).convert("RGB") for path in paths], labels),
        fresh(mine).fit(list(zip(paths, labels, strict=True))),
        fresh(mine).fit(pixels, labels),
        fresh(mine).fit(list(zip(pixels, labels, strict=True))),
    ]
    for each in fits:
        assert each.classes_.tolist() == list(data.classes)
        assert np.allclose(each.predict_proba(list(data.test.paths)), wanted, atol=1e-5)
        assert np.allclose(each.predict_proba(tested), wanted, atol=1e-5)
    numbered = fresh(mine).fit(list(paths), data.train.labels + 7)
    assert numbered.classes_.tolist() == [7, 8, 9] and numbered.predict([paths[0]]).dtype.kind == "i"


def test_a_file_that_is_named_twice_is_predicted_twice_and_folders_are_scored(
    data: ClassFolders, mine: ImageClassifier
) -> None:
    assert data.test is not None
    mine.fit(data.root)
    first, last = data.test.paths[0], data.test.paths[-1]
    assert mine.predict([first, last, first]).tolist() == [mine.predict([path])[0] for path in (first, last, first)]
    wanted = mine.score(list(data.test.paths), names(data, data.test.labels))
    assert mine.score(data.root) == mine.score(data.root / "test") == wanted
    assert cross_val_score(mine, list(data.train.paths), data.train.labels, cv=2).shape == (2,)


def test_its_model_is_a_model_like_any_other(data: ClassFolders, mine: ImageClassifier, session: Session) -> None:
    assert data.test is not None
    mine.fit(data.root)
    found = classify(mine.model, data.test.paths, top=None, session=session)
    wanted = mine.predict_proba(list(data.test.paths))
    assert np.allclose(found.probabilities.numpy(), np.sort(wanted, 1)[:, ::-1], atol=1e-4)
    assert found.labels == mine.predict(list(data.test.paths)).tolist()
    assert mine.model is mine.model and mine.model.categories == data.classes
    before = mine.model
    assert mine.fit(list(data.test.paths), data.test.labels).model is not before
    with pytest.raises(NotFittedError):
        _ = fresh(mine).model


def test_a_tuned_classifier_of_tensors(data: ClassFolders, session: Session) -> None:
    settings = FineTuning(epochs=1, batch_size=8)
    mine = ImageClassifier(tiny_model(size=16), fine_tuning=settings, session=session)
    pixels = tiny_model(size=16).read(data.train.paths)
    mine.fit(pixels, data.train.labels)
    with torch.no_grad():
        logits = mine.model(pixels)
    assert torch.allclose(logits.softmax(1), torch.from_numpy(mine.predict_proba(pixels)), atol=1e-4)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ([np.zeros((8, 8, 3), np.uint8)] * 2, [0], "2 images and 1 labels"),
        ([np.zeros((8, 8, 3), np.uint8)] * 2, None, "image-0 has no label"),
        ([(np.zeros((8, 8, 3), np.uint8), "a")] * 2, None, "at least two classes"),
        ("no-such-folder", None, "no dataset or folder"),
    ],
)
def test_what_has_no_labels_is_refused(mine: ImageClassifier, images: Any, labels: Any, message: str) -> None:
    with pytest.raises(DeepscopeError, match=message):
        mine.fit(images, labels)

"""What the checks say of single images: right against plain PyTorch, and of the same images in every check."""

from __future__ import annotations

import dataclasses
import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

import deepscope
from deepscope.checks import held_out, image_map, labels
from deepscope.checks.accuracy import Accuracy
from deepscope.checks.check import Check
from deepscope.checks.explanations import Explanations
from deepscope.checks.image_map import ImageMap
from deepscope.checks.labels import Labels
from deepscope.checks.robustness import Robustness
from deepscope.errors import MissingExtraError
from deepscope.gallery import Encoded, Entry, Gallery
from deepscope.inputs import gather
from deepscope.models import VisionModel
from deepscope.presenters.gallery import Encoder
from deepscope.report.explorer import explored
from deepscope.report.keeping import Outcome
from deepscope.results import Note, Result
from deepscope.session import Session
from deepscope.statistics import Estimate
from deepscope.transfer.label_errors import LabelErrors
from networks import tiny_model
from painted import CLASSES, paint_folder

MODEL = dataclasses.replace(tiny_model(classes=5, size=32, seed=140), categories=(*CLASSES, "cat", "dog"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(paint_folder(tmp_path_factory.mktemp("data") / "pictures", train=4, test=6))


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (held_out, labels):
        monkeypatch.setattr(module, "load_model", lambda name, session: MODEL)


def _gallery(result: Result) -> Gallery:
    (found,) = (block for block in result.blocks if isinstance(block, Gallery))
    return found


def _pixels(encoded: Encoded, mode: str = "RGB") -> np.ndarray:
    with Image.open(io.BytesIO(encoded.tobytes())) as image:
        return np.asarray(image.convert(mode))


def _logits(model: VisionModel, file: str) -> Tensor:
    with torch.no_grad():
        return model(model.read([file]))[0]


def test_accuracy_knows_class_confidence_and_loss_of_every_image(data: str, session: Session) -> None:
    found = _gallery(Accuracy(data).run(session))
    assert len(found) == 18
    for entry in found.entries:
        logits = _logits(MODEL, entry.file)
        truth = MODEL.categories.index(Path(entry.file).parent.name)
        probabilities = logits.softmax(0)
        assert entry.truth == MODEL.categories[truth]
        assert entry.predicted == MODEL.categories[int(logits.argmax())]
        assert entry.right == (int(logits.argmax()) == truth)
        assert entry.values["confidence"] == pytest.approx(float(probabilities.max()), rel=1e-5)
        loss = functional.cross_entropy(logits[None], torch.tensor([truth]))
        assert entry.values["loss"] == pytest.approx(float(loss), rel=1e-4)
        ranked = probabilities.argsort(descending=True).tolist()
        assert [name for name, _ in entry.top] == [MODEL.categories[label] for label in ranked]
        levels = (MODEL.read([entry.file])[0] * 255).round().byte().permute(1, 2, 0)
        np.testing.assert_array_equal(_pixels(entry.picture), levels)


def test_no_more_than_the_limit_is_in_the_gallery(data: str, session: Session) -> None:
    assert len(_gallery(Accuracy(data, limit=7).run(session))) == 7


def test_explanations_know_faithfulness_and_maps(data: str, session: Session) -> None:
    methods = ("saliency", "grad-cam")
    result = Explanations(data, methods=methods, limit=8, steps=3, batch_size=4).run(session)
    found = _gallery(result)
    for name in methods:
        said = [entry.values.get(f"faithfulness/{name}", math.nan) for entry in found.entries]
        np.testing.assert_array_equal(said, result.arrays[f"faithfulness/{name}"])
    for entry in found.entries:
        pixels, label = MODEL.read([entry.file]), MODEL.categories.index(entry.predicted)
        pixels.requires_grad_(True)
        MODEL(pixels)[0, label].backward()
        assert pixels.grad is not None
        expected = pixels.grad[0].abs().amax(0).flatten()
        alpha = torch.from_numpy(_pixels(entry.maps["saliency"], "RGBA")[..., 3].copy()).float().flatten()
        clipped = expected.clamp(max=float(expected.quantile(0.99)))
        assert np.corrcoef(alpha, clipped)[0, 1] > 0.95
    contrasted = [entry for entry in found.entries if "grad-cam: predicted over true class" in entry.maps]
    assert contrasted and all(entry.right is False for entry in contrasted)


def test_robustness_knows_the_radius_and_the_example_of_every_image(data: str, session: Session) -> None:
    levels = (1, 16, 64)
    result = Robustness(data, levels=levels, steps=5).run(session)
    found = _gallery(result)
    radii = np.array([entry.values["radius"] for entry in found.entries])
    for level in levels:
        assert (radii > level).mean() == pytest.approx(result.metrics[f"accuracy/pgd/{level}"])
    assert (radii > 0).mean() == pytest.approx(result.metrics["accuracy/clean"])
    fooled = [entry for entry in found.entries if entry.adversarial]
    assert fooled and all(0 < entry.values["radius"] <= 64 for entry in fooled)
    for entry in fooled:
        assert entry.adversarial is not None
        before, after = (_pixels(one).astype(int) for one in (entry.picture, entry.adversarial.picture))
        assert 0 < np.abs(after - before).max() <= entry.values["radius"]
        shown = 127 + entry.adversarial.factor * (after - before)
        np.testing.assert_array_equal(_pixels(entry.adversarial.difference), shown.clip(0, 255))
        with torch.no_grad():
            pixels = torch.from_numpy(after).permute(2, 0, 1)[None] / 255
            probabilities = MODEL(pixels.float())[0].softmax(0)
        assert entry.adversarial.predicted == MODEL.categories[int(probabilities.argmax())] != entry.truth
        assert entry.adversarial.probability == pytest.approx(float(probabilities.max()), abs=1e-4)
    assert all(entry.adversarial is None for entry in found.entries if entry.values["radius"] in (0, math.inf))


@pytest.mark.parametrize("decides", [True, False])
def test_labels_know_what_is_suspect(
    data: str, session: Session, decides: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LabelErrors, "decides", decides)
    result = Labels(data).run(session)
    found = _gallery(result)
    assert len(found) == 30
    flagged = [bool(entry.flags) for entry in found.entries]
    np.testing.assert_array_equal(flagged, result.arrays["suspects"] & decides)
    given = result.arrays["probabilities"][np.arange(30), result.arrays["labels"]]
    np.testing.assert_allclose([entry.values["label-probability"] for entry in found.entries], given)
    assert not found.pictured


def _features(entries: list[Entry]) -> np.ndarray:
    """What the last layer of the tiny network reads, of norm 1."""
    seen: list[Tensor] = []
    handle = MODEL.network.get_submodule("7").register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    with torch.no_grad():
        MODEL(MODEL.read([entry.file for entry in entries]))
    handle.remove()
    return functional.normalize(seen[0]).double().numpy()


def test_the_map_knows_places_and_the_nearest_training_images(data: str, session: Session) -> None:
    from sklearn.manifold import trustworthiness

    result = ImageMap(data, near=2, projection="pca").run(session)
    found = _gallery(result)
    test, train = ([entry for entry in found.entries if entry.split == split] for split in ("test", "train"))
    assert (len(test), len(train)) == (18, 12)
    mine, theirs = _features(test), _features(train)
    distances = 1 - mine @ theirs.T
    for row, entry in enumerate(test):
        nearest = np.sort(distances[row])[:2]
        np.testing.assert_allclose([one.distance for one in entry.near], nearest, atol=1e-5)
        keys = [one.key for one in train]
        np.testing.assert_allclose([distances[row, keys.index(one.key)] for one in entry.near], nearest, atol=1e-5)
    everything = np.concatenate([mine, theirs])
    places = np.array([entry.place for entry in (*test, *train)])
    expected = trustworthiness(everything, places, n_neighbors=12)
    assert found.projection is not None
    assert found.projection.trustworthiness == result.metrics["trustworthiness"] == pytest.approx(expected, abs=1e-3)
    apart = 1 - everything @ everything.T + 9 * np.eye(30)
    names = [entry.truth for entry in (*test, *train)]
    same = [names[row] == names[nearest] for row, nearest in enumerate(apart.argmin(1)[:18])]
    assert result.metrics["nearest-alike"] == pytest.approx(np.mean(same))
    headline = ImageMap(data).headline(result)
    assert f"{result.metrics['trustworthiness']:.2f}" in headline.finding


def test_training_images_are_of_the_classes_that_the_model_names(
    data: str, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed = dataclasses.replace(MODEL, categories=tuple(name.upper() for name in MODEL.categories))
    plain = ImageMap(data, projection="pca").run(session)
    monkeypatch.setattr(held_out, "load_model", lambda name, session: renamed)
    result = ImageMap(data, projection="pca").run(session)
    assert {entry.truth for entry in _gallery(result).entries} == {name.upper() for name in CLASSES}
    assert result.metrics["nearest-alike"] == plain.metrics["nearest-alike"]


def test_images_that_are_alone_in_their_class_do_not_lower_the_share_of_like_neighbours() -> None:
    item = next(iter(gather(torch.rand(1, 3, 4, 4)).items))
    distances = torch.tensor([[0.0, 1, 5, 5, 5], [1, 0, 5, 5, 5], [5, 5, 0, 1, 2], [5, 5, 1, 0, 2], [5, 5, 2, 2, 0]])

    def alike(classes: str) -> Estimate | None:
        shown = [image_map._Placed(item, b"", name, evaluated=True) for name in classes]
        return image_map._alike(shown, distances)

    assert alike("abcde") is None
    some = alike("abccb")  # both c are near to the other; both b are nearer to others
    assert some is not None and some.value == 0.5


def test_a_map_of_too_few_images_is_not_drawn(data: str, session: Session) -> None:
    check = ImageMap(data, limit=4, training=0)
    result = check.run(session)
    (note,) = (block for block in result.blocks if isinstance(block, Note))
    assert note.text == "4 images are too few for a map: give at least 10."
    assert check.headline(result).estimate is None


def test_umap_says_which_extra_it_needs(data: str, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "umap", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'deepscope\[umap\]'"):
        ImageMap(data, projection="umap").run(session)


def test_all_checks_speak_of_the_same_images(data: str, session: Session) -> None:
    checks: list[Check] = [
        Accuracy(data),
        ImageMap(data, projection="pca"),
        Explanations(data, methods=("saliency",), limit=6, steps=2),
        Robustness(data, levels=(16,), steps=2),
        Labels(data),
    ]
    found = explored([Outcome(check, check.run(session)) for check in checks])
    assert found is not None
    test = [entry for entry in found.entries if entry.predicted]
    assert (len(found), len(test)) == (30, 18)
    for entry in test:
        assert {"confidence", "loss", "radius", "label-probability"} <= entry.values.keys()
        assert entry.place and entry.near and entry.split == "test"
    assert sum("faithfulness/saliency" in entry.values for entry in test) == 6
    assert [one.name for one in found.measured] == [
        *("confidence", "loss", "faithfulness/saliency", "radius", "label-probability")
    ]


def test_images_from_memory_are_the_same_ones_in_every_check(data: str, session: Session) -> None:
    def pairs(part: str) -> list[tuple[Image.Image, str]]:
        return [(Image.open(path).convert("RGB"), path.parent.name) for path in sorted(Path(data, part).rglob("*.png"))]

    model = dataclasses.replace(MODEL, categories=(*CLASSES, "cat", "dog"))
    audit = deepscope.audit(
        model, pairs("test"), train=pairs("train"), checks=["accuracy", "image-map"], session=session
    )
    found = explored(audit.outcomes)
    assert found is not None
    assert [entry.split for entry in found.entries] == ["test"] * 18 + ["train"] * 12
    assert all(entry.predicted and entry.near for entry in found.entries[:18])
    page = audit.page()
    assert 'class="explorer"' in page and "deepscopeExplorer.start" in page


@pytest.mark.parametrize(("count", "most"), [(100, 1.2), (500, 2.0), (2000, 3.0)])
def test_pictures_of_photographs_fit_into_the_page_together(count: int, most: float) -> None:
    from sklearn.datasets import load_sample_image

    photo = torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1)
    rng, encode = np.random.default_rng(0), Encoder(count)
    crops = [(int(rng.integers(0, 427 - 224)), int(rng.integers(0, 640 - 224))) for _ in range(20)]
    mean = np.mean([len(encode(photo[:, y : y + 224, x : x + 224])) for y, x in crops])
    assert mean * count <= most * 2**20


def test_nothing_to_see_is_no_explorer(data: str, session: Session) -> None:
    check = Labels(data)
    assert explored([Outcome(check, check.run(session))]) is None

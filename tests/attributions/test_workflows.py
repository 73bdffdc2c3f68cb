"""`explain`, `compare` and `evaluate` from Python: a module that a person holds, and images in any form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from deepscope.attributions import GradCAM, Saliency, SmoothGrad, compare, evaluate, explain, labels
from deepscope.attributions.faithfulness import Insertion, Roughness
from deepscope.errors import DataError, DeepscopeError, FileError, ModelError, SettingError, UnsupportedError
from deepscope.models import Preprocessing, VisionModel
from deepscope.session import Session
from networks import linear_model, tiny_model

SIDE = 24
NAMES = ("snail", "wombat")
"""The folders, in the order in which they are read."""


@pytest.fixture
def model() -> VisionModel:
    return tiny_model(size=SIDE)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(quiet=True, cache=tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One image of each of two classes, in folders named by it, of the size that the model takes."""
    rng = np.random.default_rng(0)
    for label in NAMES:
        (tmp_path / "photos" / label).mkdir(parents=True)
        pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{label}.png")
    return tmp_path / "photos"


def paths(folder: Path) -> list[Path]:
    return [folder / name / f"{name}.png" for name in NAMES]


def arrays(folder: Path) -> list[Any]:
    return [np.asarray(Image.open(path)) for path in paths(folder)]


def tensor(folder: Path) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays(folder))).permute(0, 3, 1, 2).float() / 255


FORMS: dict[str, Callable[[Path], Any]] = {
    "folder": lambda folder: folder,
    "text": str,
    "paths": paths,
    "PIL": lambda folder: [(Image.open(path), name) for path, name in zip(paths(folder), NAMES)],
    "arrays": lambda folder: [(array, name) for array, name in zip(arrays(folder), NAMES)],
    "tensors": lambda folder: list(zip(tensor(folder), [3, 1])),
    "loader": lambda folder: DataLoader(list(zip(tensor(folder), [3, 1])), batch_size=2),  # type: ignore[arg-type]
    "generator": lambda folder: (pair for pair in zip(tensor(folder), NAMES)),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_same_images_in_any_form_give_the_same_numbers(
    form: Callable[[Path], Any], folder: Path, model: VisionModel, session: Session
) -> None:
    method = SmoothGrad(samples=2)
    expected, found = (explain(model, given, method, session=session) for given in (folder, form(folder)))
    assert torch.equal(found.maps, expected.maps)
    assert torch.equal(found.classes, expected.classes)
    assert torch.equal(found.probabilities, expected.probabilities)
    assert {NAMES[row] for row in found.rows.tolist()} == set(NAMES)


def test_maps_are_those_of_the_method_on_the_pixels(folder: Path, model: VisionModel) -> None:
    pixels = tensor(folder)
    found = explain(model, pixels, "saliency", target="hay")
    assert torch.equal(found.maps, Saliency()(model, pixels, torch.tensor([2, 2])))
    assert found.classes.tolist() == [2, 2]
    with torch.no_grad():
        expected = model(pixels).softmax(1)[:, 2]
    torch.testing.assert_close(found.probabilities, expected)


def test_without_a_class_the_true_and_the_predicted_one_are_explained(folder: Path, model: VisionModel) -> None:
    found = explain(model, folder, "saliency")
    with torch.no_grad():
        predicted = model(tensor(folder)).argmax(1).tolist()
    expected = [(0, 3), *([(0, predicted[0])] if predicted[0] != 3 else [])]
    expected += [(1, 1), *([(1, predicted[1])] if predicted[1] != 1 else [])]
    assert list(zip(found.rows.tolist(), found.classes.tolist())) == expected
    unlabelled = explain(model, tensor(folder), "saliency")
    assert unlabelled.classes.tolist() == predicted
    assert unlabelled.by_truth and len(unlabelled) == 2


def test_only_the_first_images_keep_their_pixels(folder: Path, model: VisionModel) -> None:
    found = explain(model, folder, "saliency", top=2, keep=1, batch_size=1)
    assert torch.equal(found.photos.pixels, tensor(folder)[:1])
    assert (len(found), len(found.maps), len(found.photos.logits)) == (2, 4, 2)
    assert len(explain(model, folder, "saliency", keep=0).photos.pixels) == 0


def test_the_seed_decides_what_is_drawn(folder: Path, model: VisionModel) -> None:
    first, again, other = (explain(model, folder, SmoothGrad(samples=1), seed=seed).maps for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_method_without_a_generator_takes_one_seeded_with_zero(folder: Path, model: VisionModel) -> None:
    pixels, target = tensor(folder), torch.tensor([0, 1])
    alone = SmoothGrad(samples=2)(model, pixels, target)
    assert torch.equal(alone, SmoothGrad(samples=2)(model, pixels, target, rng=torch.Generator().manual_seed(0)))


def test_compare_leaves_out_what_does_not_apply_and_says_why(session: Session) -> None:
    weights = torch.randn(3, 3 * 8 * 8, generator=torch.Generator().manual_seed(0))
    model, pixels = linear_model(weights, size=8), torch.rand(2, 3, 8, 8)
    found = compare(model, pixels, ["saliency", GradCAM(), "gradient-times-input"], session=session)
    assert list(found.maps) == ["saliency", "gradient-times-input"]
    assert "no feature map" in found.refused["grad-cam"]
    gradient = weights.view(3, 3, 8, 8)[found.target] / torch.tensor(model.preprocessing.std).view(3, 1, 1)
    torch.testing.assert_close(found.maps["saliency"], gradient.abs().amax(1))
    assert np.allclose(np.diag(found.agreement), 1)
    with pytest.raises(UnsupportedError, match="no method applies"):
        compare(model, pixels, GradCAM(), session=session)


def test_two_settings_of_one_method_stand_side_by_side(folder: Path, model: VisionModel, session: Session) -> None:
    methods = (SmoothGrad(samples=1), SmoothGrad(samples=2), Saliency())
    names = ["smooth-grad(samples=1)", "smooth-grad(samples=2)", "saliency"]
    assert labels(methods) == names
    found = compare(model, folder, methods, session=session)
    assert list(found.maps) == names
    alone = explain(model, tensor(folder), methods[1], session=session)  # of the predicted class
    assert torch.equal(found.maps[names[1]], alone.maps)
    measured = evaluate(model, folder, methods, measures="roughness", sanity=1, session=session)
    assert list(measured.values) == [*names, "random"]
    assert measured.networks[0].sanity is not None and list(measured.networks[0].sanity.found) == names


def test_measures_are_those_of_each_image(folder: Path, model: VisionModel, session: Session) -> None:
    found = evaluate(
        model, folder, "grad-cam", measures=[Roughness(), Insertion(steps=4)], sanity=0, batch_size=1, session=session
    )
    pixels = tensor(folder)
    with torch.no_grad():
        maps = GradCAM()(model, pixels, model(pixels).argmax(1))
    variation = maps.diff(dim=1).abs().sum((1, 2)) + maps.diff(dim=2).abs().sum((1, 2))
    np.testing.assert_allclose(found.values["grad-cam"]["roughness"], variation / maps.sum((1, 2)), rtol=1e-5)
    assert found.values["random"]["insertion"].shape == (2,)
    assert found.networks[0].sanity is None


def test_a_generator_can_be_measured_on_two_networks(folder: Path, model: VisionModel, session: Session) -> None:
    other = tiny_model(size=SIDE, seed=1)
    found, listed = (
        evaluate(model, given, "saliency", measures="roughness", against=other, sanity=0, session=session)
        for given in ((image for image in tensor(folder)), tensor(folder))
    )
    for one, same in zip(found.networks, listed.networks, strict=True):
        np.testing.assert_array_equal(one.values["saliency"]["roughness"], same.values["saliency"]["roughness"])
    assert [network.model for network in found.networks] == [model, other]


@pytest.mark.parametrize("workflow", [explain, compare, evaluate], ids=lambda workflow: workflow.__name__)
def test_data_shows_itself_saves_itself_and_becomes_a_table(
    workflow: Callable[..., Any], folder: Path, model: VisionModel, session: Session, tmp_path: Path
) -> None:
    quick: dict[str, Any] = {"measures": "roughness", "sanity": 1} if workflow is evaluate else {}
    names = "grad-cam" if workflow is explain else ["saliency", "grad-cam"]
    found = workflow(model, folder, names, session=session, **quick)
    frame = found.to_pandas()
    rows = {explain: len(getattr(found, "maps", ())), compare: 1, evaluate: 3 * 2}[workflow]
    assert len(frame) == rows
    assert (found.save(tmp_path / "out") / "result.json").is_file()
    assert "<" in found._repr_html_()
    found.show()


FEATURES = VisionModel("features", torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3)), Preprocessing(resize=8, crop=8))


@pytest.mark.parametrize(
    ("call", "kind", "fields"),
    [
        (lambda m, x: explain(m, x, target=0, top=2), SettingError, {"setting": "target"}),
        (lambda m, x: explain(m, x, top=9), SettingError, {"setting": "top", "got": 9}),
        (lambda m, x: explain(m, x, batch_size=0), SettingError, {"setting": "batch_size"}),
        (lambda m, x: compare(m, x, limit=0), SettingError, {"setting": "limit"}),
        (lambda m, x: evaluate(m, x, sanity=-1), SettingError, {"setting": "sanity", "got": -1}),
        (lambda m, x: evaluate(m, x, limit=0), SettingError, {"setting": "limit"}),
        (lambda m, x: evaluate(m, x, boxes="nowhere.csv"), FileError, {"path": Path("nowhere.csv")}),
        (lambda m, x: explain(m, []), DataError, {}),
        (lambda m, x: explain(m, [x[0], x[0, :, :9]]), DataError, {}),
        (lambda m, x: explain(m, x, GradCAM("5")), SettingError, {"setting": "layer"}),
        (lambda m, x: explain(FEATURES, x), ModelError, {}),
        (lambda m, x: explain(m, x, "salience"), DeepscopeError, {}),
    ],
)
def test_what_cannot_be_done_is_a_typed_error(
    call: Callable[[VisionModel, torch.Tensor], object],
    kind: type[DeepscopeError],
    fields: dict[str, object],
    model: VisionModel,
) -> None:
    with pytest.raises(kind) as caught:
        call(model, torch.rand(2, 3, SIDE, SIDE))
    assert {name: getattr(caught.value, name) for name in fields} == fields
    assert "--" not in str(caught.value)


def test_boxes_come_from_a_file_or_from_python(folder: Path, model: VisionModel, session: Session) -> None:
    """The same boxes give the same pointing, whether the images are files, arrays or pixels."""
    table = folder.parent / "boxes.csv"
    boxes = {"snail": (0, 0, 12, 24), "wombat": (5, 3, 20, 15)}
    rows = [f"{name}.png,{','.join(map(str, box))}" for name, box in boxes.items()]
    table.write_text("\n".join(["file,left,top,right,bottom", *rows]))

    def pointing(images: Any, given: Any) -> list[float]:
        found = evaluate(model, images, "saliency", measures=["roughness"], boxes=given, sanity=0, session=session)
        return found.values["saliency"]["energy-pointing"].tolist()

    expected = pointing(folder, table)
    assert len(set(expected)) == 2 and all(0 < value < 1 for value in expected)
    assert pointing(folder, {f"{name}.png": [box] for name, box in boxes.items()}) == expected
    numbered = {f"image-{row}": [boxes[name]] for row, name in enumerate(NAMES)}
    for images in (arrays(folder), tensor(folder)):
        assert pointing(images, numbered) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ({"snail.png": [(0, 0, 5)]}, r"\(left, top, right, bottom\) .* for snail.png"),
        ({"snail.png": [(0, 0, 5, float("nan"))]}, "finite"),
        ({"snail.png": (0, 0, 5, 5)}, "a list of boxes for snail.png"),
        ({"other.png": [(0, 0, 5, 5)]}, "these are snail.png, wombat.png"),
    ],
)
def test_boxes_that_are_none_are_refused(boxes: Any, words: str, folder: Path, model: VisionModel) -> None:
    with pytest.raises(SettingError, match=words) as caught:
        evaluate(model, folder, "saliency", boxes=boxes, sanity=0)
    assert caught.value.setting == "boxes"

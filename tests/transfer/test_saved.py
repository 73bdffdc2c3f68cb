"""A saved classifier: the same numbers, opened anywhere; damaged ones are refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from deepscope import render
from deepscope.errors import DeepscopeError
from deepscope.files import sha256
from deepscope.models import Preprocessing, VisionModel, load_model
from deepscope.models.classifier import Backbone, Classifier, Normalisation, NormalisationKind, View
from deepscope.models.saved import BackboneOrigin, save
from deepscope.results import Result
from deepscope.session import Session
from kills import every_kill

KINDS: list[NormalisationKind] = ["raw", "l2", "power", "standard", "whiten"]
ORIGIN = BackboneOrigin("squeeze", "torchvision:squeezenet1_1", 7)


def made(views: tuple[View, ...] = (View(),)) -> Classifier:
    """Two backbones of random weights, all kinds of normalisation, random statistics."""
    torch.manual_seed(0)
    networks = [torchvision.models.squeezenet1_1(weights=None, num_classes=7).eval() for _ in range(2)]
    layers = [[("features.3", "mean"), ("features", "pyramid")], [("features", "mean"), ("classifier", "flatten")]]
    means = [(0.5, 0.4, 0.3), (0.1, 0.2, 0.3)]
    backbones = [
        Backbone(network, mean, (0.2, 0.3, 0.4), layer, views)  # pyright: ignore[reportArgumentType]
        for network, mean, layer in zip(networks, means, layers, strict=True)
    ]
    vectors = [v for backbone in backbones for v in backbone(torch.rand(6, 3, 64, 64))]
    normalisations = [Normalisation.fit(kind, vector.detach()) for kind, vector in zip(KINDS[1:], vectors, strict=True)]
    width = sum(normalise(v).shape[1] for normalise, v in zip(normalisations, vectors, strict=True))
    return Classifier(backbones, normalisations, nn.Linear(width, 3)).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "model", made(), [ORIGIN, ORIGIN], Preprocessing(70, 64), ["cat", "dog", "eel"])
    return tmp_path / "model"


def test_a_view_moves_repeats_the_border_and_inverts() -> None:
    pixels = torch.arange(12.0).view(1, 1, 3, 4)
    moved = torch.tensor([[1.0, 2, 3, 3], [1, 2, 3, 3], [5, 6, 7, 7]])
    assert torch.equal(View(down=1, right=-1)(pixels)[0, 0], moved)
    assert torch.equal(View(right=1, negative=True)(pixels)[0, 0, 0], 1 - torch.tensor([0.0, 0, 1, 2]))
    assert View().key == {"mirrored": False, "scale": 1.0}
    assert View(right=1, negative=True).key == {"mirrored": False, "scale": 1.0, "right": 1, "negative": True}


def test_a_view_from_outside_moves_no_further_than_images_are_wide(folder: Path, session: Session) -> None:
    about = json.loads((folder / "model.json").read_text())
    about["backbones"][0]["views"] = [{"mirrored": False, "scale": 1.0, "down": 10**6}]
    (folder / "model.json").write_text(json.dumps(about))
    with pytest.raises(DeepscopeError, match="is 1000000, not -64 to 64"):
        load_model(folder, session)


@pytest.mark.parametrize(
    "views",
    [
        (View(),),
        (View(), View(mirrored=True), View(scale=1.25), View(scale=0.75)),
        (View(), View(down=2, right=-1), View(negative=True)),
    ],
)
def test_opens_as_it_was_saved(tmp_path: Path, session: Session, views: tuple[View, ...]) -> None:
    classifier = made(views)
    save(tmp_path / "model", classifier, [ORIGIN, ORIGIN], Preprocessing(70, 64), ["cat", "dog", "eel"])
    model = load_model(tmp_path / "model", session)
    pixels = torch.rand(4, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(pixels), classifier(pixels))
    assert model.categories == ("cat", "dog", "eel")
    assert model.category("dog") == 1
    assert model.preprocessing.size == (64, 64)
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"model.json", "weights.safetensors"}


def test_is_differentiable_and_its_inside_can_be_read(folder: Path, session: Session) -> None:
    model = load_model(folder, session)
    pixels = torch.rand(2, 3, 64, 64, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(pixels).logsumexp(1).sum(), pixels)
    assert gradient.isfinite().all()
    assert (gradient != 0).any()
    black = torch.zeros(1, 3, 64, 64, requires_grad=True)  # where norms and roots are hardest
    (gradient,) = torch.autograd.grad(model(black).sum(), black)
    assert gradient.isfinite().all()
    layers = ["backbones.0.network.features.3", "backbones.1.network.features", "head"]
    found = model.activations(pixels, layers)
    assert torch.equal(found["head"], model(pixels))
    first = model.activations(pixels, layers[:1])
    assert torch.equal(first[layers[0]], found[layers[0]])


def test_a_network_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeepscopeError, match="no architecture by name"):
        save(tmp_path / "m", made(), [BackboneOrigin("mine", "", None)] * 2, Preprocessing(), ["a", "b", "c"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"version": 2}, "newer deepscope"),
        ({"version": "1"}, "no classifier of deepscope"),
        ({"format": "something"}, "no classifier of deepscope"),
        ({"weights_sha256": "0" * 64}, "not the file that was saved"),
        ({"categories": ["cat", "dog"]}, "3 outputs for 2 categories"),
        ({"categories": ["cat", "dog", "cat"]}, "a category occurs twice"),
        ({"backbones": None}, "does not describe its weights"),
        ({"backbones": []}, "4 normalisations for 0 layers"),
        ({"normalisations": ["evil", "l2", "l2", "l2"]}, "normalisation 'evil'"),
        ({"head": [3, 4]}, "does not describe its weights"),
        ({"preprocessing": {"resize": -1}}, "not a description of preprocessing"),
    ],
)
def test_a_changed_description_is_one_line(
    folder: Path, session: Session, damage: dict[str, object], message: str
) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    with pytest.raises(DeepscopeError, match=message) as caught:
        load_model(folder, session)(torch.rand(1, 3, 64, 64))
    assert "\n" not in str(caught.value)


def test_an_unknown_architecture_is_one_line(folder: Path, session: Session) -> None:
    path = folder / "model.json"
    description = json.loads(path.read_text())
    description["backbones"][0]["architecture"] = "torchvision:os.system"
    path.write_text(json.dumps(description))
    with pytest.raises(DeepscopeError, match="no model is named"):
        load_model(folder, session)


def test_tampered_and_missing_files_are_one_line(folder: Path, session: Session) -> None:
    weights = folder / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(DeepscopeError, match="not the file that was saved"):
        load_model(folder, session)
    weights.unlink()
    with pytest.raises(DeepscopeError, match=r"weights\.safetensors is missing"):
        load_model(folder, session)
    (folder / "model.json").write_text("{")
    with pytest.raises(DeepscopeError, match="cannot be read"):
        load_model(folder, session)
    (folder / "model.json").unlink()
    with pytest.raises(DeepscopeError, match="holds no saved classifier"):
        load_model(folder, session)


def test_weights_of_other_shapes_are_one_line(folder: Path, session: Session) -> None:
    weights = folder / "weights.safetensors"
    tensors = load_file(weights)
    tensors["head.weight"] = tensors["head.weight"][:, 1:].contiguous()
    save_file(tensors, weights)
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "weights_sha256": sha256(weights)}))
    with pytest.raises(DeepscopeError, match="does not describe its weights"):
        load_model(folder, session)


@pytest.mark.parametrize("kind", KINDS)
def test_normalisation_against_its_definition(kind: NormalisationKind) -> None:
    torch.manual_seed(0)
    train, test = torch.randn(50, 8).double() + 1, torch.randn(5, 8).double()
    normalise = Normalisation.fit(kind, train)
    found = normalise(test)
    if kind == "raw":
        wanted = test / (train**2).sum(1).mean() ** 0.5
    elif kind == "standard":
        wanted = (test - train.mean(0)) / train.std(0, correction=0) / 8**0.5
    elif kind == "whiten":
        unit, new = train / train.norm(dim=1, keepdim=True), test / test.norm(dim=1, keepdim=True)
        covariance = (unit - unit.mean(0)).T @ (unit - unit.mean(0))
        values, vectors = torch.linalg.eigh(covariance)
        wanted = (new - unit.mean(0)) @ vectors / (values + values.mean()) ** 0.5
        wanted /= wanted.norm(dim=1, keepdim=True)
        found, wanted = found @ found.T, wanted @ wanted.T  # components have no sign and no order
    else:
        rooted = test.sign() * test.abs().sqrt() if kind == "power" else test
        wanted = rooted / rooted.norm(dim=1, keepdim=True)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_vision_model_of_the_whole(folder: Path, session: Session) -> None:
    model = load_model(folder, session)
    assert isinstance(model, VisionModel)
    assert model.fingerprint == sha256(folder / "weights.safetensors")


def tiny(classes: int) -> Classifier:
    torch.manual_seed(classes)
    network = torchvision.models.squeezenet1_1(weights=None, num_classes=7).eval()
    backbone = Backbone(network, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), [("features.3", "mean")], (View(),))
    return Classifier([backbone], [Normalisation.fit("l2", torch.rand(4, 64))], nn.Linear(64, classes)).eval()


def test_a_save_that_is_killed_leaves_the_old_classifier_or_the_new_one(tmp_path: Path, session: Session) -> None:
    old, new, seen = tiny(2), tiny(3), []
    names = {2: ["a", "b"], 3: ["c", "d", "e"]}

    def put(classifier: Classifier) -> None:
        count = classifier.head.out_features
        save(tmp_path, classifier, [ORIGIN], Preprocessing(64, 64), names[count])

    def begin() -> None:
        put(old)
        render.save(Result("the fit", metrics={"classes": 2}), tmp_path)

    def look() -> None:
        model = load_model(tmp_path, session)
        count = len(model.categories)
        assert list(model.categories) == names[count]
        weight = model.network.get_parameter("head.weight")
        assert torch.equal(weight, {2: old, 3: new}[count].head.weight)
        if (tmp_path / "result.json").exists():
            assert count == 2, "the record of another fit"
        seen.append(count)

    every_kill(lambda: put(new), begin, look)
    assert set(seen) == {2, 3} and seen[-1] == 3
    assert {path.name for path in tmp_path.iterdir()} == {"model.json", "weights.safetensors"}


def test_a_full_disk_leaves_the_old_classifier(folder: Path, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr("safetensors.torch.save", full)
    with pytest.raises(DeepscopeError, match="No space left on device"):
        save(folder, tiny(2), [ORIGIN], Preprocessing(64, 64), ["a", "b"])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

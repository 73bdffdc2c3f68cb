"""Heads: what scores mean, and what is explained, attacked and maximised because of it."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

import deepscope as ds
import tiny_sources
from deepscope.attacks import PGD
from deepscope.classification import check_predictions
from deepscope.errors import DeepscopeError, ModelError, SettingError
from deepscope.models import VisionModel, load_model
from deepscope.session import Session
from deepscope.transfer import export

LABELS = ("red", "green", "blue")
TAKEN = ds.Preprocessing(16, 16, mean=(0.0,) * 3, std=(1.0,) * 3)


class Colours(nn.Module):
    """Each label's logit is 40 times how far the mean of its colour lies above 0.5; the closed form of the tests."""

    def __init__(self, ending: nn.Module | None = None, outputs: int = 3) -> None:
        super().__init__()
        self.look, self.ending, self.outputs = nn.Conv2d(3, 3, 1, bias=False), ending or nn.Identity(), outputs
        with torch.no_grad():
            self.look.weight.copy_(40 * torch.eye(3)[:, :, None, None])

    def forward(self, inputs: Tensor) -> Tensor:
        return self.ending((self.look(inputs) - 20).mean((2, 3))[:, : self.outputs])


def several(ending: nn.Module | None = None, **more: Any) -> VisionModel:
    return ds.wrap(Colours(ending), LABELS, preprocessing=TAKEN, head="multilabel", **more)


def single(ending: nn.Module | None = None, **more: Any) -> VisionModel:
    return ds.wrap(Colours(ending, outputs=1), preprocessing=TAKEN, head="binary", **more)


def plain(*means: float) -> Tensor:
    """(1, 3, 16, 16) of one colour."""
    return torch.tensor(means).view(1, 3, 1, 1).expand(1, 3, 16, 16).contiguous()


def noise(count: int = 3) -> Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("ending", [None, nn.Sigmoid()], ids=["logits", "sigmoid"])
def test_labels_have_independent_probabilities(ending: nn.Module | None) -> None:
    pixels = plain(0.52, 0.47, 0.55)
    wanted = (40 * (torch.tensor([[0.52, 0.47, 0.55]]) - 0.5)).sigmoid()
    model = several(ending)
    torch.testing.assert_close(model.probabilities(model(pixels)), wanted, atol=1e-5, rtol=0)
    assert ds.classify(model, pixels).predicted == [("blue", "red")]


def test_thresholds_decide_on_each_label() -> None:
    pixels = plain(0.52, 0.47, 0.55)  # probabilities 0.69, 0.23 and 0.88
    assert ds.classify(several(thresholds={"green": 0.2, "red": 0.7}), pixels).predicted == [("blue", "green")]
    assert ds.classify(several(thresholds=[0.9, 0.9, 0.9]), pixels).predicted == [()]
    assert ds.classify(several(thresholds=0.2), pixels).predicted == [("blue", "red", "green")]


@pytest.mark.parametrize(
    ("thresholds", "said"),
    [
        ({"pink": 0.5}, "is not a label"),
        ([0.5, 0.5], "one per label"),
        ("red=high", "must be a probability"),
        (1.5, "between 0 and 1"),
        ("nan", "between 0 and 1"),
        ([0.5, "x", 0.5], "must be numbers"),
    ],
)
def test_impossible_thresholds_are_refused(thresholds: Any, said: str) -> None:
    with pytest.raises(SettingError, match=said) as refused:
        several(thresholds=thresholds)
    assert refused.value.setting == "thresholds"


def test_thresholds_are_of_labels() -> None:
    with pytest.raises(SettingError, match="for multilabel and binary heads"):
        ds.wrap(Colours(), LABELS, preprocessing=TAKEN, thresholds=0.3)
    with pytest.raises(SettingError, match="must be softmax, multilabel"):
        ds.wrap(Colours(), LABELS, preprocessing=TAKEN, head="sigmoid")


def test_a_sigmoid_per_class_asks_for_the_head_and_a_softmax_refuses_it() -> None:
    with pytest.raises(SettingError, match="must be multilabel") as refused:
        ds.wrap(Colours(nn.Sigmoid()), LABELS, preprocessing=TAKEN)(plain(0.52, 0.47, 0.55))
    assert refused.value.setting == "head"
    with pytest.raises(SettingError, match="must be softmax"):
        several(nn.Softmax(1))(plain(0.52, 0.5, 0.49))


@pytest.mark.parametrize("steep", [0.02, 1.0, 50.0])
def test_a_black_box_of_labels_may_saturate(steep: float) -> None:
    """Where images show one label each, probabilities of 0 and 1 sum to 1 as those of a softmax do."""
    colours = Colours()

    def ask(pixels: Tensor) -> Any:
        return (steep * colours(pixels.detach()).detach()).sigmoid().numpy()

    pixels = torch.cat([plain(0.6, 0.4, 0.4), plain(0.4, 0.6, 0.4), plain(0.4, 0.4, 0.6)])
    model = ds.wrap(ask, LABELS, preprocessing=TAKEN, head="multilabel")
    wanted = torch.from_numpy(ask(pixels))
    for seen in (model, model.for_label(0)):
        found = seen.probabilities(seen(pixels))
        torch.testing.assert_close(found if seen is model else found[:, 1], wanted if seen is model else wanted[:, 0])


def test_a_black_box_of_classes_is_not_of_labels() -> None:
    colours = Colours()

    def ask(pixels: Tensor) -> Any:
        return (0.1 * colours(pixels).detach()).softmax(1).numpy()

    model = ds.wrap(ask, LABELS, preprocessing=TAKEN, head="multilabel")
    with pytest.raises(SettingError, match="must be softmax"):
        model(noise())


def test_one_logit_is_two_classes() -> None:
    model, pixels = single(), plain(0.52, 0, 0)
    assert model.categories == ("negative", "positive")
    positive = torch.tensor(0.8).sigmoid()
    torch.testing.assert_close(model.probabilities(model(pixels))[0], torch.stack([1 - positive, positive]))
    assert ds.wrap(Colours(outputs=1), preprocessing=TAKEN).head.kind == "binary"
    assert ds.classify(model, pixels).labels == ["positive"]
    assert ds.classify(single(thresholds=0.75), pixels).labels == ["negative"]
    found = single(thresholds=0.75)
    torch.testing.assert_close(found.probabilities(found(pixels))[0, 1], positive)


@pytest.mark.parametrize("ending", [None, nn.Sigmoid()], ids=["logits", "sigmoid"])
def test_both_classes_of_one_logit_are_explained(ending: nn.Module | None) -> None:
    """The negative class's score is the negative of the logit: its gradient is not zero."""
    model, pixels = single(ending), noise()
    for target, sign in ((1, 1), (0, -1)):
        maps = ds.explain(model, pixels, ds.attributions.GradientTimesInput(), target=target).maps
        wanted = torch.zeros_like(pixels)
        wanted[:, 0] = sign * 40 / 256 * pixels[:, 0]
        torch.testing.assert_close(maps, wanted, atol=1e-4, rtol=1e-3)


def test_a_threshold_changes_no_score() -> None:
    """Of what is explained: the logit itself, whatever decision is made of it."""
    logits, classes = torch.tensor([[0.0, 2.0], [0.0, -1.0]]), torch.tensor([0, 1])
    for threshold in (0.5, 0.8):
        head = single(thresholds=threshold).head
        shifted = logits - torch.tensor([0.0, math.log(threshold / (1 - threshold))])
        torch.testing.assert_close(head.objective(shifted, classes), torch.tensor([-2.0, -1.0]))
        wanted = functional.logsigmoid(torch.tensor([-2.0, -1.0]))
        torch.testing.assert_close(head.log_probability(shifted, classes), wanted)


def test_every_predicted_label_is_explained_and_the_most_probable_one_without_any() -> None:
    pixels = torch.cat([plain(0.52, 0.47, 0.55), plain(0.4, 0.3, 0.2)])
    found = ds.explain(several(), pixels, "saliency")
    assert [(int(row), LABELS[int(label)]) for row, label in zip(found.rows, found.classes)] == [
        (0, "red"), (0, "blue"), (1, "red"),
    ]  # fmt: skip
    assert found.columns()["predicted"] == [True, True, False]


def test_an_attack_on_a_label_moves_its_probability_across_its_threshold() -> None:
    model = several(thresholds={"red": 0.6})
    pixels = torch.cat([plain(0.52, 0.47, 0.55), plain(0.48, 0.5, 0.5)])
    found = ds.attack(model, pixels, PGD(radius=16 / 255, steps=10), target="red")
    assert found.success.tolist() == [True, True]
    before, after = (model.probabilities(model(seen)) for seen in (found.subjects.levels / 255, found.pixels))
    assert (before[:, 0] > 0.6).tolist() == [True, False]
    assert (after[:, 0] > 0.6).tolist() == [False, True]
    probable = torch.tensor([verdict.true_before for verdict in found.verdicts])
    torch.testing.assert_close(probable, torch.tensor([float(before[0, 0]), 1 - float(before[1, 0])]))
    assert found.columns()["before"] == ["red", "no red"]
    with pytest.raises(SettingError, match="must name a label") as refused:
        ds.attack(model, pixels)
    assert refused.value.setting == "target"


def test_images_of_a_label_raise_its_probability_alone() -> None:
    recipe = ds.visualization.Recipe(iterations=20, view=0)
    made = ds.visualize(several(), ["green"], recipe=recipe, session=Session(quiet=True))
    means = made.pixels.mean((0, 2, 3))
    assert means[1] > max(float(means[0]), float(means[2])) + 0.1
    wanted = (40 * (made.pixels[:, 1].mean() - 0.5)).sigmoid()
    assert made.evaluations[0].probability(0) == pytest.approx(float(wanted), abs=0.02)


def test_images_of_the_negative_class_lower_the_logit() -> None:
    recipe = ds.visualization.Recipe(iterations=20, view=0)
    made = ds.visualize(single(), ["negative"], recipe=recipe, session=Session(quiet=True))
    assert float(made.pixels[:, 0].mean()) < 0.4


def test_features_only_is_refused_where_classes_are_needed() -> None:
    model = ds.wrap(Colours(), LABELS, preprocessing=TAKEN, head="features")
    assert model.categories == ()
    for run in (ds.classify, ds.explain, ds.attack):
        with pytest.raises(ModelError, match="features only"):
            run(model, noise())


def test_a_saved_model_keeps_head_and_thresholds(tmp_path: Path) -> None:
    for number, (outputs, head) in enumerate(((3, "multilabel"), (1, "binary"))):
        made = _resnet(outputs)
        names = LABELS if outputs == 3 else ("other", "wombat")
        model = ds.wrap(made, names, preprocessing=ds.Preprocessing(32, 32), head=head, thresholds=0.3)
        file = ds.save_model(model, tmp_path / f"{number}.safetensors", architecture="timm:resnet10t")
        opened = load_model(file, Session(cache=tmp_path, quiet=True))
        assert (opened.head, opened.categories) == (model.head, model.categories)
        pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(opened(pixels), model(pixels))


def _resnet(outputs: int, channels: int = 3) -> nn.Module:
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm.create_model("resnet10t", num_classes=outputs, in_chans=channels).eval()


@pytest.mark.parametrize("channels", [1, 5])
def test_a_saved_model_keeps_its_channels(channels: int, tmp_path: Path) -> None:
    taken = ds.Preprocessing(32, 32, mean=(0.4,) * channels, std=(0.2,) * channels)
    model = ds.wrap(_resnet(3, channels), LABELS, preprocessing=taken)
    file = ds.save_model(model, tmp_path / "m.safetensors", architecture="timm:resnet10t")
    opened = load_model(file, Session(cache=tmp_path, quiet=True))
    assert opened.capabilities.channels == channels
    pixels = torch.rand(2, model.planes, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(opened(pixels), model(pixels))


def test_weights_with_another_head_are_cached_apart() -> None:
    network = Colours()
    made = [several(), several(thresholds=0.3), several().for_label(0), several().for_label(1)]
    made.append(ds.wrap(network, LABELS, preprocessing=TAKEN))
    assert len({model.fingerprint for model in made}) == len(made)


@pytest.mark.parametrize("classes", ["cat,dog,cat", '["cat", "dog", "cat"]'])
def test_a_class_named_twice_is_refused(classes: str) -> None:
    with pytest.raises(SettingError, match="'cat' twice, as classes 0 and 2") as refused:
        ds.models.ModelOptions(classes=classes).names()
    assert refused.value.setting == "classes"


def test_a_program_takes_the_head_that_is_said(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.save(torch.jit.trace(Colours(nn.Sigmoid()), torch.rand(2, 3, 224, 224)), tmp_path / "m.ts")
    session = Session(cache=tmp_path, quiet=True)
    opened = load_model(tmp_path / "m.ts", session, categories=LABELS, head="multilabel", thresholds={"blue": 0.9})
    assert (opened.head.kind, opened.head.thresholds) == ("multilabel", (0.5, 0.5, 0.9))
    assert ds.classify(opened, np.full((230, 230, 3), 255, np.uint8)).predicted == [LABELS]
    with pytest.raises(DeepscopeError, match="cannot be binary"):
        load_model(tmp_path / "m.ts", session, head="binary")


def test_an_export_keeps_labels_and_thresholds(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="pip install 'deepscope[onnx]'")
    pytest.importorskip("onnxruntime", reason="pip install 'deepscope[onnx]'")
    model = several(thresholds={"green": 0.2})
    export(model, tmp_path / "m.onnx")
    opened = load_model(tmp_path / "m.onnx", Session(cache=tmp_path, quiet=True))
    assert (opened.head, opened.categories) == (model.head, model.categories)
    pixels = 0.45 + 0.1 * noise()
    torch.testing.assert_close(opened.probabilities(opened(pixels)), model.probabilities(model(pixels)))
    with pytest.raises(SettingError, match="cannot be exported"):
        export(single(thresholds=0.2), tmp_path / "single.onnx")


def test_transformers_say_that_images_have_several_labels(tmp_path: Path) -> None:
    tiny = tiny_sources.transformers(tmp_path)
    about = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**about, "problem_type": "multi_label_classification"}))
    model = load_model(tmp_path, Session(cache=tmp_path, quiet=True))
    assert model.head.kind == "multilabel"
    pixels = torch.rand(2, 3, tiny_sources.SIZE, tiny_sources.SIZE)
    assert tiny.logits is not None
    with torch.no_grad():
        wanted = tiny.logits(model.normalise(pixels)).sigmoid()
    torch.testing.assert_close(model.probabilities(model(pixels)), wanted, atol=1e-5, rtol=0)


def test_labels_beside_the_owners_probabilities(tmp_path: Path) -> None:
    """Probabilities of several labels need not sum to 1."""
    Image.fromarray(np.full((16, 16, 3), (140, 120, 130), np.uint8)).save(tmp_path / "a.png")
    model = several()
    found = model.probabilities(model(model.read([tmp_path / "a.png"])))[0].tolist()
    (tmp_path / "expected.csv").write_text(f"file,{','.join(LABELS)}\na.png,{','.join(map(str, found))}\n")
    assert check_predictions(model, tmp_path, tmp_path / "expected.csv").agrees

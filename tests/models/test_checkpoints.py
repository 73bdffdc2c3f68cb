"""Weights that training programs saved: the library's own forward pass, or one line that says what is wrong."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.transforms.functional import rgb_to_grayscale

from deepscope.attributions import explain
from deepscope.classification import classify
from deepscope.cli.program import run
from deepscope.data.photographs import bundled_photographs
from deepscope.errors import DeepscopeError, FileError, ModelError, SettingError
from deepscope.files import sha256
from deepscope.models import VisionModel, catalogue, load_model, recognition, save_model
from deepscope.session import Session
from deepscope.transfer import compare_features
from deepscope.transfer.splits import Holdout
from deepscope.visualization import preset, visualize

State = dict[str, Tensor]


@pytest.fixture
def session(tmp_path: Path) -> Session:
    (tmp_path / "home" / "weights").mkdir(parents=True)
    return Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True)


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        network = build().eval()
        for module in network.modules():  # statistics of a training, so that a network without them differs
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean, module.running_var = (
                    torch.randn(module.num_features) / 9,
                    torch.rand(module.num_features) + 0.5,
                )
    return network


def squeezenet() -> nn.Module:
    return seeded(lambda: torchvision.models.squeezenet1_1(num_classes=3))


def same(network: nn.Module, path: Path, session: Session, **said: Any) -> str:
    """The architecture as which a file opens with the network's own numbers."""
    model = load_model(path, session, **said)
    pixels = torch.rand(2, 3, *model.preprocessing.size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(model(pixels), network(model.normalise(pixels)), atol=1e-5, rtol=0)
    return model.architecture


WAYS: dict[str, Callable[[State], Any]] = {
    "plain": lambda s: s,
    "timm": lambda s: {"epoch": 3, "state_dict": s, "optimizer": {"state": {0: {"x": torch.zeros(2, 2)}}}, "m": None},
    "reference": lambda s: {"model": s, "args": argparse.Namespace(lr=0.1), "lr_scheduler": {"a": [1]}},
    "lightning": lambda s: {
        "state_dict": {**{f"model.{k}": v for k, v in s.items()}, "loss.weight": torch.ones(3)},
        "pytorch-lightning_version": "2.5.0",
    },
    "compiled": lambda s: {f"_orig_mod.module.{k}": v for k, v in s.items()},
    "ema": lambda s: {
        "model": {k: v + 1 for k, v in s.items()},
        "model_ema": {"n_averaged": torch.tensor(3), **{f"module.{k}": v for k, v in s.items()}},
    },
    "ema_of_timm": lambda s: {"state_dict": {k: v + 1 for k, v in s.items()}, "state_dict_ema": s},
    "best": lambda s: {"net": s, "acc": torch.tensor(73.0)},
    "unknown": lambda s: {"my_network": {"weights": s}},
    "backbone": lambda s: {
        "backbone." * ("features" in k) + k: v for k, v in s.items()
    },
    "half": lambda s: {k: v.half() for k, v in s.items()},
    "own_name": lambda s: {"state_dict": {**{f"network.{k}": v for k, v in s.items()}, "criterion.w": torch.ones(3)}},
    "fabric": lambda s: {f"_forward_module.{k}": v for k, v in s.items()},
    "ema_beside": lambda s: {
        "state_dict": {
            **{f"model.{k}": v + 1 for k, v in s.items()},
            **{f"ema.module.{k}": v for k, v in s.items()},
        }
    },
    "numpy": lambda s: {"net": s, "accuracy": np.float64(0.9), "epoch": np.int64(3), "history": np.arange(3.0)},
    "objects": lambda s: {"state_dict": s, "folder": PurePosixPath("/a"), "lists": defaultdict(list, a=[1])},
    "own_class": lambda s: {"model": s, "config": Settings("sgd"), "optimizer": {"state": Settings("x")}},
}  # fmt: skip


@dataclass
class Settings:
    """What a training program keeps beside its weights."""

    optimizer: str

    def __setstate__(self, state: Any) -> None:
        raise AssertionError("objects of a file must not be built")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("zipped", [True, False])
def test_every_usual_way_of_saving_opens(way: str, zipped: bool, session: Session, tmp_path: Path) -> None:
    network = squeezenet()
    torch.save(WAYS[way](network.state_dict()), tmp_path / "m.pth", _use_new_zipfile_serialization=zipped)
    if way == "half":
        network.load_state_dict({k: v.half().float() for k, v in network.state_dict().items()})
    assert same(network, tmp_path / "m.pth", session) == "torchvision:squeezenet1_1"


def test_bare_safetensors_open(session: Session, tmp_path: Path) -> None:
    network = squeezenet()
    save_file({f"model.{k}": v for k, v in network.state_dict().items()}, tmp_path / "m.safetensors")
    assert same(network, tmp_path / "m.safetensors", session) == "torchvision:squeezenet1_1"
    model = load_model(tmp_path / "m.safetensors", session, categories=["a", "b, c", "d"])
    assert model.categories == ("a", "b, c", "d")
    assert load_model(tmp_path / "m.safetensors", session).categories == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_efficientnet", "test_resnet"])
@pytest.mark.parametrize("classes", [None, 1, 5])
def test_networks_of_timm_open(name: str, classes: int | None, session: Session, tmp_path: Path) -> None:
    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    network = seeded(lambda: timm.create_model(name, **options))
    torch.save({"arch": name, "state_dict": network.state_dict()}, tmp_path / "m.pth.tar")
    model = load_model(tmp_path / "m.pth.tar", session)
    assert len(model.categories) == {None: 1000, 1: 2, 5: 5}[classes]
    pixels = torch.rand(2, 3, *model.preprocessing.size)
    with torch.no_grad():
        wanted = network(model.normalise(pixels))
        found = model(pixels)[:, 1:] if classes == 1 else model(pixels)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    config: Any = timm.get_pretrained_cfg(name)
    assert model.preprocessing.mean == tuple(config.mean)


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_images_of_other_channels_are_those_of_the_first_convolution(
    library: str, channels: int, session: Session, tmp_path: Path
) -> None:
    if library == "timm":
        network = seeded(lambda: timm.create_model("test_resnet", in_chans=channels, num_classes=4))
    else:
        network = squeezenet()
        network.features[0] = nn.Conv2d(channels, 64, 3, stride=2)  # type: ignore[index, operator]
    torch.save(network.state_dict(), tmp_path / "m.pth")
    model = load_model(tmp_path / "m.pth", session)
    assert (model.architecture.partition(":")[0], len(model.preprocessing.mean)) == (library, channels)
    pixels = torch.rand(2, model.planes, *model.preprocessing.size, generator=torch.Generator().manual_seed(1))
    usual = rgb_to_grayscale(pixels) if channels == 1 else pixels
    config: Any = timm.get_pretrained_cfg("test_resnet")
    mean, std = (np.mean(config.mean), np.mean(config.std)) if library == "timm" else (0.449, 0.226)
    with torch.no_grad():
        torch.testing.assert_close(model(pixels), network((usual - float(mean)) / float(std)), atol=2e-3, rtol=0)
        again = load_model(save_model(model, tmp_path / "saved"), session)
        assert torch.equal(again(pixels), model(pixels))


def test_the_auxiliary_heads_and_the_input_of_googlenet_are_those_of_the_library(
    session: Session, tmp_path: Path
) -> None:
    for auxiliary in (True, False):
        network: Any = seeded(
            lambda auxiliary=auxiliary: torchvision.models.googlenet(
                num_classes=3, aux_logits=auxiliary, transform_input=True, init_weights=False
            )
        )
        torch.save(network.state_dict(), tmp_path / "g.pth")
        assert same(network, tmp_path / "g.pth", session, architecture="torchvision:googlenet")


@pytest.mark.parametrize("suffix", ["", ".model", ".pkl", ".v2", ".safetensors.bak"])
def test_the_name_of_a_file_does_not_matter(suffix: str, session: Session, tmp_path: Path) -> None:
    network = squeezenet()
    path = tmp_path / f"best 模型{suffix}"
    if "safetensors" in suffix:
        save_file(network.state_dict(), path)
    else:
        torch.save(network.state_dict(), path, _use_new_zipfile_serialization=suffix != ".pkl")
    assert same(network, path, session) == "torchvision:squeezenet1_1"


HEADS: dict[str, tuple[str, str, Callable[[int], nn.Module]]] = {
    "dropout": ("resnet18", "fc", lambda width: nn.Sequential(nn.Dropout(0.5), nn.Linear(width, 3))),
    "dropped": ("mobilenet_v2", "classifier", lambda width: nn.Linear(width, 3)),
}


@pytest.mark.parametrize("kind", HEADS)
def test_a_class_layer_that_was_assigned_is_found_and_said(
    kind: str, session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, place, build = HEADS[kind]
    network: Any = seeded(lambda: torchvision.models.get_model(name))
    setattr(network, place, seeded(lambda: build({"fc": 512, "classifier": 1280}[place])))
    path = tmp_path / "m.pth"
    torch.save(network.state_dict(), path)
    assert same(network, path, replace(session, quiet=False), architecture=f"torchvision:{name}")
    assert f"its class layer {place}" in capsys.readouterr().err


def test_a_student_and_its_teacher_in_one_file_are_refused(session: Session, tmp_path: Path) -> None:
    state = squeezenet().state_dict()
    both = {f"{who}.{k}": v for who in ("student", "teacher") for k, v in state.items()}
    torch.save({"state_dict": both}, tmp_path / "m.ckpt")
    with pytest.raises(ModelError, match=r"two networks that fit, with the tensors student\..* and teacher\."):
        load_model(tmp_path / "m.ckpt", session)


def test_a_student_of_another_architecture_than_its_teacher_must_be_named(session: Session, tmp_path: Path) -> None:
    student, teacher = squeezenet(), torchvision.models.mobilenet_v3_small(num_classes=3)  # 52 of 296 tensors
    both = {f"student.{name}": value for name, value in student.state_dict().items()}
    both |= {f"teacher.{name}": value for name, value in teacher.state_dict().items()}
    torch.save(both, tmp_path / "m.pth")
    names = "torchvision:mobilenet_v3_small and torchvision:squeezenet1_1"
    with pytest.raises(SettingError, match=f"holds two networks, {names}"):
        load_model(tmp_path / "m.pth", session)
    assert load_model(tmp_path / "m.pth", session, architecture="torchvision:mobilenet_v3_small").categories


@pytest.mark.parametrize("name", ["swin_t", "swin_v2_t", "maxvit_t"])
def test_architectures_with_tables_of_positions_are_recognised(name: str) -> None:
    with torch.device("meta"):
        network = torchvision.models.get_model(name, num_classes=15)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert [found.spec for found in recognition.fitting(shapes)] == [f"torchvision:{name}"]


def test_a_network_that_asks_for_the_version_of_its_weights(session: Session, tmp_path: Path) -> None:
    network = seeded(lambda: torchvision.models.mnasnet0_5(num_classes=3))
    torch.save({"model": dict(network.state_dict())}, tmp_path / "m.pth")
    assert same(network, tmp_path / "m.pth", session) == "torchvision:mnasnet0_5"


def test_several_architectures_that_fit_are_listed_and_one_is_chosen(session: Session, tmp_path: Path) -> None:
    network = seeded(lambda: torchvision.models.resnet18(num_classes=3))
    path = tmp_path / "r.pth"
    torch.save(network.state_dict(), path)
    for _ in range(2):  # the second answer comes from the cache
        with pytest.raises(SettingError, match=r"architecture must be given.*timm:resnet18.*torchvision:resnet18"):
            load_model(path, session)
    for spec in ("torchvision:resnet18", "timm:resnet18"):
        assert same(network, path, session, architecture=spec) == spec
    assert len(list((session.cache / "architectures").iterdir())) == 1


def test_a_class_layer_of_two_layers_is_named(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which activation lies between them is not in the file, so no architecture may be assumed."""
    network: Any = torchvision.models.resnet18()
    network.fc = nn.Sequential(nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 3))
    torch.save(network.state_dict(), tmp_path / "m.pth")
    said = r"6 tensors differ, such as fc\.weight \(1000, 512\) is missing; fc\.0\.weight \(64, 512\) is left over"
    with pytest.raises(ModelError, match=rf"not those of torchvision:resnet18: {said}; .*file\.py:function"):
        load_model(tmp_path / "m.pth", session, architecture="torchvision:resnet18")
    compared: list[str] = []
    compare = recognition.compare
    monkeypatch.setattr(recognition, "compare", lambda spec, given: (compared.append(spec), compare(spec, given))[1])
    monkeypatch.setattr(recognition, "_SECONDS", 60.0)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    steps: list[None] = []
    found = recognition.nearest([shapes], each=lambda: steps.append(None))
    assert found is not None and found[0].spec.endswith(":resnet18") and len(found[0].differences) == 6
    assert len(steps) == len(compared)
    assert compared[-1] == found[0].spec, "the search ends with an architecture that differs in its class layer alone"


def test_what_does_not_fit_is_named(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network: Any = squeezenet()
    network.classifier = nn.Sequential(nn.Flatten(), nn.Identity(), nn.Linear(512, 3))
    torch.save(network.state_dict(), tmp_path / "m.pth")
    with pytest.raises(ModelError, match=r"squeezenet1_1: one tensor differs: classifier\.1\.weight is \(3, 512\)"):
        load_model(tmp_path / "m.pth", session, architecture="torchvision:squeezenet1_1")
    monkeypatch.setattr("deepscope.models.recognition._SECONDS", 3.0)
    with pytest.raises(ModelError, match=r"nearest is torchvision:squeezenet1_1: one tensor"):
        load_model(tmp_path / "m.pth", session)
    torch.save(nn.Linear(3, 4).state_dict(), tmp_path / "m.pth")
    with pytest.raises(ModelError, match=r"none comes near.*file\.py:function"):
        load_model(tmp_path / "m.pth", session)
    with pytest.raises(DeepscopeError, match="no model is named"):
        load_model(tmp_path / "m.pth", session, architecture="torchvision:nothing")


def test_files_in_the_weights_folder_go_by_their_names(session: Session) -> None:
    network, weights = squeezenet(), session.home / "weights"
    torch.save(network.state_dict(), weights / "mine.pth")
    torch.save(network.state_dict(), weights / "other.v2.ckpt")
    (weights / "net.onnx").touch()
    (weights / "hub").mkdir()
    (weights / "hub" / "config.json").write_text("{}")
    listed = {entry.name: entry for entry in catalogue(session) if entry.weights.startswith("weights/")}
    assert {"mine", "other.v2", "net", "hub"} <= listed.keys()
    assert listed["mine"].here and listed["mine"].weights == "weights/mine.pth"
    for name in ("mine", "other.v2", "mine.pth"):
        model = load_model(name, session, categories=["a", "b", "c"])
        assert (model.architecture, model.categories) == ("torchvision:squeezenet1_1", ("a", "b", "c"))
    with pytest.raises(DeepscopeError, match=r"net\.onnx"):
        load_model("net", session)
    save_file(
        network.state_dict(), weights / "mine.safetensors", metadata={"architecture": "torchvision:squeezenet1_1"}
    )
    with pytest.raises(DeepscopeError, match="not those of"):  # three classes, which the file does not name
        load_model("mine", session)


def test_an_empty_folder_hides_no_file_of_its_name(session: Session) -> None:
    """Such as the folder that `models save mine --out weights/mine` is about to write to."""
    weights = session.home / "weights"
    torch.save(squeezenet().state_dict(), weights / "mine.pth")
    (weights / "mine").mkdir()
    assert load_model("mine", session).architecture == "torchvision:squeezenet1_1"


def test_saved_folders_in_the_weights_folder_are_listed(session: Session, tmp_path: Path) -> None:
    torch.save(squeezenet().state_dict(), tmp_path / "m.pth")
    model = load_model(tmp_path / "m.pth", session, categories=["a", "b", "c"])
    save_model(model, session.home / "weights" / "mine.v2")
    (session.home / "weights" / "fitted").mkdir()
    (session.home / "weights" / "fitted" / "model.json").write_text("{}")
    listed = {entry.name: entry for entry in catalogue(session) if entry.weights.startswith("weights/")}
    assert listed.keys() == {"mine.v2", "fitted"}
    assert listed["mine.v2"].architecture == "torchvision:squeezenet1_1" and listed["mine.v2"].here
    assert load_model("mine.v2", session).categories == ("a", "b", "c")


def test_a_file_that_torchvision_publishes_has_its_classes(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = seeded(torchvision.models.squeezenet1_1)
    torch.save(network.state_dict(), tmp_path / "m.pth")
    spec = "torchvision:squeezenet1_1"
    assert load_model(tmp_path / "m.pth", session, architecture=spec).category("class 0") == 0
    enum = torchvision.models.SqueezeNet1_1_Weights
    url = f"https://download.pytorch.org/models/squeezenet1_1-{sha256(tmp_path / 'm.pth')[:8]}.pth"
    monkeypatch.setattr(enum.DEFAULT, "_value_", replace(enum.DEFAULT.value, url=url))
    model = load_model(tmp_path / "m.pth", session, architecture=spec)
    assert model.categories == tuple(enum.DEFAULT.meta["categories"]) and model.wnids[0] == "n01440764"
    own = [f"own {number}" for number in range(1000)]
    assert load_model(tmp_path / "m.pth", session, architecture=spec, categories=own).categories == tuple(own)


def test_notes_say_what_was_found_and_assumed(
    session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(squeezenet().state_dict(), tmp_path / "m.pth")
    load_model(tmp_path / "m.pth", Session(home=tmp_path, cache=session.cache))
    said = capsys.readouterr().err
    assert "m.pth: the architecture is torchvision:squeezenet1_1" in said
    assert "SqueezeNet1_1_Weights.IMAGENET1K_V1" in said and "3 classes have no names" in said
    named = {"categories": ["a", "b", "c"], "preprocessing": "resize 70, crop 64"}
    model = load_model(tmp_path / "m.pth", Session(home=tmp_path, cache=tmp_path / "other"), **named)
    assert (model.preprocessing.resize, model.preprocessing.crop) == (70, 64)
    assert "preprocessing" not in (said := capsys.readouterr().err) and "names" not in said


def test_a_whole_vgg16_is_that_of_torchvision(session: Session) -> None:
    """With all 138 million parameters: by its name in the weights folder, by its path, and layer by layer."""
    with torch.device("meta"):
        network: Any = torchvision.models.vgg16(init_weights=False)
    network.to_empty(device="cpu").eval()
    rng = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        width = parameter[0].numel() if parameter.ndim > 1 else 100
        parameter.data.uniform_(-((6 / width) ** 0.5), (6 / width) ** 0.5, generator=rng)
    pixels = torch.rand(1, 3, 224, 224, generator=rng)
    path = session.home / "weights" / "vgg16.pth"
    torch.save(network.state_dict(), path)
    try:
        for name, spec in (("vgg16", None), (path, "torchvision:vgg16")):
            model = load_model(name, session, architecture=spec)
            with torch.no_grad():
                features = network.avgpool(network.features(model.normalise(pixels))).flatten(1)
                wanted = {f"relu{n}": network.classifier[:stop](features) for n, stop in ((6, 2), (7, 5), (8, 7))}
                torch.testing.assert_close(model.activations(pixels, list(wanted)), wanted, atol=1e-5, rtol=1e-5)
                torch.testing.assert_close(model(pixels), wanted["relu8"], atol=1e-5, rtol=1e-5)
            assert wanted["relu8"].std() > 0.1 and len(model.categories) == 1000
            if spec is None:
                _what_the_report_ran(model, network, session)
    finally:
        path.unlink()


def _what_the_report_ran(model: VisionModel, network: nn.Module, session: Session) -> None:
    """Rows of table 1.1, four predictions, a saliency map and a class image, beside PyTorch's own."""
    photos = bundled_photographs().paths[:4]
    pixels = model.read(photos)
    with torch.no_grad():
        wanted = network(model.normalise(pixels)).softmax(1)
    found = classify(model, photos, session=session)
    torch.testing.assert_close(found.probabilities, wanted.topk(5).values, atol=1e-5, rtol=1e-4)
    held = pixels[:1].clone().requires_grad_()
    network(model.normalise(held))[0, 7].backward()
    assert held.grad is not None
    wanted = held.grad[0].abs().amax(0)
    given = explain(model, photos[:1], "saliency", target=7, session=session).maps[0]
    assert (given - wanted).norm() < 0.02 * wanted.norm()  # in float64 the gradient differs by 0.007: ReLUs near zero
    pairs = [(photo, "ab"[row % 2]) for row, photo in enumerate(photos)]
    layers = [f"{model.name}@relu{number}" for number in (6, 7, 8)]
    table = compare_features(pairs, layers, holdout=Holdout(test_fraction=0.5), session=session)
    assert list(table.columns()["dimension"]) == [4096, 4096, 1000]
    image = visualize(model, [7], recipe=replace(preset("default"), iterations=2), session=session)
    assert torch.isfinite(image.made.pixels).all()


def _pickled(path: Path) -> None:
    torch.save(squeezenet(), path)


def _code(path: Path) -> None:
    class Shell:
        def __reduce__(self) -> Any:
            return __import__("os").system, (f"touch {path}.ran",)

    torch.save({"state_dict": Shell()}, path)


def _compressed(path: Path) -> None:
    import zipfile

    torch.save({"a": torch.zeros(3, 3)}, path)
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in held.items():
            archive.writestr(name, content)
        archive.writestr("m/data/99", bytes(1 << 28))


def _stretched(path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(1, 1).expand(10**9, 512), "b": torch.zeros(2, 2)}, path)


def _beyond(path: Path) -> None:
    class Lying(torch.Tensor):
        def __reduce_ex__(self, protocol: Any) -> Any:
            function, arguments = torch.Tensor.__reduce_ex__(self.as_subclass(torch.Tensor), protocol)
            return function, (arguments[0], 0, (10**9, 9), (9, 1), *arguments[4:])

    torch.save({"fc.weight": torch.zeros(3, 3).as_subclass(Lying)}, path)


def _nan(path: Path) -> None:
    state = squeezenet().state_dict()
    state["classifier.1.bias"][2] = torch.nan
    torch.save(state, path)


def _wide(path: Path) -> None:
    state = squeezenet().state_dict()
    state["classifier.1.weight"] = torch.zeros(200_000, 512, 1, 1, dtype=torch.float8_e4m3fn)
    state["classifier.1.bias"] = torch.zeros(200_000)
    torch.save(state, path)


def _cut(path: Path) -> None:
    torch.save(squeezenet().state_dict(), path)
    path.write_bytes(path.read_bytes()[:99])


HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "module": (_pickled, r"SqueezeNet.*weights_only=False.*torch\.save\(network\.state_dict"),
    "code": (_code, r"would run code"),
    "bomb": (_compressed, "compressed archive"),
    "stretched": (_stretched, r"fc\.weight.*more than the file holds"),
    "beyond": (_beyond, r"fc\.weight.*more than the file holds"),
    "nan": (_nan, r"classifier\.1\.bias.*NaN"),
    "wide": (_wide, "200,000 classes"),
    "empty": (lambda path: path.touch(), "not a readable PyTorch file"),
    "noise": (lambda path: path.write_bytes(b"\xff" * 1000), "not a readable PyTorch file"),
    "cut": (_cut, "not a readable PyTorch file"),
    "tensor": (lambda path: torch.save(torch.zeros(3), path), "a single tensor"),
    "numbers": (lambda path: torch.save({"epoch": 3}, path), "no weights"),
    "deep": (lambda path: torch.save(_nested(40), path), "no weights"),
    "folder": (lambda path: path.mkdir(), "not an ordinary file"),
}  # fmt: skip


def _nested(depth: int) -> Any:
    return {"a": _nested(depth - 1)} if depth else {"w": torch.zeros(2, 2)}


def peak() -> float:
    """Megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_in_one_line(kind: str, session: Session, tmp_path: Path) -> None:
    make, said = HOSTILE[kind]
    path = tmp_path / "m.pth"
    make(path)
    before = peak()
    with pytest.raises((FileError, ModelError), match=said) as refused:
        load_model(path, session)
    assert peak() - before < 400, "megabytes"
    assert "\n" not in str(refused.value) and str(path) in str(refused.value)
    assert not path.with_name("m.pth.ran").exists()


def test_a_safetensors_header_that_lies_is_refused(session: Session, tmp_path: Path) -> None:
    header = {"fc.weight": {"dtype": "F32", "shape": [10**9, 512], "data_offsets": [0, 4 * 512 * 10**9]}}
    text = json.dumps(header).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(64))
    with pytest.raises(DeepscopeError, match="not a readable safetensors file"):
        load_model(path, session, architecture="torchvision:resnet18")


@pytest.mark.parametrize("spec", [None, "torchvision:resnet18"])
def test_a_thousand_million_classes_are_refused_by_the_header(
    spec: str | None, session: Session, tmp_path: Path
) -> None:
    count = 10**9
    header = {"fc.weight": {"dtype": "F8_E4M3", "shape": [count, 1], "data_offsets": [0, count]}}
    text = json.dumps(header).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with path.open("r+b") as file:  # sparse: it takes no space
        file.truncate(8 + len(text) + count)
    before = peak()
    with pytest.raises(DeepscopeError, match=r"1,000,000,000 classes|none comes near"):
        load_model(path, session, architecture=spec)
    assert peak() - before < 400, "megabytes"


def test_a_command_refuses_such_files_with_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEEPSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DEEPSCOPE_CACHE", str(tmp_path / "cache"))
    _nan(tmp_path / "m.pth")
    (tmp_path / "names.txt").write_text("x\n" * 200_000)
    assert run(["models", "describe", str(tmp_path / "m.pth")]) == 2
    assert "'classifier.1.bias' are NaN" in capsys.readouterr().err
    torch.save(squeezenet().state_dict(), tmp_path / "m.pth")
    assert (
        run(["classify", "--model", str(tmp_path / "m.pth"), "--classes", str(tmp_path / "names.txt"), "--quiet"]) == 2
    )
    said = capsys.readouterr().err
    assert "200,000 lines" in said and said.count("\n") == 1

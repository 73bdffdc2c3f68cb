"""Published weights: verified against their digests, and run in the network that their library builds for them."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from pathlib import Path
from typing import Any, get_type_hints
from unittest import mock

import pytest
import timm
import torch
import torchvision
from accelerate import init_empty_weights
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from torch import nn

from deepscope.errors import DeepscopeError
from deepscope.models import architectures, load_model
from deepscope.models.pretrained import _timm_categories, _timm_wnids
from deepscope.session import Session


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True)


def one_of_each_kind() -> list[str]:
    """torchvision's first classifier of each class of networks, and one whose weights need larger images."""
    kinds: dict[type, str] = {}
    for name in architectures.names("torchvision"):
        kinds.setdefault(get_type_hints(torchvision.models.get_model_builder(name))["return"], name)
    return sorted({*kinds.values(), "vit_h_14"})


@pytest.mark.parametrize("name", one_of_each_kind())
def test_networks_are_what_torchvision_builds_for_its_weights(name: str) -> None:
    weights: Any = torchvision.models.get_model_weights(name).DEFAULT  # type: ignore[attr-defined]
    with (
        init_empty_weights(),
        mock.patch.object(type(weights), "get_state_dict", return_value={}),
        mock.patch.object(nn.Module, "load_state_dict"),
    ):
        theirs = torchvision.models.get_model(name, weights=weights)
    ours = architectures.skeleton(f"torchvision:{name}")
    shapes = [{key: value.shape for key, value in network.state_dict().items()} for network in (theirs, ours)]
    extra = shapes[1].keys() - shapes[0].keys()  # GoogLeNet's auxiliary classifiers, which only training uses
    assert all(key.startswith("aux") for key in extra)
    assert shapes[0] == {key: shape for key, shape in shapes[1].items() if key not in extra}
    plain = (bool, int, float, str, tuple)
    settings = [
        {name: value for name, value in vars(network).items() if isinstance(value, plain) and name != "aux_logits"}
        for network in (theirs, ours)
    ]
    assert settings[0] == settings[1]


def test_inception_rescales_its_input_as_in_torchvision() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torchvision.models.googlenet(weights=None, init_weights=False, transform_input=True).eval()
        plain = torchvision.models.googlenet(weights=None, init_weights=False, transform_input=False).eval()
        inputs = torch.randn(1, 3, 64, 64)
    plain.load_state_dict(theirs.state_dict())
    ours = architectures.assemble("torchvision:googlenet", theirs.state_dict()).eval()
    with torch.no_grad():
        assert torch.equal(ours(inputs), theirs(inputs))
        assert not torch.allclose(ours(inputs), plain(inputs))


OF_EVERY_KIND = (
    "timm:vit_tiny_patch16_224",
    "timm:swin_tiny_patch4_window7_224",  # masks made from a parameter
    "timm:swinv2_cr_tiny_ns_224",
    "timm:swinv2_tiny_window8_256",  # a constructor that computes with parameters
    "timm:maxvit_pico_rw_256",
    "timm:eva02_tiny_patch14_224",
    "timm:mobilevit_xxs",
    "torchvision:swin_t",
    "torchvision:regnet_y_400mf",
)


@pytest.mark.parametrize("spec", OF_EVERY_KIND)
def test_a_network_has_the_buffers_that_no_file_holds(spec: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = architectures._build(spec, None).eval()
    ours = architectures.assemble(spec, theirs.state_dict()).eval()
    side = 256 if spec.endswith("256") else 224
    inputs = torch.rand(1, 3, side, side)
    with torch.no_grad():
        assert torch.equal(ours(inputs), theirs(inputs))


def _published(monkeypatch: pytest.MonkeyPatch, folder: Path, content: bytes, *, right: bool) -> Path:
    """A file in torch.hub's cache that bears the name of squeezenet1_1's weights."""
    weights: Any = torchvision.models.SqueezeNet1_1_Weights.DEFAULT
    digest = hashlib.sha256(content).hexdigest()[:8] if right else "b8a52dc0"
    monkeypatch.setattr(weights.value, "url", f"https://download.pytorch.org/models/squeezenet1_1-{digest}.pth")
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(folder))
    path = folder / "checkpoints" / f"squeezenet1_1-{digest}.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def _saved(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.abort, ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read"),
        (b"PK\x03\x04" + b"\0" * 99, "cannot be read"),
        (pickle.dumps(Harmful(), protocol=2), "cannot be read"),
        (_saved([1]), "list, not weights"),
        (_saved({}), "is missing"),
        (_saved({"features.0.weight": 1}), "not a dense tensor"),
    ],
    ids=["empty", "cut off", "harmful", "list", "nothing", "numbers"],
)
@pytest.mark.parametrize("right", [True, False])
def test_files_in_the_hubs_cache_are_checked(
    content: bytes, said: str, right: bool, session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = _published(monkeypatch, tmp_path / "hub", content, right=right)
    with pytest.raises(DeepscopeError, match=said if right else "SHA-256") as caught:
        load_model("torchvision:squeezenet1_1", session)
    assert "\n" not in str(caught.value)
    assert path.exists()


def test_the_published_file_opens(session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = torchvision.models.squeezenet1_1(weights=None).state_dict()
    file = tmp_path / "state.pth"
    torch.save(state, file)
    _published(monkeypatch, tmp_path / "hub", file.read_bytes(), right=True)
    model = load_model("torchvision:squeezenet1_1", session)
    assert torch.equal(model.network.state_dict()["features.0.weight"], state["features.0.weight"])
    state["features.0.weight"][0, 0, 0, 0] = float("nan")
    torch.save(state, file)
    _published(monkeypatch, tmp_path / "other", file.read_bytes(), right=True)
    with pytest.raises(DeepscopeError, match=r"features\.0\.weight.*NaN"):
        load_model("torchvision:squeezenet1_1", session)


def test_files_of_hugging_faces_cache_are_checked(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("deepscope.models.pretrained._hub_cache", lambda: tmp_path)
    config: Any = timm.get_pretrained_cfg("resnet18")
    blobs = tmp_path / f"models--{config.hf_hub_id.replace('/', '--')}" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / ("0" * 64)).write_bytes(b"damaged")
    with pytest.raises(DeepscopeError, match="SHA-256"):
        load_model("timm:resnet18", session)


def test_no_embedding_is_given_categories() -> None:
    """Every pretrained network of timm: its categories are a subset of ImageNet that timm itself names, or none."""
    known = {len(ImageNetInfo(subset).label_names()) for subset in ("imagenet-1k", "imagenet-12k", "imagenet-22k")}
    seen = {}
    for name in timm.list_pretrained():
        config: Any = timm.get_pretrained_cfg(name)
        seen.setdefault(config.num_classes, config)
    for count, config in seen.items():
        categories, subset = _timm_categories(config), infer_imagenet_subset(config.to_dict())
        assert len(categories) == (count if subset else 0)
        assert len(_timm_wnids(config)) == len(categories)
        if subset:
            described = ImageNetInfo(subset).index_to_description
            assert count == 1000 or categories[-1] == described(count - 1)
    assert known < seen.keys()


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("resnet18.a1_in1k", "tench"),
        ("mixer_b16_224.miil_in21k", "benthos"),
        ("vit_base_patch16_224.augreg_in21k", "organism, being"),
        ("vit_base_patch32_clip_224.openai", None),
    ],
)
def test_classes_have_the_names_of_their_own_list(name: str, first: str | None) -> None:
    categories = _timm_categories(timm.get_pretrained_cfg(name))
    assert (categories[0] if categories else None) == first

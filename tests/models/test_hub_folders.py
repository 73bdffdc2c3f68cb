"""Folders of transformers, timm and CLIP weights that are damaged or hostile: one line, and no code is run."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor

import deepscope as ds
from deepscope.errors import DeepscopeError, FileError, MissingExtraError, ModelError
from deepscope.models import hub, image_processor, load_model
from deepscope.session import Session
from tiny_sources import CLASSES, SIZE, clip, seeded, timm_folder, transformers


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True)


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    folder = tmp_path / "vit"
    folder.mkdir()
    transformers(folder)
    return folder


def rewrite(folder: Path, name: str = "config.json", **changes: Any) -> None:
    about = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**about, **changes}))


class Evil:
    """Pickles to a call that leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def refused(name: Path | str, session: Session, said: str) -> None:
    with pytest.raises(DeepscopeError, match=said) as raised:
        load_model(name, session)
    assert "\n" not in str(raised.value)


def test_code_of_a_folder_is_never_run(vit: Path, session: Session, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (vit / "own.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\nclass A: pass\n")
    whole = load_model(vit, session)
    pixels = torch.rand(1, 3, SIZE, SIZE)
    code = {"AutoConfig": "own.A", "AutoModelForImageClassification": "own.A", "AutoImageProcessor": "own.A"}
    rewrite(vit, auto_map=code, _attn_implementation="evil/kernel", attn_implementation="evil/kernel")
    assert torch.equal(load_model(vit, session)(pixels), whole(pixels)), "transformers' own code, as before"
    rewrite(vit, "preprocessor_config.json", auto_map=code, image_processor_type="Own")
    refused(vit, session, "holds no model that can be built|processor")
    rewrite(vit, model_type="own", architectures=["A"])
    refused(vit, session, "of the kind 'own', of which transformers has no image classifier")
    assert not mark.exists()


def test_a_pickle_is_read_as_tensors_alone(vit: Path, session: Session, tmp_path: Path) -> None:
    whole, pixels = load_model(vit, session), torch.rand(1, 3, SIZE, SIZE)
    state = safetensors.torch.load_file(vit / "model.safetensors")
    (vit / "model.safetensors").unlink()
    torch.save(state, vit / "pytorch_model.bin")
    torch.testing.assert_close(load_model(vit, session)(pixels), whole(pixels), atol=1e-6, rtol=0)
    (vit / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    refused(vit, session, "not a file of tensors alone")
    torch.save({"a": Evil(tmp_path / "ran")}, vit / "pytorch_model.bin")
    refused(vit, session, "not a file of tensors alone")
    assert not (tmp_path / "ran").exists()
    (vit / "pytorch_model.bin").unlink()
    refused(vit, session, "holds no weights: model.safetensors is missing")


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "more layers than weights": ({"num_hidden_layers": 10**9}, "asks for 1,000,000,000 num_hidden_layers"),
    "more classes than numbers": ({"num_labels": 10**9}, "asks for 1,000,000,000 num_labels"),
    "more stages than weights": ({"backbone_config": {"num_stages": 10**9}}, "asks for 1,000,000,000 num_stages"),
    "a huge width": ({"hidden_size": 2**20, "intermediate_size": 2**20}, "describes .* numbers, and the weights are"),
    "one layer too many": ({"num_hidden_layers": 3}, "its weights are not those of its configuration"),
    "another width": ({"intermediate_size": 64}, "its weights are not those of its configuration|can be built"),
    "a negative size": ({"patch_size": -1}, "no model that can be built"),
    "a text for a number": ({"hidden_size": "x"}, "no model that can be built"),
    "heads that do not fit": ({"num_attention_heads": 7}, "its weights are not those of its configuration"),
    "names with a gap": ({"id2label": {"0": "a", "5": "b"}}, "no usable names of classes in id2label"),
    "a name for all classes": ({"id2label": "cat"}, "no usable names of classes in id2label"),
    "too few names": ({"id2label": {"0": "a"}}, "classifier.bias is missing or has another shape"),
    "a text model": ({"model_type": "bert"}, "no image classifier"),
    "a list for a name": ({"model_type": ["vit"]}, "no image classifier"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_configuration_that_lies(name: str, vit: Path, session: Session) -> None:
    changes, said = CHANGES[name]
    rewrite(vit, **changes)
    refused(vit, session, said)


def test_names_of_classes_are_no_counts(vit: Path, session: Session) -> None:
    count = len(json.loads((vit / "config.json").read_text())["id2label"])
    names = [f"layer cake in {10**6} stages", *(f"class {row}" for row in range(1, count))]
    by_name = {"stage": 10**6, **{name: row for row, name in enumerate(names)}}
    rewrite(vit, id2label={str(row): name for row, name in enumerate(names)}, label2id=by_name)
    assert load_model(vit, session).categories == tuple(names)


def test_weights_that_are_damaged(vit: Path, session: Session) -> None:
    path = vit / "model.safetensors"
    content, state = path.read_bytes(), safetensors.torch.load_file(path)
    for share in (0.0, 0.01, 0.5, 0.99):
        path.write_bytes(content[: int(share * len(content))])
        refused(vit, session, "not a readable safetensors file")
    state["classifier.bias"][0] = float("nan")
    safetensors.torch.save_file(state, path, metadata={"format": "pt"})
    refused(vit, session, "NaN|not finite|infinite")


def test_an_index_stays_in_its_folder(vit: Path, session: Session, tmp_path: Path) -> None:
    state = safetensors.torch.load_file(vit / "model.safetensors")
    whole, pixels = load_model(vit, session), torch.rand(1, 3, SIZE, SIZE)
    (vit / "model.safetensors").rename(vit / "part.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(state, "part.safetensors")}
    (vit / "model.safetensors.index.json").write_text(json.dumps(index))
    assert torch.equal(load_model(vit, session)(pixels), whole(pixels))
    (vit / "part.safetensors").rename(tmp_path / "part.safetensors")
    rewrite(vit, "model.safetensors.index.json", weight_map=dict.fromkeys(state, "../part.safetensors"))
    refused(vit, session, "not a file of its folder")


@pytest.mark.parametrize("content", ["", "{]", "[]", '{"model_type": "vit"', "null", '{"model_type": NaN}'])
def test_a_configuration_that_is_none(content: str, vit: Path, session: Session) -> None:
    (vit / "config.json").write_text(content)
    refused(vit, session, "config.json cannot be read|model_type|supported")


@pytest.mark.parametrize("name", ["hf:../../etc", "hf:a", "hf:a/b/c", "hf:/etc/passwd", "hf-hub:..", "hf:a/b\0"])
def test_names_that_are_no_repository(name: str, session: Session) -> None:
    refused(name, session, "no repository: write ORG/NAME")


def test_repositories_come_from_the_local_cache(
    vit: Path, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "hub" / "models--org--name"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    (cached / "snapshots").mkdir()
    vit.rename(cached / "snapshots" / "abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert load_model("hf:org/name", session).categories == CLASSES

    def no_network(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("socket.getaddrinfo", no_network)
    for name in ("hf:org/other", "hf-hub:org/other"):
        refused(name, session, "org/other are missing and huggingface.co cannot be reached.*models--org--other")


@pytest.mark.parametrize(
    ("fields", "same"),
    [
        ({"size": {"height": 40, "width": 32}, "resample": 3}, True),
        ({"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": {"height": 32, "width": 24}}, True),
        ({"size": {"height": 32, "width": 32}, "do_normalize": False}, True),
        ({"size": {"height": 32, "width": 32}, "do_rescale": False}, True),
        ({"size": {"height": 32, "width": 32}, "rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3}, True),
        ({"size": {"height": 32, "width": 32}, "resample": 5}, False),
        ({"size": {"longest_edge": 40}}, False),
        ({"do_resize": False}, False),
        ({"size": {"height": -1, "width": 32}}, False),
        ({"size": {"height": 32, "width": 32}, "image_std": [0.0] * 3}, False),
        ({"size": {"height": 32, "width": 32}, "image_mean": "x"}, False),
        ({"size": {"shortest_edge": "x"}, "image_processor_type": "ConvNextImageProcessor"}, False),
        ({"size": "x", "image_processor_type": "ConvNextImageProcessor"}, False),
        ({"size": {"height": 32}}, False),
        ({"size": {"height": 32, "width": 32}, "do_normalize": "no"}, False),
        ({"size": {"height": 32, "width": 32}, "resample": True}, False),
    ],
)
def test_processors_are_translated_or_refused(fields: dict[str, Any], same: bool, tmp_path: Path) -> None:
    library = pytest.importorskip("transformers", reason="pip install 'deepscope[hf]'")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(fields))
    if not same:
        with pytest.raises(FileError, match="describes no preprocessing that is supported"):
            image_processor.beside(tmp_path / "model")
        return
    made = image_processor.beside(tmp_path / "model")
    assert made is not None
    kind = library.CLIPImageProcessorPil if "shortest_edge" in fields["size"] else library.ViTImageProcessorPil
    fields = {"resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, **fields}
    levels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    wanted = torch.as_tensor(np.asarray(kind(**fields)(levels, return_tensors="np")["pixel_values"]))
    found = ds.VisionModel("m", torch.nn.Identity(), made).normalise(made(levels)[None])
    torch.testing.assert_close(found, wanted.float(), atol=2e-2 * float(wanted.abs().max()), rtol=0)


WRONG = (None, True, -1, 0, 1.5, 10**30, "x", [], [[]], ["x"], {}, {"height": 8}, {"shortest_edge": "x"}, {"a": {}})


@pytest.mark.parametrize("kind", ["ConvNextImageProcessor", "CLIPImageProcessor", "ViTImageProcessor"])
def test_a_field_of_any_type_is_read_or_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    whole = {"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": 32, "image_processor_type": kind}
    more = (
        "resample",
        "do_resize",
        "do_rescale",
        "rescale_factor",
        "do_normalize",
        "image_mean",
        "image_std",
        "crop_pct",
    )
    for field in (*whole, *more, "crop_pct"):
        for value in WRONG:
            (tmp_path / "preprocessor_config.json").write_text(json.dumps({**whole, field: value}))
            try:
                image_processor.beside(tmp_path / "model")
            except FileError as error:
                assert "\n" not in str(error) and "describes no preprocessing" in str(error)


def test_a_processor_that_deviates_is_named(vit: Path, session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    from dataclasses import replace

    rewrite(vit, "preprocessor_config.json", do_convert_rgb=True, do_flip_channel_order=True)
    load_model(vit, replace(session, quiet=False))
    assert "gives other pixels" not in capsys.readouterr().err  # ViT's processor has no such step
    rewrite(vit, "preprocessor_config.json", image_processor_type="EfficientNetImageProcessor", rescale_offset=True)
    load_model(vit, replace(session, quiet=False))
    assert "gives other pixels than deepscope makes from its settings: they differ by" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------------- timm


def test_timm_folders_by_every_name(tmp_path: Path, session: Session) -> None:
    tiny = timm_folder(tmp_path)
    pixels = torch.rand(2, 3, SIZE, SIZE)
    for name in (str(tmp_path), f"local-dir:{tmp_path}", f"timm:local-dir:{tmp_path}"):
        model = load_model(name, session)
        assert model.categories == CLASSES
        assert tiny.logits is not None
        with torch.no_grad():
            torch.testing.assert_close(model(pixels), tiny.logits(model.normalise(pixels)), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": "nothing"}, "no model is named"),
        ({"num_classes": 4}, "not those of"),
        ({"num_classes": 10**9}, "num_classes"),
        ({"model_args": {"depth": 10**9}}, "changes the architecture .depth."),
        ({"pretrained_cfg": {"input_size": [3, 10**9, 10**9]}}, "pixels|8192|resize"),
        ({"pretrained_cfg": {"input_size": "x"}}, "can be built|resize"),
    ],
)
def test_a_timm_configuration_that_lies(changes: dict[str, Any], said: str, tmp_path: Path, session: Session) -> None:
    timm_folder(tmp_path)
    rewrite(tmp_path, **changes)
    refused(tmp_path, session, said)


def test_towers_of_clip_are_no_classifiers() -> None:
    tower = seeded(lambda: timm.create_model("vit_base_patch32_clip_224.openai", num_classes=512, depth=1))
    model = ds.wrap(tower)
    assert model.categories == ()
    with pytest.raises(ModelError, match="features only"):
        model(torch.rand(1, 3, 224, 224))
    assert ds.wrap(tower, CLASSES * 170 + ("a", "b")).capabilities.probabilities, "unless its owner says so"
    headless = seeded(lambda: timm.create_model("resnet10t", num_classes=0))
    assert ds.wrap(headless).categories == ()
    assert len(ds.wrap(seeded(lambda: timm.create_model("resnet10t", num_classes=7))).categories) == 7


# --------------------------------------------------------------------------------------------------------- CLIP


def test_clip_with_any_prompt(tmp_path: Path, session: Session) -> None:
    library = pytest.importorskip("open_clip", reason="pip install 'deepscope[clip]'")
    tiny = clip(tmp_path)
    whole: Any = library.create_model("deepscope-tiny", pretrained=str(tmp_path / "clip.safetensors")).eval()
    pixels = torch.rand(2, 3, SIZE, SIZE)

    def expected(model: ds.VisionModel, texts: list[str]) -> Tensor:
        with torch.no_grad():
            return whole.get_logits(model.normalise(pixels), library.get_tokenizer("deepscope-tiny")(texts))[0]

    for said, texts in (
        ("a photo of a {}: cat, red car", ["a photo of a cat", "a photo of a red car"]),
        ("cat, red car", ["a photo of a cat", "a photo of a red car"]),
        ("{}, a kind of food: cat, red car", ["cat, a kind of food", "red car, a kind of food"]),
    ):
        model = load_model(tiny.name, session, categories=said)
        assert model.categories == ("cat", "red car")
        torch.testing.assert_close(model(pixels), expected(model, texts), atol=1e-4, rtol=1e-5)
    other = load_model(tiny.name, session, categories=["cat", "dog"])
    assert other.fingerprint != model.fingerprint, "the classes are part of the network"
    tower = load_model(tiny.name, session)
    assert tower.categories == ()
    assert ds.activations(tower, pixels, "conv1", session=session)["conv1"].shape[0] == 2


def test_clip_refuses_in_one_line(tmp_path: Path, session: Session) -> None:
    pytest.importorskip("open_clip", reason="pip install 'deepscope[clip]'")
    clip(tmp_path)
    torch.save({"a": Evil(tmp_path / "ran")}, tmp_path / "evil.pt")
    state = safetensors.torch.load_file(tmp_path / "clip.safetensors")
    state.pop("visual.proj")
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(2**27))
    safetensors.torch.save_file(state, tmp_path / "less.safetensors")
    for name, said in (
        ("clip:nothing/x.pt", "no CLIP architecture is named 'nothing'"),
        ("clip:deepscope-tiny", "names no weights"),
        ("clip:deepscope-tiny/none.pt", "is not a weights file"),
        ("clip:deepscope-tiny/some-tag", "no file or published weights"),
        (f"clip:deepscope-tiny/{tmp_path}/evil.pt", "no model that can be built"),
        (f"clip:deepscope-tiny/{tmp_path}/bomb.pt", "compressed archive of 128 MB"),
        (f"clip:deepscope-tiny/{tmp_path}/less.safetensors", "no model that can be built"),
        (f"clip:ViT-B-32/{tmp_path}/less.safetensors", "no model that can be built"),
    ):
        refused(name, session, said)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("make", "extra"), [(transformers, "hf"), (clip, "clip")])
def test_without_the_extra(
    make: Callable[[Path], Any], extra: str, tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = make(tmp_path)
    monkeypatch.setattr(f"deepscope.models.{make.__name__}.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=rf"needs the extra {extra!r}: pip install 'deepscope\[{extra}\]'"):
        load_model(tiny.name, session)


def test_a_compressed_pickle_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(2**27))
    with pytest.raises(FileError, match="compressed archive of 128 MB"):
        hub.Weights.of(tmp_path)

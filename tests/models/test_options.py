"""What a person says of a model: names of classes, and the architecture, in Python and on the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from deepscope.cli.program import run
from deepscope.errors import DeepscopeError, FileError, ModelError, SettingError
from deepscope.models import ModelOptions, VisionModel, load_model
from deepscope.models.preprocessing import Preprocessing
from deepscope.models.preprocessing_text import in_full, read_words
from deepscope.session import Session
from networks import tiny_model


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        ("", ()),
        ("cat, dog", ("cat", "dog")),
        ('["cat, a", "dög"]', ("cat, a", "dög")),
    ],
)
def test_names_are_read_as_they_are_written(classes: str, names: tuple[str, ...]) -> None:
    assert ModelOptions(classes=classes).names() == names


def test_a_file_has_one_name_per_line(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes("\ufefftabby, a cat\r\ndög\r\n\r\n".encode())
    assert ModelOptions(classes=str(path)).names() == ("tabby, a cat", "dög")
    assert len(ModelOptions(classes="imagenet-1k").names()) == 1000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"cat\n\ndog\n", "line 2 is empty"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"x\n" * 200_000, "200,000 lines"),
        (b"x\n" * 10_000_000, "larger than"),
    ],
)
def test_a_file_that_holds_no_names_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(content)
    with pytest.raises(FileError, match=said):
        ModelOptions(classes=str(path)).names()


@pytest.mark.parametrize("classes", ["cat", "cat,,dog", "x" * 10_000, "a\0b", "[1]", "[", "[]"])
def test_what_is_neither_a_file_nor_names_is_refused(classes: str) -> None:
    with pytest.raises(SettingError, match="classes"):
        ModelOptions(classes=classes).names()


def test_names_replace_those_of_the_model_alone(tmp_path: Path) -> None:
    session = Session(home=tmp_path, cache=tmp_path, quiet=True)
    renamed = load_model("efficientnet_lite0", session, categories=[f"c{place}" for place in range(1000)])
    assert renamed.categories[:2] == ("c0", "c1") and renamed.wnids == ()
    assert load_model("efficientnet_lite0", session).categories[0] == "tench"
    with pytest.raises(SettingError, match="names 2 classes, and efficientnet_lite0 has 1,000"):
        load_model("efficientnet_lite0", session, categories=["a", "b"])
    with pytest.raises(SettingError, match="architecture"):
        load_model("efficientnet_lite0", session, architecture="torchvision:resnet18")


def test_flags_reach_the_model_they_belong_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"class number {place}" for place in range(1000)))
    assert run(["classify", str(tmp_path / "a.png"), "--classes", str(names), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["config"]["model_classes"] == str(names)
    assert "class number" in json.dumps(found["blocks"])
    assert run(["classify", str(tmp_path / "a.png"), "--classes", "cat,dog"]) == 2
    assert capsys.readouterr().err.startswith("deepscope: --classes names 2 classes")
    assert run(["visualize", "tench", "--model-classes", "cat,dog"]) == 2
    assert "--model-classes names 2 classes" in capsys.readouterr().err
    assert run(["report", "--architecture", "torchvision:vgg16", "--list"]) == 2
    assert "--model" in capsys.readouterr().err


def test_the_caller_s_own_model_stays_as_it_is() -> None:
    model: VisionModel = tiny_model()
    assert ModelOptions(classes="a,b,c,d").applied(model).categories == ("a", "b", "c", "d")
    assert model.categories[0] == "bee eater"
    with pytest.raises(DeepscopeError, match="features only"):
        ModelOptions(classes="a,b").applied(VisionModel("f", model.network, model.preprocessing))


@pytest.mark.parametrize("flag", ["--classes", "--architecture"])
def test_an_empty_flag_of_an_unset_variable_is_refused(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["classify", "nothing.png", flag, ""]) == 2
    assert f"{flag} is empty" in capsys.readouterr().err


def test_a_comma_at_the_end_is_named() -> None:
    with pytest.raises(SettingError, match="has an empty name between commas"):
        ModelOptions(classes="cat,dog,").names()


@pytest.mark.parametrize(("field", "value"), [("architecture", 5), ("categories", 5), ("preprocessing", 5)])
def test_load_model_names_the_argument_that_is_wrong(field: str, value: Any) -> None:
    with pytest.raises(SettingError) as refused:
        load_model("efficientnet_lite0", **{field: value})
    assert refused.value.setting == field


def test_an_empty_name_is_not_the_current_folder() -> None:
    with pytest.raises(ModelError, match="name of the model is empty"):
        load_model("")


def test_a_model_that_the_caller_holds_takes_the_same_options(tmp_path: Path) -> None:
    own = tiny_model()
    names = tuple(f"name {index}" for index in range(len(own.categories)))
    session = Session(home=tmp_path, cache=tmp_path, models={"own": own}, quiet=True)
    assert load_model("own", session, categories=names).categories == names
    assert load_model("own", session, head="multilabel").head.kind == "multilabel"
    assert load_model("own", session).categories == own.categories
    with pytest.raises(SettingError, match="architecture is for weights that do not name it"):
        load_model("own", session, architecture="torchvision:resnet18")
    with pytest.raises(SettingError, match="name each"):
        load_model("own", session, categories=["a", "b"] + [str(index) for index in range(50)])


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("crop 192", {"crop": 192}),
        ("resize 64, crop 48 x 56", {"resize": 64, "crop": (48, 56)}),
        ("resize 64 x 32 (bicubic)", {"resize": (64, 32), "crop": None, "interpolation": "bicubic"}),
        ("no crop, mean 0.5, std 0.1 0.2 0.3", {"crop": None, "mean": (0.5, 0.5, 0.5), "std": (0.1, 0.2, 0.3)}),
    ],
)
def test_preprocessing_in_words_changes_what_it_names(text: str, changed: dict[str, Any]) -> None:
    known = Preprocessing(200, 180, "nearest", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert read_words(text, known) == replace(known, **changed)
    assert read_words(in_full(known), Preprocessing()) == known
    assert read_words(str(known), Preprocessing()) == replace(known, crop=(180, 180))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("resize 64", "needs a crop"),
        ("resize wide x 64", "no size"),
        ("crop 0", "crop must be a number of pixels"),
        ("mean 0.5 0.5", "2 numbers as mean, and the model 3 channels"),
        ("std 0", "std must be one finite number above 0"),
        ("resize 64 x 64 (sharp)", "no filter 'sharp'"),
        ("crop 64, crop 32", "names crop twice"),
        ("crop 64 (bicubic)", "cannot be read, 'crop 64"),
        ("squash", "cannot be read, 'squash'"),
    ],
)
def test_words_that_describe_no_preprocessing_are_refused(text: str, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        read_words(text, Preprocessing())


def test_a_model_takes_the_preprocessing_that_it_was_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tiny_model()
    session = Session(home=tmp_path, cache=tmp_path, models={"own": own}, quiet=True)
    height, width = own.preprocessing.size
    levels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png")  # as an attack saves it: of the network's size
    found = load_model("own", session, preprocessing=f"resize {height} x {width}")
    torch.testing.assert_close(found.read([tmp_path / "a.png"])[0] * 255, torch.tensor(levels).permute(2, 0, 1).float())
    assert found.preprocessing.mean == own.preprocessing.mean
    assert found.origin.preprocessing == "the description that was given"
    whole = Preprocessing(9, 7, "bicubic", (0.5,) * 3, (0.25,) * 3)
    assert load_model("own", session, preprocessing=whole).preprocessing == whole
    fixed = replace(own, capabilities=replace(own.capabilities, input_size=(height, width)))
    with pytest.raises(SettingError, match="differ in the size of images: 9 x 7 and"):
        ModelOptions(preprocessing="resize 9 x 7").applied(fixed)
    assert run(["classify", str(tmp_path / "a.png"), "--preprocessing", "resize 9"]) == 2
    assert capsys.readouterr().err.startswith("deepscope: --preprocessing needs a crop beside the shorter side")

"""ONNX files as black boxes: any layout and batch, the numbers of plain PyTorch, and one line for what is hostile."""

from __future__ import annotations

import dataclasses
import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from deepscope.attributions import explain
from deepscope.errors import DeepscopeError, FileError, MissingExtraError, ModelError, UnsupportedError
from deepscope.models import load_model
from deepscope.models.onnx_file import MOST_BYTES
from deepscope.models.onnx_network import OnnxNetwork
from deepscope.session import Session
from deepscope.transfer import export
from networks import tiny_model
from tiny_sources import CLASSES, SIZE, onnx_model

onnx = pytest.importorskip("onnx", reason="pip install 'deepscope[onnx]'")
pytest.importorskip("onnxruntime", reason="pip install 'deepscope[onnx]'")
node = onnx.helper.make_node
FLOAT, HALF, BYTES = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.UINT8


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True)


def weights(inputs: int = 3 * SIZE * SIZE, classes: int = 3) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(0, 0.05, (inputs, classes)).astype(np.float32)


def linear(shape: tuple[Any, ...] = ("N", 3, SIZE, SIZE), **settings: Any) -> Any:
    """Logits are the weights times the input."""
    nodes = [node("Flatten", ["x"], ["f"]), node("MatMul", ["f", "w"], ["logits"])]
    return onnx_model(nodes, {"w": weights()}, shape, **settings)


def saved(model: Any, folder: Path, name: str = "m.onnx") -> Path:
    onnx.save(model, folder / name)
    return folder / name


def wanted(inputs: Tensor) -> Tensor:
    return inputs.flatten(1) @ torch.from_numpy(weights())


@pytest.mark.parametrize("batch", [1, 2, 4, "N", -1])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_any_batch_and_layout(batch: Any, layout: str, tmp_path: Path, session: Session) -> None:
    shape = (batch, 3, SIZE, SIZE) if layout == "NCHW" else (batch, SIZE, SIZE, 3)
    model = load_model(saved(linear(shape), tmp_path), session)
    assert model.capabilities == dataclasses.replace(
        model.capabilities, gradients=False, activations=False, probabilities=True, input_size=(SIZE, SIZE), channels=3
    )
    for count in (1, 3, 4, 9, 70):
        pixels = torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(count))
        given = model.normalise(pixels)
        given = given if layout == "NCHW" else given.permute(0, 2, 3, 1)
        found = model(pixels)
        assert found.shape == (count, 3)
        torch.testing.assert_close(found, wanted(given), atol=1e-4, rtol=0)
        torch.testing.assert_close(model(pixels[-1:]), found[-1:], atol=1e-5, rtol=0)


def test_a_graph_that_only_runs_with_the_batch_it_was_traced_with(tmp_path: Path, session: Session) -> None:
    nodes = [node("Reshape", ["x", "s"], ["f"]), node("MatMul", ["f", "w"], ["logits"])]
    made = onnx_model(nodes, {"w": weights(), "s": np.array([1, 3 * SIZE * SIZE])})
    pixels = torch.rand(5, 3, SIZE, SIZE)
    model = load_model(saved(made, tmp_path), session)
    torch.testing.assert_close(model(pixels), wanted(model.normalise(pixels)), atol=1e-4, rtol=0)


def _minus_mean_of_batch(output: str) -> list[Any]:
    """What an image has beyond the mean of its batch: a network that was exported in training mode does the like."""
    mean = [node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1), node("Sub", ["x", "m"], ["d"])]
    return [*mean, node("Add", ["d", "x"], ["a"]), node("Flatten", ["a"], ["f"]), node("MatMul", ["f", "w"], [output])]


@pytest.mark.parametrize("batch", [1, 2, 4, "N"])
def test_images_of_a_batch_that_change_each_other_are_run_one_by_one(
    batch: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = onnx_model(_minus_mean_of_batch("logits"), {"w": weights()}, (batch, 3, SIZE, SIZE))
    model = load_model(saved(made, tmp_path), Session(home=tmp_path, cache=tmp_path))
    said = "computes with all images of a batch together, so each image is run without the others"
    assert (said in capsys.readouterr().err) == (batch != 1)
    pixels = torch.rand(5, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    alone = wanted(model.normalise(pixels))  # the mean of one image is the image itself
    for count in (1, 2, 5):
        torch.testing.assert_close(model(pixels[:count]), alone[:count], atol=1e-4, rtol=0)


def test_outputs_that_are_not_per_image_do_not_decide_the_batch(tmp_path: Path, session: Session) -> None:
    made = linear()
    constant = onnx.numpy_helper.from_array(np.ones((1, 4), np.float32))
    made.graph.node.append(node("Constant", [], ["scale"], value=constant))
    made.graph.output.append(onnx.helper.make_tensor_value_info("scale", FLOAT, None))
    model = load_model(saved(made, tmp_path), session)
    pixels = torch.rand(3, 3, SIZE, SIZE)
    torch.testing.assert_close(model(pixels), wanted(model.normalise(pixels)), atol=1e-4, rtol=0)
    assert isinstance(model.network, OnnxNetwork) and model.network.batch is None


def test_a_graph_that_loses_the_axis_of_one_image_runs_on_two(tmp_path: Path, session: Session) -> None:
    nodes = [node("Flatten", ["x"], ["f"]), node("MatMul", ["f", "w"], ["s"]), node("Squeeze", ["s"], ["logits"])]
    model = load_model(saved(onnx_model(nodes, {"w": weights()}), tmp_path), session)
    pixels = torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    for count in (1, 2, 3):
        expected = wanted(model.normalise(pixels[:count]))
        torch.testing.assert_close(model(pixels[:count]), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("dtype", "cast"), [(HALF, "float16"), (BYTES, "uint8")])
def test_other_types_of_input(dtype: int, cast: str, tmp_path: Path, session: Session) -> None:
    nodes = [
        node("Cast", ["x"], ["c"], to=FLOAT),
        node("Flatten", ["c"], ["f"]),
        node("MatMul", ["f", "w"], ["logits"]),
    ]
    model = load_model(saved(onnx_model(nodes, {"w": weights()}, dtype=dtype), tmp_path), session)
    levels = torch.randint(256, (2, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0))
    pixels = levels / 255
    given = levels.float() if cast == "uint8" else model.normalise(pixels).half().float()
    torch.testing.assert_close(model(pixels), wanted(given), atol=1e-3, rtol=1e-3)


def test_probabilities_become_logits(tmp_path: Path, session: Session) -> None:
    nodes = [
        *(node("Flatten", ["x"], ["f"]), node("MatMul", ["f", "w"], ["l"])),
        node("Softmax", ["l"], ["p"], axis=1),
    ]
    model = load_model(saved(onnx_model(nodes, {"w": weights()}, output="p"), tmp_path), session)
    pixels = torch.rand(2, 3, SIZE, SIZE)
    torch.testing.assert_close(model(pixels).softmax(1), wanted(model.normalise(pixels)).softmax(1), atol=1e-5, rtol=0)


def test_external_data_beside_the_file(tmp_path: Path, session: Session) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(linear(), path, save_as_external_data=True, location="m.bin", size_threshold=0)
    pixels = torch.rand(2, 3, SIZE, SIZE)
    model = load_model(path, session)
    torch.testing.assert_close(model(pixels), wanted(model.normalise(pixels)), atol=1e-4, rtol=0)
    content = bytearray((tmp_path / "m.bin").read_bytes())
    content[0] ^= 1
    (tmp_path / "m.bin").write_bytes(content)
    assert load_model(path, session).fingerprint != model.fingerprint


def test_what_transfer_export_writes_comes_back(tmp_path: Path, session: Session) -> None:
    pytest.importorskip("onnxscript", reason="pip install 'deepscope[onnx]'")
    model = tiny_model(size=SIZE)
    export(model, tmp_path / "own.onnx")
    other = load_model(tmp_path / "own.onnx", session)
    assert other.categories == model.categories
    assert (other.preprocessing.resize, other.preprocessing.crop) == (SIZE, SIZE)
    pixels = torch.rand(3, 3, SIZE, SIZE)
    torch.testing.assert_close(other(pixels).softmax(1), model(pixels).softmax(1), atol=1e-5, rtol=0)


def test_names_and_preprocessing_from_files_beside_it(tmp_path: Path, session: Session) -> None:
    path = saved(linear(metadata={"names": "{0: 'a', 1: 'b', 2: 'c'}"}), tmp_path)
    assert load_model(path, session).categories == ("a", "b", "c")
    path = saved(linear(), tmp_path, "model.onnx")
    (tmp_path / "config.json").write_text(json.dumps({"id2label": dict(enumerate(CLASSES))}))
    said = {"size": {"height": SIZE, "width": SIZE}, "resample": 3, "image_mean": [0.1] * 3, "image_std": [0.2] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    for name in (path, tmp_path):  # a folder, as optimum writes it
        model = load_model(name, session)
        assert model.categories == CLASSES
        assert model.preprocessing.interpolation == "bicubic"
        assert model.preprocessing.mean == pytest.approx([0.1] * 3)
    (tmp_path / "preprocessor_config.json").write_text("{]")
    with pytest.raises(FileError, match="preprocessor_config"):
        load_model(path, session)


def test_it_says_what_it_assumes(tmp_path: Path, session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    load_model(saved(linear(), tmp_path), dataclasses.replace(session, quiet=False))
    assert "does not say how its input is made" in capsys.readouterr().err


def test_no_gradients_and_no_silent_zeros(tmp_path: Path, session: Session) -> None:
    model = load_model(saved(linear(), tmp_path), session)
    pixels = torch.rand(1, 3, SIZE, SIZE)
    with pytest.raises(UnsupportedError, match=r"saliency needs gradients.*ONNX Runtime.*: use kernel-shap or lime"):
        explain(model, pixels, "saliency", session=session)
    with pytest.raises(UnsupportedError, match="layer"):
        model.layer("f")


# ------------------------------------------------------------------------------------------------ hostile files


def _external(location: str, **said: Any) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in {"location": location, **said}.items():
            tensor.external_data.add(key=key, value=str(value))

    return change


def _custom(model: Any) -> None:
    model.graph.node[0].domain = "com.evil"
    model.opset_import.add(domain="com.evil", version=1)


def _python(model: Any) -> None:
    model.graph.node[0].domain, model.graph.node[0].op_type = "com.microsoft", "PythonOp"


def _hidden_loop(model: Any) -> None:
    inner = onnx.helper.make_graph([node("Loop", ["a", "b"], ["c"])], "inner", [], [])
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("then_branch", inner))


def _loop_in_a_function(model: Any) -> None:
    """In a branch of a function's own node, where no list of the functions' nodes shows it."""
    inner = onnx.helper.make_graph([node("Loop", ["a", "b"], ["c"])], "inner", [], [])
    branch = onnx.helper.make_node("If", ["a"], ["b"], then_branch=inner, else_branch=inner)
    opsets = [onnx.helper.make_opsetid("", 17)]
    model.functions.append(onnx.helper.make_function("own", "Hidden", ["a"], ["b"], [branch], opsets))
    model.opset_import.add(domain="own", version=1)


def _data_in_a_function(model: Any) -> None:
    tensor = onnx.helper.make_tensor("t", FLOAT, [1], [0.0])
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    inner = onnx.helper.make_graph([], "inner", [], [], initializer=[tensor])
    branch = onnx.helper.make_node("If", ["a"], ["b"], then_branch=inner, else_branch=inner)
    opsets = [onnx.helper.make_opsetid("", 17)]
    model.functions.append(onnx.helper.make_function("own", "Hidden", ["a"], ["b"], [branch], opsets))


def _nested(model: Any) -> None:
    """A loop inside as many branches as Protocol Buffers read."""
    inner = onnx.helper.make_graph([node("Loop", ["a", "b"], ["c"])], "inner", [], [])
    for _ in range(31):
        inner = onnx.helper.make_graph([onnx.helper.make_node("If", ["a"], ["b"], then_branch=inner)], "g", [], [])
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("then_branch", inner))


def _wrong_dims(model: Any) -> None:
    model.graph.initializer[0].dims[0] = 2**40


def _two_inputs(model: Any) -> None:
    model.graph.input.add().CopyFrom(onnx.helper.make_tensor_value_info("mask", FLOAT, [1]))


def _shape(*axes: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("x", FLOAT, axes))

    return change


def _integers(model: Any) -> None:
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64


HOSTILE: dict[str, tuple[Callable[[Any], None], str]] = {
    "absolute data": (_external("/etc/passwd"), "not a file inside its folder"),
    "data above": (_external("../secret.bin"), "not a file inside its folder"),
    "data by a link": (_external("link.bin"), "not a file inside its folder"),
    "data in no file": (_external(""), "not a file inside its folder"),
    "null byte": (_external("a\0b"), "not a file inside its folder"),
    "more data than there is": (_external("here.bin", offset=0, length=2**40), "bytes, which is not what"),
    "negative offset": (_external("here.bin", offset=-8, length=4), "bytes, which is not what"),
    "offset that is no number": (_external("here.bin", offset="x"), "bytes, which is not what"),
    "an operator of its author": (_custom, "com.evil.Flatten, which needs code of its author"),
    "an operator that runs Python": (_python, "PythonOp"),
    "a loop inside of a branch": (_hidden_loop, "Loop"),
    "a loop inside of a function's branch": (_loop_in_a_function, "Loop"),
    "a loop at any depth": (_nested, "Loop"),
    "data in a function's branch": (_data_in_a_function, "not a file inside its folder"),
    "wrong dimensions": (_wrong_dims, "cannot be loaded by ONNX Runtime"),
    "two inputs": (_two_inputs, "has 2 inputs"),
    "no images": (_shape(1, 10), "2 axes"),
    "as many channels as pixels": (_shape(1, 32, 32, 32), "32 channels"),
    "huge images": (_shape(1, 3, 10**6, 10**6), "too many"),
    "a huge batch": (_shape(10**6, 3, 32, 32), "too many"),
    "another size than it runs with": (_shape(1, 3, 16, 16), "cannot"),
    "whole numbers": (_integers, "neither floating-point"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line(name: str, tmp_path: Path, session: Session) -> None:
    change, said = HOSTILE[name]
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(weights().tobytes())
    (folder / "here.bin").write_bytes(b"0" * 64)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    model = linear()
    change(model)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(DeepscopeError, match=said) as raised:
        load_model(folder / "m.onnx", session)
    assert "\n" not in str(raised.value)
    assert isinstance(raised.value, (FileError, ModelError))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\xff" * 100, b"\x08\x09", b"{}"])
def test_what_is_no_onnx_file(content: bytes, tmp_path: Path, session: Session) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(FileError, match="not an ONNX model"):
        load_model(tmp_path / "m.onnx", session)


def test_cut_off_anywhere(tmp_path: Path, session: Session) -> None:
    content = linear().SerializeToString()
    for share in (0.1, 0.5, 0.9, 0.999):
        (tmp_path / "m.onnx").write_bytes(content[: int(share * len(content))])
        with pytest.raises(FileError):
            load_model(tmp_path / "m.onnx", session)


def test_files_that_are_too_large_missing_or_a_folder(tmp_path: Path, session: Session) -> None:
    with pytest.raises(FileError, match="no such file"):
        load_model(tmp_path / "m.onnx", session)
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(FileError, match="not an ordinary file"):
        load_model(tmp_path / "folder.onnx", session)
    with (tmp_path / "large.onnx").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(FileError, match="larger than 2 GB"):
        load_model(tmp_path / "large.onnx", session)


@pytest.mark.skipif(sys.platform != "linux", reason="the largest resident size is in kB on Linux")
def test_a_small_file_cannot_ask_for_any_amount_of_memory(tmp_path: Path, session: Session) -> None:
    nodes = [
        node("ConstantOfShape", ["s"], ["zeros"]),
        node("ReduceMax", ["zeros"], ["r"], keepdims=0),
        *(node("Flatten", ["x"], ["f"]), node("MatMul", ["f", "w"], ["l"]), node("Add", ["l", "r"], ["logits"])),
    ]
    path = saved(onnx_model(nodes, {"w": weights(), "s": np.array([60_000, 60_000])}), tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match="cannot run") as raised:
        load_model(path, session)
    assert "\n" not in str(raised.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # kB


def test_outputs_that_are_no_scores(tmp_path: Path, session: Session) -> None:
    made = onnx_model([node("Relu", ["x"], ["y"])], {}, output="y")
    with pytest.raises(ModelError, match=r"'y' \(1, 3, 32, 32\): a classifier returns one output"):
        load_model(saved(made, tmp_path), session)


def test_without_the_extra(tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(linear(), tmp_path)
    monkeypatch.setattr("deepscope.models.onnx.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"needs the extra 'onnx': pip install 'deepscope\[onnx\]'"):
        load_model(path, session)

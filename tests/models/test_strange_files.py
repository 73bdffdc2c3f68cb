"""Model files and folders of other kinds, and a weights folder in which strange things lie."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from deepscope.commands.models import ModelsClasses, ModelsList, ModelsShow
from deepscope.errors import DeepscopeError
from deepscope.models import architectures, catalogue, load_model
from deepscope.session import Session

SPEC = "torchvision:squeezenet1_1"


@pytest.fixture
def session(tmp_path: Path) -> Session:
    (tmp_path / "home" / "weights").mkdir(parents=True)
    return Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True)


def own(path: Path, categories: tuple[str, ...] = ("hay", "snail"), *, outputs: int = 2, **about: str) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = architectures._build(SPEC, outputs).state_dict()
    metadata = {"architecture": SPEC, "categories": json.dumps(categories), **about}
    save_file(state, path, metadata=metadata)
    return path


def strange(weights: Path) -> None:
    """Everything that has been found in such folders, and worse."""
    (weights / "folder.safetensors").mkdir()
    (weights / "empty.safetensors").touch()
    (weights / "noise.safetensors").write_bytes(b"\xff" * 100)
    (weights / "claim.safetensors").write_bytes((10 * 10**9).to_bytes(8, "little") + b"{}")
    (weights / "dangling.safetensors").symlink_to(weights / "nowhere")
    (weights / "loop.safetensors").symlink_to(weights / "loop.safetensors")
    os.mkfifo(weights / "pipe.safetensors")
    tensors = {"a": torch.zeros(1)}
    named = {"architecture": SPEC}
    save_file(tensors, weights / "silent.safetensors")
    save_file(tensors, weights / "unknown.safetensors", metadata={"architecture": "torchvision:\x1b[2Jnothing"})
    save_file(tensors, weights / "library.safetensors", metadata={"architecture": "::"})
    save_file(tensors, weights / "wrong.safetensors", metadata={**named, "preprocessing": '{"nope": 1}'})
    save_file(tensors, weights / "deep.safetensors", metadata={**named, "preprocessing": "[" * 100_000})
    save_file(tensors, weights / "many.safetensors", metadata={**named, "categories": "[" * 100_000})
    save_file(tensors, weights / "\x1b]0;title\x07.safetensors", metadata=named)
    unreadable = weights / "unreadable.safetensors"
    save_file(tensors, unreadable, metadata=named)
    unreadable.chmod(0)


def test_no_file_stops_the_others(session: Session) -> None:
    strange(session.home / "weights")
    own(session.home / "weights" / "mine.safetensors")
    listed = [entry.name for entry in catalogue(session) if entry.weights.startswith("weights/")]
    assert "mine" in listed
    assert "folder" not in listed
    assert ModelsList().run(session).metrics["here"] >= 2
    assert load_model("mine", session).categories == ("hay", "snail")
    with pytest.raises(DeepscopeError, match=r"did you mean.*efficientnet_lite0"):
        load_model("efficientnet_lite", session)


def test_what_is_listed_as_here_opens_or_is_refused_in_one_line(session: Session) -> None:
    strange(session.home / "weights")
    own(session.home / "weights" / "mine.safetensors")
    for path in (session.home / "weights").iterdir():
        if path.stem != "mine":
            with pytest.raises(DeepscopeError) as caught:
                load_model(str(path), session)
            assert "\n" not in str(caught.value)
    opened = []
    for entry in catalogue(session):
        if entry.here:
            try:
                opened.append(load_model(entry.name, session).name)
            except DeepscopeError as error:
                assert "\n" not in str(error)
    assert {"mine", "efficientnet_lite0"} <= set(opened)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".onnx", ".bin", ".h5", ".tar", ".PTH", ".xyz", ""])
def test_a_file_of_another_kind_is_not_missing(suffix: str, session: Session, tmp_path: Path) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(b"\x08\x08")
    said = "not supported yet" if suffix in (".h5", ".xyz", "") else r"net\.\w+"
    with pytest.raises(DeepscopeError, match=said):
        load_model(path, session)
    with pytest.raises(DeepscopeError, match="no such file"):
        load_model(tmp_path / f"none{suffix or '.pt'}", session)


def test_a_folder_of_another_kind_is_not_missing(session: Session, tmp_path: Path) -> None:
    folder = tmp_path / "transformer"
    folder.mkdir()
    with pytest.raises(DeepscopeError, match=r"exists, but is a folder that holds no saved classifier"):
        load_model(folder, session)
    (folder / "config.json").write_text("{}")
    with pytest.raises(DeepscopeError, match="transformers"):
        load_model(folder, session)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "x" * 5000 + ".safetensors", "a\0.safetensors", "~", "/dev/null"])
def test_what_is_no_path_is_refused(name: str, session: Session) -> None:
    with pytest.raises(DeepscopeError):
        load_model(name, session)


def test_show_and_classes_open_what_model_opens(session: Session, tmp_path: Path) -> None:
    path = own(tmp_path / "mine.safetensors", preprocessing='{"resize": 64, "crop": 64}')
    shown = ModelsShow(str(path)).run(session)
    network = architectures.skeleton(SPEC, classes=2)
    assert shown.metrics["parameters/total"] == sum(parameter.numel() for parameter in network.parameters())
    assert "3 x 64 x 64" in shown.title
    assert ModelsClasses(str(path)).run(session).metrics["classes"] == 2


def test_a_single_logit_in_a_file_decides_between_two(session: Session, tmp_path: Path) -> None:
    model = load_model(own(tmp_path / "one.safetensors", outputs=1), session)
    pixels = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        logit = model.network(model.normalise(pixels))
        assert logit.shape == (2, 1)
        torch.testing.assert_close(model(pixels).softmax(1)[:, 1:], logit.sigmoid())
    alone = load_model(own(tmp_path / "alone.safetensors", ("defect",), outputs=1), session)
    with pytest.raises(DeepscopeError, match="single logit"):
        alone(pixels)
    assert ModelsShow(str(tmp_path / "one.safetensors")).run(session).metrics["parameters/total"] > 0


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_in_any_precision_open(kind: torch.dtype, session: Session, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = architectures._build(SPEC, 2).state_dict()
    metadata = {"architecture": SPEC, "categories": '["hay", "snail"]'}
    save_file({key: value.to(kind) for key, value in state.items()}, tmp_path / "x.safetensors", metadata=metadata)
    pixels = torch.rand(2, 3, 64, 64)
    found = load_model(tmp_path / "x.safetensors", session)(pixels)
    wanted = load_model(own(tmp_path / "own.safetensors"), session)(pixels)
    torch.testing.assert_close(found.softmax(1), wanted.softmax(1), atol=1e-2, rtol=0)


@pytest.mark.parametrize("kind", [torch.int32, torch.bool, torch.complex64])
def test_weights_that_are_no_real_numbers_are_refused(kind: torch.dtype, session: Session, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        state = architectures._build(SPEC, 2).state_dict()
    state["features.0.weight"] = state["features.0.weight"].to(kind)
    with pytest.raises(DeepscopeError, match=r"features\.0\.weight"):
        architectures.assemble(SPEC, state, classes=2)

"""Gradients of ONNX files: those of the network that was exported, or one line that says why there are none."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

import deepscope
from deepscope.attributions import explain
from deepscope.cli.program import run
from deepscope.errors import MissingExtraError, ModelError, SettingError, UnsupportedError
from deepscope.models import load_model, onnx_gradients
from deepscope.session import Session
from tiny_sources import SIZE, network, onnx_model, seeded

onnx = pytest.importorskip("onnx", reason="pip install 'deepscope[onnx-gradients]'")
pytest.importorskip("onnx2pytorch", reason="pip install 'deepscope[onnx-gradients]'")
node = onnx.helper.make_node

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet": lambda: timm.create_model("test_resnet", num_classes=5),
    "resnet18": lambda: torchvision.models.resnet18(num_classes=5),
    "squeezenet": lambda: torchvision.models.squeezenet1_1(num_classes=5),  # its equal biases are written once
    "mobilenet": lambda: torchvision.models.mobilenet_v3_small(num_classes=5),
    "convnext": lambda: timm.create_model("test_convnext", num_classes=5),
    "vit": lambda: timm.create_model("vit_tiny_patch16_224", depth=2, img_size=64, num_classes=5),
}


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True)


def exported(made: nn.Module, path: Path, *, size: int = 64, batch: int | str = "N", **settings: Any) -> Path:
    free: dict[str, Any] = {"input_names": ["x"], "dynamic_axes": {"x": {0: "N"}}} if batch == "N" else {}
    free = {} if settings.get("dynamo") else free
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter is deprecated
        example = (torch.rand(2 if batch == "N" else int(batch), 3, size, size),)
        torch.onnx.export(made, example, path, **{"dynamo": False, **free, **settings})
    return path


def require_gradients(made: nn.Module, path: Path, session: Session) -> None:
    """Scores and gradients of the file are those of the network, within 1e-4 of the largest."""
    model = load_model(path, session, gradients=True)
    found, wanted = (
        torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(2)).requires_grad_() for _ in "ab"
    )
    scores, own = model(found), made(model.normalise(wanted))
    torch.testing.assert_close(scores, own, atol=1e-4, rtol=0)
    (gradient,) = torch.autograd.grad(scores[:, 3].sum(), found)
    (other,) = torch.autograd.grad(own[:, 3].sum(), wanted)
    assert float(other.abs().max()) > 0
    torch.testing.assert_close(gradient, other, atol=1e-4 * float(other.abs().max()), rtol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_those_of_the_network(name: str, tmp_path: Path, session: Session) -> None:
    made = seeded(NETWORKS[name])
    require_gradients(made, exported(made, tmp_path / "m.onnx", opset_version=17), session)


def test_the_newer_exporter_and_a_fixed_batch(tmp_path: Path, session: Session) -> None:
    made = seeded(NETWORKS["resnet"])
    require_gradients(
        made, exported(made, tmp_path / "m.onnx", dynamo=True, verbose=False, external_data=False), session
    )
    require_gradients(made, exported(made, tmp_path / "m.onnx", batch=2), session)


def test_channels_last(tmp_path: Path, session: Session) -> None:
    made = network()

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = made

        def forward(self, x: Tensor) -> Tensor:
            return self.inside(x.permute(0, 3, 1, 2))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Last().eval(), (torch.rand(2, SIZE, SIZE, 3),), tmp_path / "m.onnx", dynamo=False)
    model = load_model(tmp_path / "m.onnx", session, gradients=True)
    pixels = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0), requires_grad=True)
    torch.testing.assert_close(model(pixels), made(model.normalise(pixels)), atol=1e-5, rtol=0)
    assert torch.autograd.grad(model(pixels).sum(), pixels)[0].shape == pixels.shape


def test_methods_that_need_gradients_work_and_those_that_need_layers_refuse(tmp_path: Path, session: Session) -> None:
    made = seeded(NETWORKS["resnet"])
    path = exported(made, tmp_path / "m.onnx")
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    model = load_model(path, session, gradients=True)
    own = deepscope.wrap(made, preprocessing=model.preprocessing)
    maps = [explain(one, pixels, "saliency", session=session).maps for one in (model, own)]
    torch.testing.assert_close(maps[0], maps[1], atol=1e-4 * float(maps[1].abs().max()), rtol=0)
    with pytest.raises(UnsupportedError, match="needs gradients"):
        explain(load_model(path, session), pixels, "saliency", session=session)
    with pytest.raises(UnsupportedError, match=r"layers.*an ONNX file does not expose its layers"):
        explain(model, pixels, "grad-cam", session=session)


def linear(path: Path, *more: Any, dtype: int = 1) -> Path:
    nodes = [node("Flatten", ["x"], ["f"]), node("MatMul", ["f", "w"], ["s"]), *more]
    values = torch.randn(3 * SIZE * SIZE, 3, generator=torch.Generator().manual_seed(0)) / 50
    onnx.save(onnx_model(nodes, {"w": values.numpy()}, output="logits", dtype=dtype), path)
    return path


def test_what_cannot_be_trusted_is_refused(tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    path = linear(tmp_path / "m.onnx", node("Identity", ["s"], ["logits"]))
    assert load_model(path, session, gradients=True).capabilities.gradients
    convert = onnx_gradients._convert

    class Changed(nn.Module):
        def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
            super().__init__()
            self.inside, self.change = convert(path), change

        def forward(self, x: Tensor) -> Tensor:
            return self.change(self.inside(x))

    changes: dict[str, Callable[[Tensor], Tensor]] = {
        r"differ by [34]\.\de-04 .*at most 1e-04": lambda scores: scores + 4e-4,
        "no gradient passes": lambda scores: scores.detach(),
        "differ by nan": lambda scores: scores * torch.nan,
        r"scores of shape \(1, 2\)": lambda scores: scores[:, :2],
        r"differ by": lambda scores: scores * (1 + (len(scores) == 1)),
        r"differ by [\d.]+e\+0": lambda scores: scores * (1 + 9 * (len(scores) == 3)),
        "cannot convert it": lambda scores: 1 / 0,  # type: ignore[return-value]
    }
    for said, change in changes.items():
        monkeypatch.setattr(onnx_gradients, "_convert", lambda _, change=change: Changed(change))
        with pytest.raises(ModelError, match=said) as refused:
            load_model(path, session, gradients=True)
        assert "\n" not in str(refused.value)
    monkeypatch.setattr(onnx_gradients, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="onnx-gradients"):
        load_model(path, session, gradients=True)


def test_operators_that_the_converter_lacks_and_bytes_are_refused(tmp_path: Path, session: Session) -> None:
    path = linear(tmp_path / "m.onnx", node("QuickGelu", ["s"], ["logits"], domain="com.microsoft"))
    made = onnx.load(path)
    made.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    onnx.save(made, path)
    assert not load_model(path, session).capabilities.gradients
    with pytest.raises(ModelError, match="gives no gradients: onnx2pytorch cannot convert it") as refused:
        load_model(path, session, gradients=True)
    assert "\n" not in str(refused.value)
    nodes = [node("Cast", ["x"], ["y"], to=1), node("Flatten", ["y"], ["f"]), node("MatMul", ["f", "w"], ["logits"])]
    values = torch.randn(3 * SIZE * SIZE, 3, generator=torch.Generator().manual_seed(0)) / 5000
    onnx.save(onnx_model(nodes, {"w": values.numpy()}, dtype=2), path)
    with pytest.raises(ModelError, match="its input is bytes"):
        load_model(path, session, gradients=True)


def test_the_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DEEPSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DEEPSCOPE_CACHE", str(tmp_path / "cache"))
    path = linear(tmp_path / "m.onnx", node("Identity", ["s"], ["logits"]))
    Image.new("RGB", (40, 40), (200, 100, 0)).save(tmp_path / "a.png")
    said = ["explain", "saliency", str(tmp_path / "a.png"), "--model", str(path), "--quiet"]
    assert run(said) == 2
    assert run([*said, "--gradients"]) == 0
    capsys.readouterr()
    model = deepscope.wrap(lambda pixels: pixels.mean((2, 3)).numpy(), preprocessing=deepscope.Preprocessing(8, 8))
    with pytest.raises(SettingError, match="gradients is for ONNX files"):
        load_model("held", Session(models={"held": model}, quiet=True), gradients=True)

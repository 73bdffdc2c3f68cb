"""Inference engines: held to PyTorch's outputs, chosen where they repay their first use, and never behind a change."""

from __future__ import annotations

import dataclasses
import functools
import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepscope import wrap
from deepscope.attributions.engine import batches, prepared, scores
from deepscope.cli.program import run
from deepscope.cli.signature import Common
from deepscope.errors import DeepscopeError, MissingExtraError, SettingError
from deepscope.features import extract
from deepscope.features.engine import engine_of
from deepscope.features.extraction import backbone_of
from deepscope.features.passes import BATCH, Quick
from deepscope.models import Preprocessing, VisionModel, engines, measured, serving
from deepscope.models.agreement import features_agree, scores_agree
from deepscope.models.classifier import View
from deepscope.models.engines import ENGINES, Engine
from deepscope.models.prediction import forward, served
from deepscope.session import Session

SIDE = 32
PIXELS = torch.rand(40, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def _model(seed: int = 0) -> VisionModel:
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )
    return wrap(network, categories=list("abcde"), preprocessing=Preprocessing(SIDE, SIDE))


def _session(cache: Path, engine: str) -> Session:
    return Session.open(device="cpu", engine=engine, cache=cache, quiet=True)


@dataclasses.dataclass
class Counting:
    """An engine that is PyTorch itself, perhaps with an error, and counts what it does."""

    error: float = 0
    builds: int = 0
    passes: int = 0
    name: str = "onnxruntime"
    packages: tuple[str, ...] = ("torch",)
    extra: str = "onnx"
    first_use: float = 1
    installed: bool = True
    by_name_only: bool = False

    def here(self) -> bool:
        return self.installed

    def build(self, module: nn.Module, example: Tensor, export: Any) -> engines.Run:
        self.builds += 1

        def run(inputs: Tensor) -> Tensor:
            self.passes += 1
            with torch.no_grad():
                return module(inputs) + self.error * torch.arange(5)

        return run


@pytest.fixture(autouse=True)
def _a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_RUNNING", {})


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Counting:
    made = Counting()
    monkeypatch.setattr(serving, "ENGINES", {made.name: made})
    return made


def _times(monkeypatch: pytest.MonkeyPatch, *, plain: float, quick: float) -> list[str]:
    """Each pass of PyTorch, and of the engine, shall take that long; returns what was measured."""
    measured: list[str] = []

    def seconds(run: Any, _: Tensor) -> float:
        measured.append("torch" if isinstance(run, nn.Module) else "engine")
        return plain if isinstance(run, nn.Module) else quick

    monkeypatch.setattr(serving, "_seconds", seconds)
    monkeypatch.setattr(serving, "_once", lambda run, _: plain)
    return measured


@pytest.mark.parametrize("name", [name for name, one in ENGINES.items() if name != "compile"])
def test_an_engine_gives_pytorchs_scores_and_an_images_bits_do_not_depend_on_its_company(
    name: str, tmp_path: Path
) -> None:
    if not ENGINES[name].here():
        pytest.skip(f"{name} is not installed")
    model, session = _model(), _session(tmp_path, name)
    wanted = forward(model, PIXELS, session)
    found = forward(model, PIXELS, session, images=40)
    assert session.engines == {name}
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    for size in range(1, 41):
        assert torch.equal(forward(model, PIXELS[:size], session, images=40), found[:size]), size


@pytest.mark.parametrize("name", ["torch", "onnxruntime"])
def test_the_features_of_an_image_do_not_depend_on_its_company(name: str, tmp_path: Path) -> None:
    if name != "torch" and not ENGINES[name].here():
        pytest.skip(f"{name} is not installed")
    model, session = _model(), _session(tmp_path, name)
    backbone = backbone_of(model, [("3", "mean")])
    engine = engine_of(backbone, model.preprocessing, session, images=40, batch=BATCH)
    assert (engine is None) == (name == "torch")

    run = engine or Quick(backbone, PIXELS[:1], session)

    def features(pixels: Tensor) -> Any:
        parts = [run(part) for part in pixels.split(BATCH)]
        return np.concatenate([part[0] for part in parts])

    whole = features(PIXELS)
    for size in range(1, 41):
        assert np.array_equal(features(PIXELS[-size:]), whole[-size:]), size


def test_an_extraction_names_its_engine_and_keeps_its_features_apart(tmp_path: Path) -> None:
    if not ENGINES["onnxruntime"].here():
        pytest.skip("onnxruntime is not installed")
    model, arrays = _model(), [(one.permute(1, 2, 0) * 255).byte().numpy() for one in PIXELS]
    found = {}
    for name in ("torch", "onnxruntime", "onnxruntime"):
        session = _session(tmp_path, name)
        found[name] = extract(model, [("3", "mean"), ("0", "mean")], arrays, session)
        assert session.engines == ({name} if name != "torch" else set())
    assert found["torch"].computed == 40 and found["onnxruntime"].computed == 0, "kept by the run before"
    for one, other in zip(found["torch"].vectors, found["onnxruntime"].vectors):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_auto_takes_an_engine_only_where_the_images_repay_it(
    engine: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _times(monkeypatch, plain=0.1, quick=0.05)
    few = _session(tmp_path, "auto")
    forward(_model(), PIXELS, few, images=15)
    forward(_model(), PIXELS, few, images=19)  # 1.9 seconds, of which the engine would spare a half, and cost 1
    assert (few.engines, engine.builds) == (set(), 0), "and more images may still repay it"
    many = _session(tmp_path, "auto")
    forward(_model(), PIXELS, many, images=30)
    assert (many.engines, engine.builds) == ({"onnxruntime"}, 1)


def test_what_was_measured_is_kept(engine: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = _times(monkeypatch, plain=0.1, quick=0.2)
    for _ in range(2):
        session = _session(tmp_path, "auto")
        forward(_model(), PIXELS, session, images=10_000)
        assert not session.engines, "slower than PyTorch"
    assert measured == ["torch", "engine"]
    forward(_model(seed=1), PIXELS, _session(tmp_path, "auto"), images=10_000)
    assert len(measured) == 4, "other weights are another network"


def test_an_engine_that_disagrees_is_left_out_or_refused(
    engine: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _times(monkeypatch, plain=0.1, quick=0.01)
    engine.error = 0.1
    session, model = _session(tmp_path, "auto"), _model()
    plain = forward(model, PIXELS, session)
    assert torch.equal(forward(model, PIXELS, session, images=10_000), plain) and not session.engines
    with pytest.raises(SettingError, match="engine onnxruntime gives other outputs for this network than PyTorch"):
        forward(model, PIXELS, _session(tmp_path, "onnxruntime"), images=40)


def test_an_engine_that_is_missing_is_named_in_one_line(engine: Counting, tmp_path: Path) -> None:
    engine.installed = False
    with pytest.raises(MissingExtraError, match=r"the engine onnxruntime needs .*pip install 'deepscope\[onnx\]'"):
        forward(_model(), PIXELS, _session(tmp_path, "onnxruntime"), images=40)
    session = _session(tmp_path, "auto")
    assert len(forward(_model(), PIXELS, session, images=10_000)) == 40 and not session.engines
    with pytest.raises(DeepscopeError, match="engine must be auto, torch"):
        _session(tmp_path, "tensorrt")
    with pytest.raises(SettingError, match="computes in float32"):
        Session.open(device="cpu", engine="onnxruntime", precision="bfloat16")


def test_a_network_that_an_engine_cannot_run_is_refused_in_one_line(
    engine: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> engines.Run:
        raise RuntimeError("no operator\nof that name")

    monkeypatch.setattr(engine, "build", fail)
    with pytest.raises(SettingError, match=r"cannot run this network \(no operator\): choose torch"):
        forward(_model(), PIXELS, _session(tmp_path, "onnxruntime"), images=40)


def test_pytorch_runs_where_a_gradient_is_needed_or_weights_change_or_somebody_watches(
    engine: Counting, tmp_path: Path
) -> None:
    session, model = _session(tmp_path, "onnxruntime"), _model()
    quick = served(model, session, images=40)
    with torch.no_grad():
        model(PIXELS[:2])  # what the network returns is known now
        quick(PIXELS)
    before = engine.passes
    assert before
    leaf = PIXELS[:2].clone().requires_grad_()
    quick(leaf).sum().backward()
    assert leaf.grad is not None and leaf.grad.any()
    with model.network[0].register_forward_hook(lambda *_: None), torch.no_grad():  # pyright: ignore
        quick(PIXELS)
    assert engine.passes == before
    with torch.no_grad():
        model.network[-1].bias.add_(1)  # pyright: ignore
        torch.testing.assert_close(quick(PIXELS), model(PIXELS))
    assert engine.builds == 2


def _replaced(weight: nn.Parameter) -> None:
    weight.data = weight.data.clone() * 2


def _written(weight: nn.Parameter) -> None:
    weight.data.mul_(2)  # which raises no version


def _one_number(weight: nn.Parameter) -> None:
    weight.data.view(-1)[weight.numel() // 3].add_(2)


@pytest.mark.parametrize("change", [_replaced, _written, _one_number])
def test_no_engine_stays_behind_a_weight_that_changed(change: Callable[[nn.Parameter], None], tmp_path: Path) -> None:
    model, session = _model(), _session(tmp_path, "onnxruntime")
    assert isinstance(model.network, nn.Sequential)
    forward(model, PIXELS, session, images=1000)
    for _ in range(3):
        for module in (model.network[7], model.network[0]):
            change(module.weight)  # pyright: ignore[reportArgumentType]
            with torch.no_grad():
                wanted = model(PIXELS)
            assert torch.allclose(forward(model, PIXELS, session, images=1000), wanted, atol=1e-4)


def test_the_first_use_of_a_kept_network_needs_no_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not ENGINES["onnxruntime"].here():
        pytest.skip("onnxruntime is not installed")
    first = forward(_model(), PIXELS, _session(tmp_path, "onnxruntime"), images=40)
    monkeypatch.setattr(measured, "as_onnx", functools.partial(pytest.fail, "exported again"))
    assert torch.equal(forward(_model(), PIXELS, _session(tmp_path, "onnxruntime"), images=40), first)


def test_every_engine_has_a_name_that_a_session_takes() -> None:
    for name, engine in ENGINES.items():
        assert isinstance(engine, Engine) and engine.name == name
        assert Session.open(device="cpu", engine=name).engine == name


@pytest.mark.parametrize(("precision", "quick", "named"), [("auto", 0.01, {"torch-bfloat16"}), ("auto", 2.0, set())])
def test_features_are_halved_only_where_that_is_allowed_and_quicker(
    precision: str, quick: float, named: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "ENGINES", {})
    model, arrays = _model(), [(one.permute(1, 2, 0) * 255).byte().numpy() for one in PIXELS]
    wanted = extract(model, [("3", "mean")], arrays, _session(tmp_path, "torch"))
    for allowed in (precision, "float32"):
        times = iter([1.0, quick])
        monkeypatch.setattr(serving, "_seconds", lambda *_, times=times: next(times))
        monkeypatch.setattr(serving, "_once", lambda *_: 1.0)
        session = Session.open(device="cpu", precision=allowed, engine="auto", cache=tmp_path, quiet=True)
        found = extract(model, [("3", "mean")], arrays, session)
        assert session.engines == (named if allowed == "auto" else set())
        np.testing.assert_allclose(found.vectors[0], wanted.vectors[0], rtol=0.05, atol=0.01)


def _onnxruntime() -> None:
    if not ENGINES["onnxruntime"].here():
        pytest.skip("onnxruntime is not installed")


def _swap(network: Any) -> None:
    network[4] = nn.Tanh()


def _stride(network: Any) -> None:
    network[3].stride = (3, 3)


def _attribute(network: Any) -> None:
    network[5].output_size = 2
    network[5].output_size = 1
    network[1].eps = 0.5


def _wrapped(network: Any) -> None:
    plain = network[4].forward
    network[4].forward = lambda x: plain(x) * 3


def _weights(network: Any) -> None:
    network[7].weight.data[0].zero_()


@pytest.mark.parametrize("change", [_swap, _stride, _attribute, _wrapped, _weights])
def test_no_engine_stays_behind_a_layer_that_changed(change: Callable[[Any], None], tmp_path: Path) -> None:
    _onnxruntime()
    model, session = _model(), _session(tmp_path, "onnxruntime")
    before = forward(model, PIXELS, session, images=1000)
    change(model.network)
    wanted = forward(model, PIXELS, session)
    assert not torch.allclose(wanted, before, atol=1e-3), "the change shows"
    torch.testing.assert_close(forward(model, PIXELS, session, images=1000), wanted, atol=1e-5, rtol=1e-4)


class Scaled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2


def test_a_changed_method_of_a_class_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _onnxruntime()
    network = nn.Sequential(_model().network, Scaled())
    model = wrap(network, categories=list("abcde"), preprocessing=Preprocessing(SIDE, SIDE))
    session = _session(tmp_path, "onnxruntime")
    forward(model, PIXELS, session, images=1000)
    monkeypatch.setattr(Scaled, "forward", lambda self, x: x * 30)
    wanted = forward(model, PIXELS, session)
    torch.testing.assert_close(forward(model, PIXELS, session, images=1000), wanted, atol=1e-5, rtol=1e-4)


def test_a_layer_in_training_mode_stays_so_and_runs_on_pytorch(
    engine: Counting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    model = wrap(network, categories=list("abcde"), preprocessing=Preprocessing(SIDE, SIDE))
    session = Session.open(device="cpu", engine="onnxruntime", cache=tmp_path)
    network[1].train()
    found = [forward(model, PIXELS, session, images=1000) for _ in range(2)]
    assert network[1].training and not torch.equal(found[0], found[1]) and engine.builds == 0
    assert capsys.readouterr().err.splitlines() == [
        "the engine onnxruntime is not used, and PyTorch runs: a layer is in training mode"
    ]


def test_a_network_that_changes_whenever_it_runs_stays_on_pytorch(engine: Counting, tmp_path: Path) -> None:
    class Counts(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return x.mean((2, 3))[:, [0, 1, 2, 0, 1]]

    model = wrap(Counts(), categories=list("abcde"), preprocessing=Preprocessing(SIDE, SIDE))
    session = _session(tmp_path, "onnxruntime")
    for _ in range(3):
        forward(model, PIXELS, session, images=1000)
    assert (engine.builds, session.engines) == (1, set())


def test_the_engine_of_a_network_that_is_gone_goes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.compile` itself takes a minute; what it returns holds the module that it is given."""
    monkeypatch.setattr(torch, "compile", lambda module, dynamic: lambda inputs: module(inputs))
    monkeypatch.setattr(ENGINES["compile"], "here", lambda: True, raising=False)
    model, session = _model(), _session(tmp_path, "compile")
    forward(model, PIXELS, session, images=1000)
    assert session.engines == {"compile"}
    network = weakref.ref(model.network)
    del model
    gc.collect()
    assert network() is None


def test_a_compiled_network_does_not_follow_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda module, dynamic: lambda inputs: module(inputs))
    monkeypatch.setattr(ENGINES["compile"], "here", lambda: True, raising=False)
    first, second, session = _model(), _model(), _session(tmp_path, "compile")
    wanted = forward(first, PIXELS, session, images=1000)
    forward(second, PIXELS, session, images=1000)
    with torch.no_grad():
        first.network[7].bias[:] = torch.tensor([0.0, 0.0, 0.0, 0.0, 9.0])  # pyright: ignore
    assert torch.equal(forward(second, PIXELS, session, images=1000), wanted)


def test_auto_takes_no_engine_that_was_asked_for_by_name(
    engine: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _times(monkeypatch, plain=0.1, quick=0.2)
    forward(_model(), PIXELS, _session(tmp_path, "onnxruntime"), images=40)
    assert engine.builds == 1
    session = _session(tmp_path, "auto")
    forward(_model(), PIXELS, session, images=10_000)
    assert not session.engines, "it is slower than PyTorch"


class Ending(nn.Module):
    """Ends in probabilities, or in the scores of labels or of one class of two."""

    def __init__(self, end: nn.Module, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, width), end)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@pytest.mark.parametrize(
    ("end", "width", "head", "error"),
    [
        (nn.Softmax(1), 5, "softmax", 0.004),  # the softmax of probabilities would hardly move
        (nn.Sigmoid(), 5, "multilabel", 0.004),
        (nn.Identity(), 5, "multilabel", 0.02),  # a constant added to all logits leaves their softmax as it is
        (nn.Identity(), 1, "binary", 0.02),
    ],
)
def test_engines_are_held_to_the_probabilities_of_the_head(
    end: nn.Module, width: int, head: Any, error: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = wrap(
        Ending(end, width),
        categories=list("abcde"[: max(width, 2)]),
        preprocessing=Preprocessing(SIDE, SIDE),
        head=head,
    )
    for added, allowed in ((error, False), (error / 1000, True)):
        made = Counting()
        made.build = lambda module, example, export, added=added: lambda inputs: module(inputs) + added  # pyright: ignore
        monkeypatch.setattr(serving, "ENGINES", {made.name: made})
        session = _session(tmp_path / str(added), "onnxruntime")
        if allowed:
            forward(model, PIXELS, session, images=40)
            assert session.engines == {"onnxruntime"}
        else:
            with pytest.raises(SettingError, match="gives other outputs"):
                forward(model, PIXELS, session, images=40)


def test_a_prediction_at_a_labels_threshold_counts() -> None:
    outputs = wrap(
        _model().network,
        categories=list("abcde"),
        preprocessing=Preprocessing(SIDE, SIDE),
        head="multilabel",
        thresholds=0.3,
    ).outputs
    at = torch.tensor(0.3).logit()
    agree = scores_agree(outputs)
    assert not agree(torch.full((1, 5), float(at) - 1e-4), torch.full((1, 5), float(at) + 1e-4))
    assert agree(torch.full((1, 5), float(at) + 1e-4), torch.full((1, 5), float(at) + 2e-4))


def test_flipped_views_run_on_an_engine_each_with_its_own_network(tmp_path: Path) -> None:
    _onnxruntime()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 30 * 30, 5))
    model = wrap(network, categories=list("abcde"), preprocessing=Preprocessing(SIDE, SIDE))
    arrays = [(one.permute(1, 2, 0) * 255).byte().numpy() for one in PIXELS]
    found = [
        extract(model, [("1", "flatten")], arrays, _session(tmp_path, name), views=(View(), View(mirrored=True)))
        for name in ("torch", "onnxruntime")
    ]
    np.testing.assert_allclose(found[0].vectors[0], found[1].vectors[0], atol=1e-5)


def test_an_engine_is_built_where_a_batch_is_measured(tmp_path: Path) -> None:
    """Its bytes are counted under a dispatch mode, where an export would fail."""
    _onnxruntime()
    model, session = _model(), _session(tmp_path, "onnxruntime")
    quick = served(model, session, images=len(PIXELS))
    fast = prepared(model, PIXELS)
    rows = batches(len(PIXELS), PIXELS.device, lambda part: scores(quick, PIXELS[part], fast))
    torch.testing.assert_close(torch.cat([part for _, part in rows]), forward(model, PIXELS, Session()))
    assert session.engines == {"onnxruntime"}


def test_an_engine_that_is_asked_for_runs_for_one_image_too(engine: Counting, tmp_path: Path) -> None:
    array = (PIXELS[0].permute(1, 2, 0) * 255).byte().numpy()
    session = _session(tmp_path, "onnxruntime")
    extract(_model(), [("7", "flatten")], [array], session)
    assert session.engines == {"onnxruntime"}


@pytest.mark.parametrize("case", ["uncropped", "tensors", "hook", "float64"])
def test_an_engine_that_cannot_be_used_is_named_in_one_line(
    case: str, engine: Counting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session, model = Session.open(device="cpu", engine="onnxruntime", cache=tmp_path), _model()
    array = (PIXELS[0].permute(1, 2, 0) * 255).byte().numpy()
    if case == "uncropped":
        extract(model, [("3", "mean")], [array], session, preprocessing=Preprocessing(SIDE, None))
    elif case == "tensors":
        extract(model, [("3", "mean")], list(PIXELS), session)
    elif case == "hook":
        with model.network.register_forward_hook(lambda *_: None):
            forward(model, PIXELS, session, images=40)
    else:
        model.network.double()
        forward(model, PIXELS, session, images=40)
        forward(model, PIXELS, session, images=40)
    assert engine.passes == 0 and not session.engines
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("the engine onnxruntime is not used, and PyTorch runs: ")


def test_a_command_that_runs_no_engine_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "--engine", "onnxruntime", "--json"]) == 0
    assert "the engine onnxruntime is not used, and PyTorch runs: no pass of this command" in capsys.readouterr().err


def test_auto_is_the_default_of_commands_and_the_reference_that_of_a_plain_session() -> None:
    opened = Session.open(device="cpu")
    assert (opened.engine, opened.may_halve, opened.precision) == ("auto", True, "float32")
    assert (Common().engine, Common().precision) == ("auto", "auto")
    assert (Session().engine, Session().may_halve) == ("torch", False)


@pytest.mark.parametrize("case", ["a function", "a large network", "little work", "few images", "only by its name"])
def test_auto_measures_nothing_where_it_could_not_take_an_engine(
    case: str, engine: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, images, calls = _times(monkeypatch, plain=0.1, quick=0.01), 10_000, list[int]()
    model = _model()
    if case == "a function":
        model = wrap(lambda pixels: calls.append(len(pixels)) or pixels.mean((2, 3)), categories=list("abc"))
    elif case == "a large network":
        monkeypatch.setattr(serving, "_LARGEST", 1000)
    elif case == "little work":
        monkeypatch.setattr(serving, "_once", lambda *_: 1e-5)
    elif case == "few images":
        images = serving.FEW - 1
    else:
        engine.by_name_only = True
    session = _session(tmp_path, "auto")
    wanted = forward(model, PIXELS, session)
    calls.clear()
    assert torch.equal(forward(model, PIXELS, session, images=images), wanted)
    assert (measured, engine.builds, session.engines) == ([], 0, set())
    assert calls == ([40] if case == "a function" else []), "no call besides the one that was asked for"


def test_auto_chooses_alike_before_and_after_the_engine_was_built(
    engine: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the second of two runs would compute all features again, on another engine."""
    _times(monkeypatch, plain=0.1, quick=0.0999)
    clock = iter(range(0, 10_000, 7))  # building takes 7 seconds, and spares 1
    monkeypatch.setattr(serving.time, "perf_counter", lambda: float(next(clock)))
    for _ in range(2):
        session = _session(tmp_path, "auto")
        forward(_model(), PIXELS, session, images=10_000)
        assert session.engines == set()
    assert engine.builds == 1


def test_features_agree_only_where_each_layer_does() -> None:
    wanted = torch.cat([torch.ones(2, 3) * 1000, torch.tensor([[1.0, 0.0]] * 2)], 1)
    found = torch.cat([torch.ones(2, 3) * 1000, torch.tensor([[0.0, 1.0]] * 2)], 1)  # the second layer is another one
    assert features_agree([5])(found, wanted)
    assert not features_agree([3, 2])(found, wanted)
    assert features_agree([3, 2])(wanted, wanted)

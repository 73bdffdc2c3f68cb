"""Saved classifiers whose model.json or weights say what cannot be: a working model, or one line, and no gigabytes."""

from __future__ import annotations

import copy
import hashlib
import json
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from deepscope.errors import DeepscopeError
from deepscope.models import Preprocessing, VisionModel, digits, saved
from deepscope.models.classifier import Backbone, Classifier, Normalisation, View

BAD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3.5, 1e-12, 1e308, -1e308, 10**40, 10**30, 2**31, 300_000_000,
    float("nan"), float("inf"),
    "", "x", "224", "mean", "__class__", "relu4", "conv1", "flatten", "../..", "\x1b[2J", "\ud800",
    "torchvision:squeezenet1_1",
    [], [224], [1, 1], [3, 3], [0, 0], [8192, 8192], [0.5, 0.5], [[]], [None], ["a"], ["relu4", "mean"],
    ["conv1", "flatten"],
    ["conv1", "pyramid"], [["relu4", "mean"]] * 70, [{"mirrored": False, "scale": 1.0}] * 2000, {}, {"scale": 4.0},
    {"a": {}},
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two backbones: the digit network at two layers, in two views, and once more."""
    folder = tmp_path_factory.mktemp("whole")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = digits.network(), digits.network()
        head = nn.Linear(100 + 32 + 100, 3)
    views = (View(), View(mirrored=True))
    first = Backbone(networks[0], [0.5] * 3, [0.25] * 3, [("relu4", "mean"), ("conv1", "max")], views)
    second = Backbone(networks[1], [0.4] * 3, [0.2] * 3, [("relu3", "mean")])
    vectors = first(torch.rand(4, 3, 28, 28)) + second(torch.rand(4, 3, 28, 28))
    normalisations = [Normalisation.fit(kind, v) for kind, v in zip(("standard", "raw", "l2"), vectors)]
    origins = [saved.BackboneOrigin("digits", "deepscope:digits", None)] * 2
    classifier = Classifier([first, second], normalisations, head).eval()
    saved.save(folder, classifier, origins, Preprocessing((28, 28), None), ["a", "b", "c"], source="noise")
    return folder


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values in a JSON document."""
    yield path
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield from places(value, (*path, key))


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    document = copy.deepcopy(document)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return document


def write(
    folder: Path, whole: Path, document: Any = None, weights: bytes | None = None, text: str | None = None
) -> Path:
    data = (whole / "weights.safetensors").read_bytes() if weights is None else weights
    (folder / "weights.safetensors").write_bytes(data)
    if document is None:
        document = json.loads((whole / "model.json").read_text())
    if weights is not None and isinstance(document, dict):
        document["weights_sha256"] = hashlib.sha256(data).hexdigest()
    text = json.dumps(document) if text is None else text
    (folder / "model.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    return folder


def outcome(folder: Path) -> VisionModel | None:
    """The model, which answers; None where it is refused in one line. Anything else is raised."""
    try:
        model = saved.load(folder)
        with torch.inference_mode():
            logits = model(torch.rand(2, 3, *model.preprocessing.size, generator=torch.Generator().manual_seed(0)))
    except DeepscopeError as error:
        assert str(error)
        assert "\n" not in str(error)
        return None
    assert logits.shape == (2, len(model.categories))
    assert logits.isfinite().all()
    return model


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)


def test_the_folder_itself_opens(whole: Path) -> None:
    assert outcome(whole) is not None


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_one_value_may_lie(data: st.DataObject, whole: Path, tmp_path: Path) -> None:
    document = json.loads((whole / "model.json").read_text())
    path = data.draw(st.sampled_from(list(places(document))))
    value = data.draw(st.sampled_from(BAD))
    before = megabytes()
    outcome(write(tmp_path, whole, changed(document, path, value)))
    assert megabytes() - before < 1500


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_key_may_be_missing_or_new(data: st.DataObject, whole: Path, tmp_path: Path) -> None:
    document = json.loads((whole / "model.json").read_text())
    path = data.draw(st.sampled_from([path for path in places(document) if path and isinstance(path[-1], str)]))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    value = inner.pop(path[-1])
    if data.draw(st.booleans()):
        inner[path[-1] + "_"] = value
    outcome(write(tmp_path, whole, document))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_tensor_may_lie(data: st.DataObject, whole: Path, tmp_path: Path) -> None:
    weights = safetensors.torch.load_file(whole / "weights.safetensors")
    key = data.draw(st.sampled_from(sorted(weights)))
    change: Callable[[Tensor], Tensor] = data.draw(
        st.sampled_from([
            lambda t: t.half(), lambda t: t.bfloat16(), lambda t: t.double(), lambda t: t.long(), lambda t: t.bool(),
            lambda t: torch.full_like(t, float("nan")), lambda t: torch.full_like(t, float("-inf")),
            lambda t: torch.full_like(t, 3e38), lambda t: t[:1], lambda t: t.flatten(), lambda t: t[None],
            lambda t: torch.empty(0), lambda t: torch.zeros(()), lambda t: torch.cat([t, t]),
        ])
    )  # fmt: skip
    weights[key] = change(weights[key]).contiguous()
    if data.draw(st.booleans()):
        weights[key + "x"] = weights.pop(key)
    outcome(write(tmp_path, whole, weights=safetensors.torch.save(weights)))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("backbones", 0, "layers", 0, 0), "nope", "no layer"),
        (("backbones", 0, "layers", 0, 0), "__class__", "no layer"),
        (("backbones", 0, "layers", 0, 0), "", "no layer"),
        (("backbones", 0, "views", 0, "scale"), float("inf"), "Infinity"),
        (("backbones", 0, "views", 0, "scale"), 12, "scale"),
        (("backbones", 0, "views"), [], "views"),
        (("backbones", 0, "mean"), [0.1, 0.2], "mean"),
        (("backbones", 0, "classes"), 10**9, "classes"),
        (("backbones", 0, "architecture"), "torchvision:vit_l_16", "not those of|no layer|does not fit"),
        (("head",), [3, 300_000_000], "head"),
        (("preprocessing", "resize"), [224], "resize"),
        (("preprocessing", "resize"), "224", "resize"),
        (("preprocessing", "resize"), [4096, 4096], "4096"),
        (("categories",), ["a", "b"], "3 outputs for 2 categories"),
        (("categories", 0), 1, "category"),
        (("version",), True, "no classifier"),
        (("version",), 2, "newer"),
    ],
)
def test_the_line_says_what_is_wrong(path: tuple[Any, ...], value: Any, said: str, whole: Path, tmp_path: Path) -> None:
    document = json.loads((whole / "model.json").read_text())
    with pytest.raises(DeepscopeError, match=said):
        saved.load(write(tmp_path, whole, changed(document, path, value)))


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "null", "{", "[" * 200_000, '{"a":' * 200_000, '{"version": ' + "9" * 10_000 + "}",
        '{"version": NaN}',
        '{"format": "x", "format": "deepscope-classifier", "version": 1}', "\x00", " " * (2**24 + 1), '"\\ud800"',
    ],
    ids=lambda text: repr(text[:20]),
)  # fmt: skip
def test_text_that_is_no_description_is_refused(text: str, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(DeepscopeError):
        saved.load(write(tmp_path, whole, text=text))


@pytest.mark.parametrize("size", [0, 7, 8, 2**40, 2**63, 100, 10_000_000_000])
def test_headers_that_lie_are_refused(size: int, whole: Path, tmp_path: Path) -> None:
    data = size.to_bytes(8, "little") + (whole / "weights.safetensors").read_bytes()[8:]
    with pytest.raises(DeepscopeError):
        saved.load(write(tmp_path, whole, weights=data))

"""Models that a function of the person's own returns, and names that only look like one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deepscope.errors import DeepscopeError, ModelError
from deepscope.models import load_model
from deepscope.models.factory import Factory
from deepscope.session import Session

CODE = """
import torch
from dataclasses import dataclass
import deepscope
import beside

@dataclass
class Settings:
    classes: int = 3

def network():
    torch.manual_seed(0)
    head = torch.nn.Linear(12, Settings().classes)
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), head)

def model():
    return deepscope.wrap(network(), beside.NAMES, preprocessing=deepscope.Preprocessing(8, 8), name="own")

def number():
    return 3

def fails():
    raise RuntimeError("no weights\\nat all")

def unfit():
    torch.nn.Linear(2, 2).load_state_dict({"bias": torch.zeros(2)})

def leaves():
    raise SystemExit(0)

class Strict(torch.nn.Module):
    def forward(self, inputs):
        raise ValueError("not such\\ninputs")

def named():
    return deepscope.wrap(Strict(), beside.NAMES, preprocessing=deepscope.Preprocessing(8, 8))

held = network()
"""


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "json.py").write_text(CODE)  # a library of that name exists
    (tmp_path / "code" / "beside.py").write_text("NAMES = ['a', 'b', 'c']")
    (tmp_path / "code" / "broken.py").write_text("import not_installed_here")
    (tmp_path / "code" / "wrong.py").write_text("x = = 1")
    (tmp_path / "code" / "leaves.py").write_text("raise SystemExit(0)")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "inner.py").write_text("import torch\ndef build():\n    return torch.nn.Flatten()\n")
    monkeypatch.chdir(tmp_path)
    return Session(home=tmp_path, cache=tmp_path / "cache", quiet=True)


def test_a_module_or_a_model_comes_from_a_function(session: Session) -> None:
    pixels = torch.rand(2, 3, 8, 8)
    own = load_model("code/json.py:model", session)
    assert (own.name, own.categories, own.preprocessing.size) == ("own", ("a", "b", "c"), (8, 8))
    network = load_model("code/json.py:network", session, categories=["x", "y", "z"])
    assert network.categories == ("x", "y", "z") and network.preprocessing.size == (224, 224)
    torch.testing.assert_close(network.network(pixels), own.network(pixels))
    assert load_model("package.inner:build", session).name == "build"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("code/json.py:modle", "did you mean 'model'"),
        ("code/json.py:number", "returns int: return an nn.Module"),
        ("code/json.py:fails", r"fails: RuntimeError: no weights at all \(line 23 of json.py\)"),
        ("code/json.py:unfit", r"Missing key\(s\).*\"weight\".*\(line 26 of json.py\)"),
        ("code/json.py:leaves", "fails: SystemExit: 0"),
        ("code/leaves.py:build", "importing code/leaves.py fails: SystemExit: 0"),
        ("code/json.py:Strict", "the module that .* returns fails: ValueError: not such"),
        ("code/broken.py:build", "imports not_installed_here"),
        ("code/wrong.py:build", "SyntaxError"),
        ("code/none.py:build", "no file code/none.py"),
        ("package.none:build", "no module package.none"),
        ("tim:resnet18", "no module tim"),
    ],
)
def test_what_goes_wrong_is_one_line(name: str, said: str, session: Session) -> None:
    with pytest.raises(DeepscopeError, match=said) as refused:
        load_model(name, session)
    assert "\n" not in str(refused.value)
    assert isinstance(refused.value, ModelError) or "did you mean" in said


def test_a_network_that_refuses_its_input_is_one_line(session: Session) -> None:
    model = load_model("code/json.py:named", session)
    with pytest.raises(ModelError, match=r"cannot run on an input of shape \(3, 8, 8\): .*not such") as refused:
        model(torch.zeros(1, 3, 8, 8))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "name",
    ["timm:resnet18", "torchvision:vgg16", "C:model", "C:\\models\\net.pth", "D:/x", "a b:c", "vgg16", ":x", "x:"],
)
def test_other_names_with_colons_are_not_code(name: str, session: Session) -> None:
    assert Factory().open(name, session) is None


def test_a_network_is_no_function_that_returns_one(session: Session) -> None:
    with pytest.raises(ModelError, match="is a network: name a function without arguments that returns it"):
        load_model("code/json.py:held", session)


def test_a_file_without_its_function_is_answered_with_how_to_name_it(session: Session) -> None:
    with pytest.raises(ModelError, match="name its function that returns the model"):
        load_model("code/json.py", session)

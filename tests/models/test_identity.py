"""The names of kept results: they change with all that a network's answers depend on, and with nothing else."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from deepscope import VisionModel, wrap
from deepscope.features import extract
from deepscope.models import Preprocessing, identity
from deepscope.models.classifier import Backbone, View
from deepscope.models.identity import network_sha256
from deepscope.models.measured import Kept
from deepscope.models.state import state_of
from deepscope.session import Session

CODE = """
import torch
from torch import nn

SHIFT = 0

def power(x):
    return x ** 1

class Own(nn.Module):
    def __init__(self, scale=2):
        super().__init__()
        self.scale = scale
        self.register_buffer("mask", torch.ones(1), persistent=False)

    def forward(self, x):
        return (power(x) * self.scale * self.mask + SHIFT).mean((2, 3))
"""


def _own(code: str, path: Path, **settings: Any) -> nn.Module:
    """The network that a file of a user builds."""
    path.write_text(code)
    spec = importlib.util.spec_from_file_location("own_network", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Own(**settings).eval()


def _extracted(network: nn.Module, session: Session) -> tuple[np.ndarray, int]:
    model = wrap(nn.Sequential(network), categories=list("abc"), preprocessing=Preprocessing(8, 8))
    levels = np.full((8, 8, 3), 200, np.uint8)
    found = extract(model, [("0", "mean")], [levels], session)
    return found.vectors[0], found.computed


@pytest.mark.parametrize(
    ("old", "new"),
    [("scale=2", "scale=3"), ("x ** 1", "x ** 2"), ("SHIFT = 0", "SHIFT = 1"), ("torch.ones(1)", "torch.zeros(1)")],
)
def test_features_of_changed_code_are_computed_again(old: str, new: str, tmp_path: Path) -> None:
    session = Session(home=tmp_path, cache=tmp_path / "cache", quiet=True)
    assert old in CODE
    before, _ = _extracted(_own(CODE, tmp_path / "a.py"), session)
    changed = CODE.replace(old, new)
    after, computed = _extracted(_own(changed, tmp_path / "b.py"), session)
    fresh, _ = _extracted(_own(changed, tmp_path / "b.py"), Session(home=tmp_path, cache=tmp_path / "new", quiet=True))
    assert computed == 1 and np.array_equal(after, fresh) and not np.array_equal(after, before)
    again, computed = _extracted(_own(CODE, tmp_path / "c.py"), session)
    assert computed == 0 and np.array_equal(again, before), "the same code in another file"


def test_a_setting_counts_as_much_as_code(tmp_path: Path) -> None:
    names = {network_sha256(_own(CODE, tmp_path / "a.py", scale=scale)) for scale in (2, 2, 3)}
    assert len(names) == 2


@pytest.mark.parametrize("library", ["torch", "torchvision", "timm"])
def test_features_of_another_version_of_a_library_are_computed_again(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(home=tmp_path, cache=tmp_path / "cache", quiet=True)
    network = _own(CODE, tmp_path / "a.py")
    _extracted(network, session)
    assert _extracted(network, session)[1] == 0
    found = identity.versions
    monkeypatch.setattr(identity, "versions", lambda *names: {**found(*names), library: "0.0"})
    assert _extracted(network, session)[1] == 1


def test_the_identity_of_a_model_covers_its_code(tmp_path: Path) -> None:
    def named(code: str) -> str:
        network = _own(code, tmp_path / "a.py")
        return VisionModel("own", network, Preprocessing(8, 8), ("a", "b", "c")).identity

    assert named(CODE) == named(CODE) != named(CODE.replace("x ** 1", "x ** 2"))


def test_a_name_is_the_same_in_every_process(tmp_path: Path) -> None:
    code = CODE.replace("SHIFT = 0", "SHIFT = {'b', 'a', 'c', 'd'}").replace("+ SHIFT", "+ len(SHIFT)")
    (tmp_path / "own.py").write_text(code)
    script = (
        "import torch, own; from deepscope.models.identity import network_sha256;"
        "first = network_sha256(own.Own()); import torchvision, timm; print(first, network_sha256(own.Own()));"
        "torch.manual_seed(0); print(network_sha256(torchvision.models.squeezenet1_1(num_classes=2)))"
    )
    found = set()
    for seed in ("1", "2"):
        environment = {"PYTHONPATH": os.pathsep.join((str(tmp_path), *sys.path)), "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", script]
        found.add(subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout)
    first, again, _ = found.pop().split()
    assert not found and first == again, "a library that is imported meanwhile changes no name"


def test_a_pass_changes_no_name() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()).eval()
    before = network_sha256(network)
    network(torch.rand(1, 3, 8, 8))
    assert network_sha256(network) == before


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_programs_are_told_apart_by_their_code() -> None:
    class Doubled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3)) * 2

    class Tripled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3)) * 3

    pixels = (torch.rand(2, 3, 8, 8),)
    programs: list[Any] = [
        lambda one: torch.jit.trace(one, pixels),
        lambda one: torch.export.export(one, pixels).module(),
    ]
    for program in programs:
        first, again, other = program(Doubled()), program(Doubled()), program(Tripled())
        assert network_sha256(first) == network_sha256(again) != network_sha256(other)


def test_backbones_of_one_network_are_kept_apart(tmp_path: Path) -> None:
    session = Session(home=tmp_path, cache=tmp_path, quiet=True)
    network, pixels = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval(), torch.rand(2, 3, 8, 8)
    zero, one, half = (0.0,) * 3, (1.0,) * 3, (0.5,) * 3
    backbones = [
        Backbone(network, zero, one, [("0", "mean")]),
        Backbone(network, zero, one, [("1", "mean")]),
        Backbone(network, zero, one, [("0", "max")]),
        Backbone(network, zero, one, [("0", "mean")], [View(mirrored=True)]),
        Backbone(network, half, one, [("0", "mean")]),
        Backbone(network, zero, half, [("0", "mean")]),
    ]
    assert len({Kept(one, pixels, session).name for one in backbones}) == len({str(one) for one in backbones}) == 6
    name = Kept(backbones[0], pixels, session).name
    backbones[0](pixels)
    assert Kept(backbones[0], pixels, session).name == name


def test_calls_within_calls_take_no_longer_than_they_have_code(tmp_path: Path) -> None:
    """Forty functions, each of which calls the next two: one path after another would never end."""
    calls = "\n".join(f"def step{i}(x):\n    return step{i + 1}(x) + step{i + 2}(x)\n" for i in range(40))
    ends = "def step40(x):\n    return x\n\ndef step41(x):\n    return x * 2\n"
    code = CODE.replace("class Own", f"{calls}{ends}\nclass Own").replace("power(x)", "step0(x)")
    digest = network_sha256(_own(code, tmp_path / "deep.py"))
    assert network_sha256(_own(code, tmp_path / "deep.py")) == digest
    assert network_sha256(_own(code.replace("x * 2", "x * 3"), tmp_path / "deep.py")) != digest


def test_arrays_of_names_count(tmp_path: Path) -> None:
    """NumPy holds values of which PyTorch makes no tensors."""
    network = nn.Sequential(_own(CODE, tmp_path / "own.py"))
    digests: list[str] = []
    for names in (np.array(["cat", "dog"]), np.array(["cat", "owl"]), np.array(["cat", "owl"], dtype=object)):
        network[0].names = names  # pyright: ignore[reportArgumentType]
        digests.append(network_sha256(network))
    assert len(set(digests)) == 3


def test_the_order_of_a_set_does_not_count(tmp_path: Path) -> None:
    """Functions in a set come in another order in each process."""
    network = _own(CODE + "\ndef other(x):\n    return power(x)\n", tmp_path / "own.py")
    functions = network.forward.__func__.__globals__  # pyright: ignore[reportFunctionMemberAccess]
    power, other = functions["power"], functions["other"]

    class Ordered(set[Any]):
        order: list[Any]

        def __iter__(self) -> Any:
            return iter(self.order)

    digests: set[str] = set()
    for order in ([power, other], [other, power]):
        held = Ordered(order)
        held.order = order
        network.functions = held  # pyright: ignore[reportArgumentType]
        digests.add(network_sha256(network))
    assert len(digests) == 1


def _tangled(network: nn.Module) -> list[Any]:
    """Give a network a list, dictionary and object that hold themselves, and one within 200 others twice over."""
    held: list[Any] = [1]
    held.append(held)
    named: dict[str, Any] = {"list": held}
    named["itself"] = named
    owner = types.SimpleNamespace(network=network)
    owner.owner = owner
    twice: list[Any] = [0]
    for _ in range(200):
        twice = [twice, twice]
    vars(network).update(held=held, named=named, owner=owner, twice=twice)
    return held


def test_a_network_that_holds_itself_has_a_state() -> None:
    network = nn.Sequential(nn.Linear(2, 2)).eval()
    held = _tangled(network)
    before, name = state_of(network), network_sha256(network)
    assert not isinstance(before, str) and state_of(network) == before and network_sha256(network) == name
    held[0] = 2
    assert state_of(network) != before and network_sha256(network) != name


def test_lists_of_any_depth_have_a_state_and_a_name() -> None:
    network = nn.Linear(2, 2).eval()
    deep: list[Any] = [0]
    innermost = deep
    for _ in range(5000):
        deep = [deep]
    vars(network)["deep"] = deep
    before = state_of(network)
    assert state_of(network) == before and network_sha256(network) == network_sha256(network)
    innermost[0] = 1
    assert state_of(network) != before


class _Extra(nn.Linear):
    """A layer that saves more than tensors."""

    extra = 1

    def get_extra_state(self) -> dict[str, int]:
        return {"extra": self.extra}


def test_extra_state_and_weights_of_any_layout_count() -> None:
    digests: list[str] = []
    for extra, adjacency in ((1, torch.eye(3)), (2, torch.eye(3)), (2, torch.ones(3, 3))):
        network = _Extra(2, 2).requires_grad_(False).eval()
        nn.init.ones_(network.weight)
        nn.init.ones_(network.bias)
        network.extra = extra
        network.register_buffer("adjacency", adjacency.to_sparse())
        digests.append(identity.weights_sha256(network))
        assert state_of(network) == "its weights are sparse, and their changes cannot be seen"
    assert len(set(digests)) == 3


def test_packages_of_an_environment_below_are_libraries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Their versions stand for them, wherever they are installed; a user's own folder counts by its code."""
    from deepscope.models import identity

    for folder, library in (("base/lib/site-packages", True), ("base/dist-packages", True), ("work", False)):
        module = types.ModuleType("somebodys")
        module.__file__ = str(tmp_path / folder / "somebodys" / "__init__.py")
        monkeypatch.setitem(sys.modules, "somebodys", module)
        assert identity._of_library.__wrapped__("somebodys.layers") is library

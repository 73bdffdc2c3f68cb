"""Every source of models, through every command that takes a model: it works, or refuses in one line."""

from __future__ import annotations

import dataclasses
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from app_server import HOST
from deepscope.adaptation.tuning import norms
from deepscope.app import web
from deepscope.app.access import HEADER
from deepscope.attacks import Attack
from deepscope.attributions import Attribution, evaluate
from deepscope.cli import commands as command_line
from deepscope.cli.program import run
from deepscope.command import Command, perform
from deepscope.errors import DeepscopeError, UnsupportedError
from deepscope.models import ModelSource, load_model
from deepscope.models.classifier import Classifier
from deepscope.session import Session
from tiny_sources import CLASSES, MAKERS, PUBLISHED, SIZE, Tiny, transformers

SOURCES = sorted(MAKERS)


def _commands() -> list[type[Command]]:
    """All but the studies, which are experiments on chosen models, and the report, which runs them or all checks."""
    found = [
        command
        for command in command_line._commands(Command)
        if command.area != "study" and command.command_path() != "report"
    ]
    return [command for command in found if {"model", "features"} & {f.name for f in dataclasses.fields(command)}]  # type: ignore[arg-type]


COMMANDS = _commands()
METHODS: dict[str, list[Any]] = {
    "explain": [Attribution.member("grad-cam")(), Attribution.member("occlusion")(window=16, stride=8)],  # type: ignore[call-arg]
    "attack": [Attack.member("pgd")(steps=2), Attack.member("square")(queries=10)],  # type: ignore[call-arg]
}
"""One method that needs a network's inside, and one that does not; `test_capabilities` has them all."""
SMALL: dict[str, Any] = {
    "limit": 4,
    "search": 6,
    "steps": 2,
    "iterations": 2,
    "severities": (1,),
    "levels": (8,),
    "sanity": 1,
    "budget": "quick",
    "head": "ridge",
    "heads": ("ridge",),
    "normalisations": ("raw",),
    "epochs": 1,
    "fine_tune": 0,
    "others": (),
    "views": False,
    "classes": 1,
}
BY_COMMAND: dict[str, dict[str, Any]] = {
    "visualize": {"classes": ("dark",), "recipe": {"iterations": 2, "view": 0}},
    "explain compare": {"methods": ("saliency",)},
    "explain evaluate": {"methods": ("saliency",), "measures": ("roughness",)},
    "check labels": {"limit": None},
    "models abstain": {"limit": None},
    "models calibrate": {"limit": None},
    "check explanations": {"methods": ("saliency",)},
    "attack evaluate": {"methods": ("fgsm",), "radii": ("8/255",)},
    "attack certify": {"radii": (0.1,), "samples": 16, "first": 4, "steps": 1},
    "attack auto": {"steps": 1, "targets": 1, "queries": 4},
    "concepts find": {"limit": 50, "concepts": 2, "evaluated": 2},
    "concepts tcav": {"limit": 50, "random_sets": 2, "counterparts": 1, "target": (), "layer": ()},
    "concepts units": {"top": 1},
    "serve": {"port": 0},
}
NEEDS_LAYERS = {
    *("concepts find", "concepts tcav", "concepts units"),
    *("activations", "adapt fit", "adapt tune", "check concepts", "check image-map", "explain grad-cam", "models show"),
    *("check labels", "transfer export", "transfer features", "transfer fit", "transfer improve", "transfer table"),
}
NEEDS_GRADIENTS = {
    *("attack evaluate", "attack pgd", "check class-images", "explain compare", "explain evaluate", "explain grad-cam"),
    *("adapt tune", "concepts tcav", "visualize"),
}
"""With the methods above."""
SAVES = {"adapt fit", "adapt tune", "models save", "transfer fit"}
"""What writes a model that names the architecture of the one it comes from."""
OF_SAVED_CLASSIFIERS = {"adapt evaluate", "adapt predict", "explain training", "transfer predict"}
"""Commands whose model is a folder that another command wrote."""


@pytest.fixture(scope="module")
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return MAKERS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images per class, two per class in `train/` and in `test/`."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for part in ("train", "test"):
        for name, low in zip(CLASSES, (150, 0, 70)):
            (folder / part / name).mkdir(parents=True)
            for row in range(3):
                pixels = rng.integers(low, low + 80, (40, 48, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{part}-{row}.png")
    names = [path.relative_to(folder / "test").as_posix() for path in sorted((folder / "test").rglob("*.png"))]
    (folder / "expected.csv").write_text("file,class\n" + "".join(f"{name},dark\n" for name in names))
    (folder / "labels.csv").write_text("file,labels\n" + "".join(f"{name},{name.split('/')[0]}\n" for name in names))
    return folder


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True)


class _Visit:
    """In place of the server: a browser that opens an image, asks for its classes and a map, and leaves."""

    def __init__(self, application: Any) -> None:
        self.application = application

    def run(self, sockets: list[socket.socket]) -> None:
        from starlette.testclient import TestClient

        headers = {HEADER: self.application.token}
        with TestClient(self.application, base_url=HOST, headers=headers) as client:
            document = client.get("/", params={"token": self.application.token})
            methods = re.search(r'"methods":\s*(\[[^]]*])', document.text)
            assert document.status_code == 200 and methods
            held = client.post("/api/choose", json={"name": "dark/test-0.png"}).json()
            found = client.post("/api/look", json={"image": held["image"]})
            assert found.status_code == 200, found.text
            assert found.json()["top"] and found.json()["picture"]
            assert bool(found.json()["map"]) == bool(json.loads(methods[1]))


@pytest.fixture(autouse=True)
def visited(monkeypatch: pytest.MonkeyPatch) -> None:
    """`serve` ends after one visit."""
    monkeypatch.setattr(web, "server", _Visit)


def test_every_source_has_a_tiny_model() -> None:
    assert {*MAKERS, *PUBLISHED} == set(ModelSource.members())
    assert len({member.rank for member in ModelSource.members().values()}) == len(ModelSource.members())


@pytest.mark.parametrize("tiny", SOURCES, indirect=True)
def test_logits_are_the_librarys_own(tiny: Tiny, session: Session) -> None:
    model = load_model(tiny.name, tiny.options.within(session, tiny.name))
    assert model.categories == CLASSES
    size = model.preprocessing.size
    for count in (1, 3, 2):
        pixels = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(count))
        given = pixels if "saved" in type(model.network).__module__ else model.normalise(pixels)
        with torch.no_grad():
            assert tiny.logits is not None
            wanted = tiny.logits(given)
            torch.testing.assert_close(model(pixels), wanted, atol=tiny.tolerance, rtol=0)
        assert wanted.std() > 1e-4
    assert len(model.fingerprint) == 64


@pytest.mark.parametrize("kind", ["vit", "convnext", "swin"])
def test_layouts_of_transformers(
    kind: str, tmp_path: Path, session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = transformers(tmp_path, kind)
    model = load_model(tmp_path, replace(session, quiet=False))
    assert capsys.readouterr().err == "", "the processor's own pixels, without a note that they differ"
    pixels = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    assert tiny.logits is not None
    with torch.no_grad():
        torch.testing.assert_close(model(pixels), tiny.logits(model.normalise(pixels)), atol=1e-5, rtol=0)
    maps = Attribution.named("grad-cam")(model, pixels, torch.tensor([0, 1]))
    assert maps.shape == (2, SIZE, SIZE)


def built(command: type[Command], tiny: Tiny, pictures: Path, *, layer: str = "") -> Iterator[tuple[str, Command]]:
    """The command on that model, for each method where it takes one, and on that layer where it must name one."""
    path, image = command.command_path(), pictures / "test" / "dark" / "test-0.png"
    given: dict[str, Any] = {
        **SMALL,
        "paths": (image,),
        "folder": pictures / "test",
        "train": str(pictures / "train"),
        "data": str(pictures),
        "source": str(pictures),
        "target": str(pictures / "test"),
        "images": pictures / "test",
        "expected": pictures / "expected.csv",
        "features": (tiny.name,) if path == "transfer table" else tiny.name,
        "model": Path(tiny.name) if path == "transfer predict" else tiny.name,
    }
    if path.startswith(("attack", "explain")) or path in ("visualize", "adapt evaluate"):
        given["target"] = None
    if path.startswith("concepts"):
        given |= {"paths": (pictures,), "concepts": (pictures / "train",), "pool": pictures, "target": None}
    given |= BY_COMMAND.get(path, {})
    if path == "concepts units":
        given["layer"] = layer
    if path == "serve":
        pytest.importorskip("starlette", reason="pip install 'deepscope[app]'")
        pytest.importorskip("httpx2", reason="pip install 'deepscope[test]'")
    fields = {field.name for field in dataclasses.fields(command)}  # type: ignore[arg-type]
    taken = {name: value for name, value in given.items() if name in fields}
    for method in METHODS.get(path, [None]):
        own = {} if method is None else {"method": method}
        yield f"{path} {method.name}" if method else path, command(**taken, **own)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.command_path())
@pytest.mark.parametrize("tiny", sorted({*SOURCES} - {"checkpoint"}), indirect=True)
def test_every_command_works_or_refuses_in_one_line(
    command: type[Command], tiny: Tiny, pictures: Path, session: Session, tmp_path: Path
) -> None:
    if command.command_path() == "transfer export" and "onnx" not in tiny.name and "transformers" not in tiny.name:
        pytest.skip("an export takes seconds, and is the same for every network with layers")
    session = replace(tiny.options.within(session, tiny.name), out=tmp_path / "out")
    model = load_model(tiny.name, session)
    refused = set() if model.capabilities.gradients else NEEDS_GRADIENTS
    refused = refused if model.capabilities.activations else refused | NEEDS_LAYERS
    refused = refused if model.architecture else refused | SAVES
    if isinstance(model.network, Classifier):  # which is written as a folder of its own
        refused = refused - {"adapt tune", "models save"}
    if not norms(model.network):
        refused = refused | {"adapt tune"}
    layer = next((name for name, one in model.network.named_modules() if isinstance(one, torch.nn.Conv2d)), "")
    for what, one in built(command, tiny, pictures, layer=layer):
        try:
            result = perform(one, session)
        except DeepscopeError as error:
            assert "\n" not in str(error)
            if what in OF_SAVED_CLASSIFIERS:
                continue
            assert isinstance(error, UnsupportedError), f"{what}: {error}"
            assert what in refused, error
        else:
            assert result.title
            assert what not in refused, f"{what} should refuse this model"


HEADS: dict[str, tuple[int, int, str]] = {
    "multilabel": (3, 3, 'tiny_sources.CLASSES, head="multilabel"'),
    "binary": (1, 3, '("dark", "bright"), head="binary"'),
    "features": (3, 3, 'head="features"'),
    "grey": (3, 1, "tiny_sources.CLASSES"),
    "stack": (3, 5, "tiny_sources.CLASSES"),
}
"""Outputs, channels, and what `wrap` is told."""
OF_CLASSES = {
    *("attack auto", "attack certify", "concepts find", "concepts tcav", "serve"),
    *("adapt evaluate", "adapt predict", "attack evaluate", "attack pgd", "attack square", "check accuracy"),
    *("check class-images", "check corruptions", "check explanations", "check image-map", "check robustness"),
    *(
        "check concepts",
        "check shortcuts",
        "check slices",
        "classify",
        "explain compare",
        "explain evaluate",
        "explain grad-cam",
        "explain occlusion",
    ),
    *(
        "explain training",
        "models abstain",
        "models calibrate",
        "models check",
        "models classes",
        "transfer export",
        "transfer predict",
        "visualize",
    ),
}
OF_PICTURES = {
    *("attack auto", "attack certify", "serve"),
    *("attack evaluate", "attack pgd", "attack square", "check class-images", "check corruptions", "check image-map"),
    *(
        "check labels",
        "check leaks",
        "check robustness",
        "check shortcuts",
        "explain training",
        "models check",
        "transfer improve",
    ),
    *("transfer features", "transfer table", "visualize"),
}
REFUSED_BY_HEAD: dict[str, dict[str, set[str]]] = {
    "multilabel": {
        "must name a label": {"attack auto", "attack evaluate", "attack pgd", "attack square"},
        "several labels per image": {
            *("models abstain", "models calibrate"),
            *("attack certify", "check concepts", "check image-map", "check labels", "check shortcuts", "check slices"),
            *("adapt evaluate", "adapt predict", "transfer predict"),
        },
    },
    "binary": {},
    "grey": {},
    "stack": {"takes 5 channels": OF_PICTURES},
    "features": {"features only": OF_CLASSES},
}
"""What a refusal says, and the commands that it stops."""


def a_head(folder: Path, name: str) -> Tiny:
    """A model of that head and of those channels, from a function of a person's own."""
    outputs, channels, said = HEADS[name]
    code = (
        "import deepscope, tiny_sources\n"
        "def tiny():\n"
        f"    taken = deepscope.Preprocessing({SIZE}, {SIZE}, mean=(0.5,) * {channels}, std=(0.25,) * {channels})\n"
        f"    network = tiny_sources.network({outputs}, {channels})\n"
        f"    return deepscope.wrap(network, {said}, preprocessing=taken)\n"
    )
    (folder / "own.py").write_text(code)
    return Tiny(f"{folder / 'own.py'}:tiny")


@pytest.fixture(scope="module")
def stacks(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same folder, of images of five channels."""
    folder = tmp_path_factory.mktemp("stacks")
    for path in pictures.rglob("*.png"):
        place = folder / path.relative_to(pictures).with_suffix(".png")
        place.parent.mkdir(parents=True, exist_ok=True)
        levels = np.asarray(Image.open(path))
        tifffile.imwrite(
            place, np.concatenate([levels, levels[..., :2]], 2), photometric="minisblack", planarconfig="contig"
        )
    (folder / "expected.csv").write_bytes((pictures / "expected.csv").read_bytes())
    return folder


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.command_path())
@pytest.mark.parametrize("head", HEADS)
def test_every_command_works_with_each_head_or_refuses_in_one_line(
    command: type[Command], head: str, pictures: Path, stacks: Path, session: Session, tmp_path: Path
) -> None:
    tiny, folder = a_head(tmp_path, head), stacks if head == "stack" else pictures
    session = replace(session, out=tmp_path / "out")
    reasons = {**REFUSED_BY_HEAD[head], "": SAVES}  # nothing rebuilds the network by its name
    for what, one in built(command, tiny, folder, layer="2"):
        expected = [reason for reason, commands in reasons.items() if what in commands]
        try:
            result = perform(one, session)
        except DeepscopeError as error:
            assert expected, f"{what}: {error}"
            assert "\n" not in str(error)
            assert any(reason in str(error) for reason in expected), error
            if head == "stack" and what.startswith(
                ("check", "attack auto")
            ):  # the check that was asked for, not a method inside it
                assert what.split()[-1].replace("-", " ") in str(error).partition(" needs ")[0].replace("-", " "), error
        else:
            assert result.title
            assert not expected, f"{what} should refuse this head"


def test_folders_of_numpy_files_are_taken_like_images(pictures: Path, session: Session, tmp_path: Path) -> None:
    tiny, folder = a_head(tmp_path, "stack"), tmp_path / "numpy"
    for path in (pictures / "test").rglob("*.png"):
        place = folder / path.relative_to(pictures).with_suffix(".npy")
        place.parent.mkdir(parents=True, exist_ok=True)
        levels = np.asarray(Image.open(path))
        np.save(place, np.concatenate([levels, levels[..., :2]], 2))
    chosen = {"check accuracy", "check explanations", "adapt evaluate", "explain compare", "explain evaluate"}
    seen = set()
    for command in (one for one in COMMANDS if one.command_path() in chosen):
        ((what, one),) = built(command, tiny, folder)
        fields = {field.name for field in dataclasses.fields(one)}  # type: ignore[arg-type]
        test = {"data": str(folder / "test"), "source": str(folder / "test"), "paths": (folder / "test",)}
        one = replace(one, **{name: given for name, given in test.items() if name in fields})  # type: ignore[type-var]
        assert perform(one, session).title
        seen.add(what)
    assert seen == chosen
    with pytest.raises(UnsupportedError, match="where the object is needs RGB"):
        evaluate(load_model(tiny.name, session), folder / "test", "saliency", boxes={"a.npy": [(0, 0, 1, 1)]})


@pytest.mark.parametrize("what", ["attack auto", "attack pgd", "attack square", "attack evaluate"])
def test_attacks_on_a_label(what: str, pictures: Path, session: Session, tmp_path: Path) -> None:
    tiny = a_head(tmp_path, "multilabel")
    (command,) = (one for one in COMMANDS if one.command_path() == what.removesuffix(" pgd").removesuffix(" square"))
    one = next(one for name, one in built(command, tiny, pictures) if name == what)
    assert perform(replace(one, target="dark"), session).title  # type: ignore[type-var]


@pytest.mark.parametrize("tiny", SOURCES, indirect=True)
def test_the_command_line_takes_each_source(
    tiny: Tiny, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DEEPSCOPE_CACHE", str(tmp_path / "cache"))
    said = [word for name, value in dataclasses.asdict(tiny.options).items() if value for word in (f"--{name}", value)]
    assert run(["classify", str(pictures / "test"), "--model", tiny.name, *said, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["metrics"]["images"] == 9
    assert run(["classify", str(pictures / "test"), "--model", tiny.name + "x"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1

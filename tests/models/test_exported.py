"""Programs of TorchScript and torch.export: the network's own numbers, and no code from archives."""

from __future__ import annotations

import copy
import functools
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from torch import nn

from damage import Damage, damages
from deepscope.attributions import explain
from deepscope.errors import DeepscopeError, FileError, ModelError, UnsupportedError
from deepscope.models import endless, load_model, script_archive
from deepscope.models.vision_model import VisionModel
from deepscope.session import Session

SIDE = 64


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(home=tmp_path, cache=tmp_path / "cache", quiet=True)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return torchvision.models.resnet18(num_classes=3).eval()


class OfFour(nn.Module):
    """Flattens by the size of its batch, as many traced networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.head = nn.AdaptiveAvgPool2d(2), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(x).view(4, 12))


def scripted(network: nn.Module, path: Path, *, images: int = 1, trace: bool = True) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.jit.trace(network, torch.rand(images, 3, SIDE, SIDE)) if trace else torch.jit.script(network)
        torch.jit.save(made, path)
    return path


def exported(network: nn.Module, path: Path, *, images: int = 2, free: bool = False) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shapes = ({0: torch.export.Dim("batch")},) if free else None
        program = torch.export.export(network, (torch.rand(images, 3, SIDE, SIDE),), dynamic_shapes=shapes)
        torch.export.save(program, path)
    with zipfile.ZipFile(path) as archive:
        if not any(name.endswith("data/weights/model_weights_config.json") for name in archive.namelist()):
            pytest.skip("this PyTorch pickles the weights of an exported program, and such files are refused")
    return path


def require_same(model: VisionModel, network: Callable[[torch.Tensor], torch.Tensor], *, images: int = 5) -> None:
    """The same scores and, of the pixels, the same gradients."""
    pixels = torch.rand(images, 3, *model.preprocessing.size).requires_grad_()
    found, wanted = model(pixels), network(model.normalise(pixels))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    own, others = (torch.autograd.grad(scores[:, 1].sum(), pixels)[0] for scores in (found, wanted))
    assert (own - others).norm() < 0.02 * others.norm()  # a ReLU at zero takes either side


@pytest.mark.parametrize("trace", [True, False])
def test_torchscript_gives_scores_and_gradients(
    trace: bool, network: nn.Module, session: Session, tmp_path: Path
) -> None:
    model = load_model(scripted(network, tmp_path / "m.pt", trace=trace), session, categories=["a", "b", "c"])
    require_same(model, network, images=2)
    assert model.categories == ("a", "b", "c") and model.capabilities.gradients
    with pytest.raises(UnsupportedError, match="TorchScript program does not expose its layers"):
        model.activations(torch.rand(1, 3, 64, 64), ["layer1"])
    pixels = torch.rand(1, 3, 224, 224)
    assert explain(model, pixels, "saliency", session=session).maps.shape == (1, 224, 224)


@pytest.mark.parametrize(("images", "free"), [(4, False), (2, True), (1, False)])
def test_an_exported_program_gives_its_layers_too(
    images: int, free: bool, network: Any, session: Session, tmp_path: Path
) -> None:
    model = load_model(exported(network, tmp_path / "m.pt2", images=images, free=free), session)
    assert model.preprocessing.size == (SIDE, SIDE) == model.input_size
    require_same(model, network)
    pixels = torch.rand(4, 3, SIDE, SIDE)
    if not free:
        with pytest.raises(UnsupportedError, match=f"batches of {images}; export it with a dynamic batch"):
            model.activations(pixels, ["layer1"])
        return
    x = model.normalise(pixels)
    wanted = network.layer1(network.maxpool(network.relu(network.bn1(network.conv1(x)))))
    torch.testing.assert_close(model.activations(pixels, ["layer1"])["layer1"], wanted, atol=1e-5, rtol=0)


def test_a_program_for_a_fixed_number_of_images_runs_in_parts(session: Session, tmp_path: Path) -> None:
    network = OfFour()
    for path in (scripted(network, tmp_path / "m.pt", images=4), exported(network, tmp_path / "m.pt2", images=4)):
        model = load_model(path, session)
        for images in (1, 4, 7):
            pixels = torch.rand(images, 3, *model.preprocessing.size)
            x = model.normalise(pixels)
            torch.testing.assert_close(model(pixels), network.head(network.pool(x).flatten(1)), atol=1e-5, rtol=0)


class Mixing(nn.Module):
    """Standardises by its batch, as a network that was traced in training mode does."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.head = nn.AdaptiveAvgPool2d(4), nn.Linear(48, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(x)
        return self.head((x - x.mean((0, 2, 3), keepdim=True)).flatten(1))


@pytest.mark.parametrize("way", ["script", "trace", "fixed", "free"])
def test_images_of_a_batch_that_change_each_other_are_run_one_by_one(
    way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = Mixing().eval()
    if way in ("fixed", "free"):
        path = exported(network, tmp_path / "m.pt2", images=3, free=way == "free")
    else:
        path = scripted(network, tmp_path / "m.pt", trace=way == "trace")
    model = load_model(path, Session(home=tmp_path, cache=tmp_path))
    assert "so each image is run without the others" in capsys.readouterr().err
    pixels = torch.rand(5, 3, *model.preprocessing.size) * torch.linspace(0.1, 1, 5).view(-1, 1, 1, 1)
    alone = torch.cat([network(model.normalise(one)) for one in pixels.split(1)])
    assert not torch.allclose(network(model.normalise(pixels)), alone, atol=1e-2)
    for count in (1, 2, 5):
        torch.testing.assert_close(model(pixels[:count]), alone[:count], atol=1e-5, rtol=0)


def test_a_script_that_was_saved_in_training_mode_keeps_its_statistics(session: Session, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 4), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    path = scripted(network.train(), tmp_path / "m.pt", trace=False)
    kept = copy.deepcopy(network).eval()
    model = load_model(path, session)
    pixels = torch.rand(3, 3, 224, 224)
    torch.testing.assert_close(model(pixels), kept(model.normalise(pixels)))
    assert model.network.training is False


def test_preprocessing_is_assumed_and_said_or_that_of_an_architecture(
    network: nn.Module, session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = scripted(network, tmp_path / "m.pt", trace=False)
    load_model(path, Session(home=tmp_path, cache=session.cache))
    assert "says nothing of it: resize 256, crop 224, ImageNet's mean and deviation" in capsys.readouterr().err
    model = load_model(path, session, architecture="timm:resnet18")
    assert (model.preprocessing.resize, model.preprocessing.interpolation) == (235, "bicubic")
    with pytest.raises(ModelError, match="takes 64 x 64 pixels"):
        load_model(exported(network, tmp_path / "m.pt2"), session, architecture="timm:resnet18")


def test_a_program_that_does_not_run_is_refused(session: Session, tmp_path: Path) -> None:
    layer = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 3))
    with pytest.raises(ModelError, match=r"cannot run on images of 224 x 224.*deepscope\.wrap"):
        load_model(scripted(layer, tmp_path / "m.pt"), session)
    model = load_model(tmp_path / "m.pt", session, preprocessing=f"resize {SIDE} x {SIDE}")
    require_same(model, layer, images=2)


def _changed(path: Path, change: Callable[[str, bytes], bytes | None], *more: tuple[str, bytes]) -> None:
    """Rewrite an archive entry by entry."""
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(held)).partition("/")[0]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in held.items():
            if (made := change(name, content)) is not None:
                archive.writestr(name, made)
        for name, content in more:
            archive.writestr(f"{root}/{name}", content)


def _model(old: str, new: str) -> Callable[[str, bytes], bytes]:
    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        assert old in content.decode()
        return content.decode().replace(old, new).encode()

    return change


def _pickled(name: str, content: bytes) -> bytes:
    if not name.endswith("weights_config.json"):
        return content
    about = json.loads(content)
    next(iter(about["config"].values()))["use_pickle"] = True
    return json.dumps(about).encode()


def _huge(name: str, content: bytes) -> bytes:
    if not name.endswith("weights_config.json"):
        return content
    about = json.loads(content)
    next(iter(about["config"].values()))["tensor_meta"]["sizes"] = [{"as_int": 10**6}, {"as_int": 10**6}]
    return json.dumps(about).encode()


RELU = "torch.ops.aten.relu_.default"
SYMBOL = "Symbol('s77', positive=True, integer=True)"


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        (_model(RELU, "torch.hub.load"), (), "operator torch.hub.load"),
        (_model(RELU, "torch.ops.aten.from_file.default"), (), "operator"),
        (_model(RELU, "_operator.methodcaller"), (), "operator"),
        (_model(SYMBOL, "__import__('os').system('true')"), (), "the size"),
        (_model(SYMBOL, "9**9**9**9"), (), "the size"),
        (_pickled, (), "unpickle"),
        (_huge, (), "the file is smaller"),
        (lambda name, content: b"cos\nsystem\n" if "sample_inputs" in name else content, (), "example inputs"),
        (lambda name, content: content, [("data/constants/opaque_obj_0", b"x")], "opaque_obj_0"),
        (lambda name, content: content, [("data/aotinductor/model/a.so", b"x")], "aotinductor"),
        (lambda name, content: content, [("MODELS/model.json", b"{}")], "twice"),
        (lambda name, content: None if "sample_inputs" in name else content, (), "no program that this PyTorch reads"),
    ],
)  # fmt: skip
def test_archives_that_would_run_code_are_refused(
    change: Any, more: Any, said: str, network: nn.Module, session: Session, tmp_path: Path
) -> None:
    path = exported(network, tmp_path / "m.pt2", free=True)
    text = zipfile.ZipFile(path).read("m/models/model.json").decode()
    if SYMBOL not in text:
        pytest.fail("this PyTorch writes symbols in another way")
    _changed(path, change, *more)
    with pytest.raises(FileError, match=said) as refused:
        load_model(path, session)
    assert "\n" not in str(refused.value)


def test_what_was_changed_in_nothing_still_opens(network: nn.Module, session: Session, tmp_path: Path) -> None:
    path = exported(network, tmp_path / "m.pt2", free=True)
    _changed(path, lambda name, content: content)
    require_same(load_model(path, session), network)


def test_a_file_that_is_no_archive_is_left_to_others(session: Session, tmp_path: Path) -> None:
    (tmp_path / "m.pt2").write_bytes(b"\xff" * 100)
    with pytest.raises(DeepscopeError, match=r"m\.pt2"):
        load_model(tmp_path / "m.pt2", session)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04cut"])
def test_a_damaged_program_is_called_so(content: bytes, session: Session, tmp_path: Path) -> None:
    (tmp_path / "cut.pt2").write_bytes(content)
    with pytest.raises(FileError, match="is not a readable program: it is damaged or cut"):
        load_model(tmp_path / "cut.pt2", session)


class EndlessLoop(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = 0
        while True:
            steps += 1
            if steps < 0:
                break
        return x.mean((2, 3)) + steps


class EndlessRange(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(9223372036854775807):
            x = x.sin() + 1  # which PyTorch does not leave out
        return x.mean((2, 3))


class EndlessWhenLoaded(nn.Module):
    """Its state is read in a loop, once it is saved."""

    def __init__(self) -> None:
        super().__init__()
        self.training = False

    @torch.jit.export
    def __getstate__(self) -> tuple[int, bool]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return -1, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[int, bool]) -> None:
        steps = state[0]
        while steps < 0:
            steps = steps - 1
            if steps < -9000000000000000000:
                steps = -1
        self.training = state[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


class Halving(nn.Module):
    """Pools until the image is small: its loop ends."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        while x.shape[2] > 1:
            x = nn.functional.avg_pool2d(x, 2, ceil_mode=True)
        return x.flatten(1)


@pytest.mark.parametrize("kind", [EndlessLoop, EndlessRange, EndlessWhenLoaded])
def test_a_script_that_does_not_end_is_refused(
    kind: type[nn.Module], session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endless, "SECONDS", 9.0)
    path = scripted(kind().eval(), tmp_path / "m.pt", trace=False)
    with pytest.raises(FileError, match=r"has a loop that did not end within 9 seconds: trace the network") as refused:
        load_model(path, session)
    assert "\n" not in str(refused.value)


def test_a_script_with_a_loop_that_ends_is_opened(session: Session, tmp_path: Path) -> None:
    network = Halving().eval()
    model = load_model(scripted(network, tmp_path / "m.pt", trace=False), session)
    pixels = torch.rand(2, 3, 224, 224)
    torch.testing.assert_close(model(pixels), network(model.normalise(pixels)))


class Listing(nn.Module):
    """Loops over lists and a few steps, as PyTorch's own layers do."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            x = self.norm(x)
        return torch.cat([part.mean((2, 3)) for part in x.split(1)])


def test_scripts_without_open_loops_need_no_other_process(
    network: nn.Module, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endless.subprocess, "run", functools.partial(pytest.fail, "another process"))
    for made in (network, Listing().train()):
        assert load_model(scripted(made, tmp_path / "m.pt", trace=False), session)


class Reads(nn.Module):
    """Gives scores that hold the bytes of a file."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        held = torch.from_file("secret", False, 3, dtype=torch.uint8)
        return x.mean((2, 3)) + held.float()


class Writes(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "written")
        return x.mean((2, 3))


class WritesWhenLoaded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.training = False

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, bool]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return torch.zeros(1), self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
        torch.save(state[0], "written")
        self.training = state[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


class ReadsByAnotherLibrary(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) + torch.ops.image.read_file("secret")[:3].float()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Reads, "operator torch.from_file"),
        (Writes, "operator torch.save"),
        (WritesWhenLoaded, "operator torch.save"),
        (ReadsByAnotherLibrary, "operator ops.image.read_file"),
    ],
)
def test_a_script_that_reads_or_writes_files_is_refused_before_it_runs(
    kind: type[nn.Module], said: str, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(b"secret")
    path = scripted(kind().eval(), tmp_path / "m.pt", trace=False)
    (tmp_path / "written").unlink(missing_ok=True)
    with pytest.raises(FileError, match=said) as refused:
        load_model(path, session)
    assert "\n" not in str(refused.value) and not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    "line",
    [
        "torch . from_file('secret', False, 3)",
        "torch.\\\n      from_file('secret', False, 3)",
        "t = torch\n    w = t.from_file('secret', False, 3)",
        "w = getattr(torch, 'from_file')('secret', False, 3)",
        "w = getattr(argument_1, 'sa\\x76e')('written')",
        'w = getattr(argument_1, "sa" "ve")("written")',
        'w = getattr(argument_1, "save")("written")',
        "ops.image.read_file('secret')",
        "ops . image . read_file('secret')",
        "o = ops\n    w = o.image.read_file('secret')",
        "ops.aten.from_file('secret', False, 3)",
        "ops.prim.rpc_sync('a', 'b')",
        "__torch__.torch.classes.rpc.WorkerInfo('a', 0)",
        "c = __torch__.torch.classes\n    w = c.rpc.WorkerInfo('a', 0)",
        "c = __torch__\n    w = c.torch.classes.rpc.WorkerInfo('a', 0)",
    ],
)
def test_a_name_that_reaches_outside_is_found_however_it_is_written(
    line: str, session: Session, tmp_path: Path
) -> None:
    path = scripted(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval(), tmp_path / "m.pt")

    def change(name: str, content: bytes) -> bytes:
        if "flatten" not in name or not name.endswith(".py"):
            return content
        assert b"    return" in content
        return content.replace(b"    return", f"    {line}\n    return".encode(), 1)

    _changed(path, change)
    with pytest.raises(FileError, match=r"uses the (operator|name|class) .*state_dict\(\)"):
        load_model(path, session)


def test_a_script_that_lacks_bytes_of_a_tensor_is_refused_before_they_are_read(
    network: nn.Module, session: Session, tmp_path: Path
) -> None:
    """PyTorch reads beyond the end of it, and dies."""
    path = scripted(network, tmp_path / "m.pt")
    _changed(path, lambda name, content: content[:-1] if name.endswith("data/3") else content)
    with pytest.raises(FileError, match=r"lacks bytes of a tensor \(3\): it is damaged or cut"):
        load_model(path, session)


def test_a_storage_whose_name_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    """Sixteen pairs of pairs in a few bytes, which are 100 kB as text; forty would be more than any memory."""
    storage = (
        b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\nI1\n" + b"2\x86" * 16 + b"X\x03\x00\x00\x00cpuI1\ntQ."
    )
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("script/constants.pkl", storage)
    with pytest.raises(pickle.UnpicklingError, match="has no name"):
        script_archive.require_harmless(tmp_path / "script.pt")


def test_a_script_of_timm_is_refused_for_nothing(session: Session, tmp_path: Path) -> None:
    """Its enumerations and names that are no identifiers are written in ways of their own."""
    own = timm.create_model("test_vit", num_classes=3).eval()
    path = tmp_path / "m.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(own), path)
    script_archive.require_harmless(path)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small network as a program of each kind."""
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    network, folder = nn.Sequential(*layers).eval(), tmp_path_factory.mktemp("programs")
    script, export = scripted(network, folder / "m.pt"), exported(network, folder / "m.pt2", free=True)
    return {path.suffix: path.read_bytes() for path in (script, export)}


def _opens_or_is_refused(path: Path, session: Session) -> None:
    try:
        load_model(path, session)
    except DeepscopeError as error:
        assert "\n" not in str(error) and str(path) in str(error)


@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
def test_a_program_with_any_member_missing_or_foreign_is_refused_in_one_line(
    suffix: str, programs: dict[str, bytes], session: Session, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(programs[suffix])
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    for member in names:
        for made in (None, b"", b"{}", b"null", b"\x80\x02.", b"\xff" * 9):
            path.write_bytes(programs[suffix])
            _changed(path, lambda name, content: made if name == member else content)  # noqa: B023
            _opens_or_is_refused(path, session)
    assert "Traceback" not in capfd.readouterr().err, "PyTorch logs its errors, too"


@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
@given(damage=damages)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_program_is_opened_or_refused_in_one_line(
    suffix: str, damage: Damage, programs: dict[str, bytes], session: Session, tmp_path: Path
) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(damage(programs[suffix]))
    _opens_or_is_refused(path, session)

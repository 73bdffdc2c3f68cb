"""What a pass has computed is freed when its result is, by reference counts alone: the garbage collector is off."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deepscope import images
from deepscope.ascent import Streams
from deepscope.attacks import Attack
from deepscope.attacks.criteria import Untargeted
from deepscope.attributions import Attribution
from deepscope.attributions.engine import batches
from deepscope.errors import DeepscopeError
from deepscope.models import VisionModel
from deepscope.models.batching import in_parts
from deepscope.models.capture import capture
from deepscope.models.classifier import Backbone
from deepscope.registry import Registered
from deepscope.visualization import PRESETS, ClassObjective, climb, final
from image_files import blocks
from networks import smooth_model, tiny_model, tiny_transformer


@pytest.fixture
def no_collector(only_new_objects: None) -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def held() -> int:
    """Bytes of all tensors that are alive."""
    return sum(o.element_size() * o.nelement() for o in gc.get_objects() if type(o) is Tensor)


def left_behind(run: Callable[[], object]) -> int:
    """Bytes of tensors that each further call leaves alive, once the first ones have filled what is cached."""
    run()
    run()
    before = held()
    for _ in range(3):
        run()
    return (held() - before) // 3


BRIEF = {
    "steps": 3,
    "queries": 30,
    "population": 4,
    "searches": 2,
    "starts": 2,
    "batch": 2,
    "restarts": 1,
    "iterations": 3,
    "samples": 4,
    "masks": 8,
    "count": 8,
    "window": 8,
    "stride": 8,
    "most": 16,
}
"""Settings that make a method quick; a method takes those that it has."""


def brief(method: type[Registered]) -> Any:
    assert dataclasses.is_dataclass(method)
    return method(**{f.name: BRIEF[f.name] for f in dataclasses.fields(method) if f.name in BRIEF})


@pytest.fixture
def model() -> VisionModel:
    return tiny_model()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("layers", [["0"], ["5"], ["0", "3", "7"]])
def test_activations(layers: list[str], model: VisionModel) -> None:
    pixels = torch.rand(4, 3, 16, 16)
    assert left_behind(lambda: model.activations(pixels, layers)) == 0

    def differentiated() -> None:
        leaf = pixels.clone().requires_grad_()
        found = model.activations(leaf, layers)
        torch.autograd.grad(sum(output.sum() for output in found.values()), leaf)  # type: ignore[arg-type]

    assert left_behind(differentiated) == 0


@pytest.mark.usefixtures("no_collector")
def test_a_capture_inside_a_captured_network(model: VisionModel) -> None:
    inner = Backbone(model.network, (0.5,) * 3, (0.5,) * 3, [("2", "mean")])

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.after = inner, nn.Linear(6, 2)

        def forward(self, pixels: Tensor) -> Tensor:
            return self.after(self.inner(pixels)[0])

    outer, pixels = Outer(), torch.rand(2, 3, 16, 16)
    wanted = outer(pixels)
    assert torch.equal(capture(outer, pixels, {"after": outer.after})["after"], wanted)
    assert capture(outer, pixels, {"deep": model.layer("0")})["deep"].shape == (2, 6, 16, 16)
    assert left_behind(lambda: capture(outer, pixels, {"after": outer.after})) == 0
    assert left_behind(lambda: capture(outer, pixels, {"deep": model.layer("0")})) == 0


@pytest.mark.usefixtures("no_collector")
def test_a_capture_that_fails_frees_too(model: VisionModel) -> None:
    def fails() -> None:
        with pytest.raises(DeepscopeError, match="takes no part"):
            capture(model.network, torch.rand(2, 3, 16, 16), {"other": nn.ReLU()})

    assert left_behind(fails) == 0


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("name", Attribution.members())
def test_attributions(name: str, model: VisionModel) -> None:
    method = brief(Attribution.member(name))
    model = tiny_transformer() if method.of_transformers else model
    pixels, target = torch.rand(2, 3, 16, 16), torch.tensor([0, 1])

    def run() -> None:
        method(model, pixels, target, rng=torch.Generator().manual_seed(0))

    assert left_behind(run) == 0


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("name", Attack.members())
def test_attacks(name: str, model: VisionModel) -> None:
    attack = brief(Attack.member(name))
    pixels = torch.rand(2, 3, 16, 16)
    criterion = Untargeted(model(pixels).argmax(1))

    def run() -> None:
        attack(model, pixels, criterion, rng=torch.Generator().manual_seed(0))

    assert left_behind(run) == 0


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("name", PRESETS)
def test_class_images(name: str) -> None:
    model = smooth_model(batch_norm=name == "statistics")
    model.network.float()
    objective = ClassObjective(model, torch.tensor([0, 1]))
    recipe = dataclasses.replace(PRESETS[name], iterations=2)

    def run() -> None:
        final(climb(objective, recipe, Streams.split(torch.Generator().manual_seed(0), 2)))

    assert left_behind(run) == 0


@pytest.mark.usefixtures("no_collector")
def test_bad_images_keep_no_frames() -> None:
    """Their errors pass through decoders' frames, which hold the file and what was decoded."""
    bad = images.decode(blocks()).tobytes()  # no file of any format

    class Watched(bytes):
        alive = 0

        def __init__(self, *_: object) -> None:
            Watched.alive += 1

        def __del__(self) -> None:
            Watched.alive -= 1

    for _ in range(3):
        with pytest.raises(images.UnreadableImage):
            images.decode(Watched(bad))
    for _ in images.stream((Watched(bad) for _ in range(20)), tiny_model().preprocessing, batch_size=2):
        pass
    assert Watched.alive == 0


# ---------------------------------------------------------------- shortage of memory


def short_of_memory(at_most: int, error: Exception) -> Callable[[Tensor], Tensor]:
    def run(part: Tensor) -> Tensor:
        if len(part) > at_most:
            raise error
        return 2 * part

    return run


SHORTAGES = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
]


@pytest.mark.parametrize("error", SHORTAGES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("at_most", [1, 2, 3, 7])
def test_batches_shrink_where_memory_is_short(at_most: int, error: Exception) -> None:
    numbers = torch.arange(11.0)
    assert torch.equal(in_parts(short_of_memory(at_most, error), numbers), 2 * numbers)
    run = short_of_memory(at_most, error)
    found = list(batches(11, torch.device("cpu"), lambda rows: run(numbers[rows])))
    assert torch.equal(torch.cat([output for _, output in found]), 2 * numbers)
    assert [row for rows, _ in found for row in range(rows.start, rows.stop)] == list(range(11))


@pytest.mark.parametrize("error", SHORTAGES, ids=lambda error: type(error).__name__)
def test_not_even_one_image_is_one_line(error: Exception) -> None:
    for use in (
        lambda: in_parts(short_of_memory(0, error), torch.arange(5.0)),
        lambda: list(batches(5, torch.device("cpu"), lambda rows: short_of_memory(0, error)(torch.arange(5.0)[rows]))),
    ):
        with pytest.raises(DeepscopeError, match="not even one image"):
            use()


def test_other_errors_are_raised_at_once() -> None:
    tried: list[int] = []

    def run(part: Tensor) -> Tensor:
        tried.append(len(part))
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        in_parts(run, torch.arange(5.0))
    with pytest.raises(RuntimeError, match="shapes"):
        list(batches(5, torch.device("cpu"), lambda rows: run(torch.arange(5.0)[rows])))
    assert tried == [5, 5]

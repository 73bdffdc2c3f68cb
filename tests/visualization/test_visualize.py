"""The command: what it makes, keeps on ctrl-C, continues, and refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from deepscope.commands import visualize
from deepscope.commands.visualize import Visualize
from deepscope.errors import DeepscopeError, SettingError
from deepscope.models import VisionModel
from deepscope.results import Animation, Curves, ImageGrid, Note, Table
from deepscope.session import Session
from deepscope.visualization import ClassObjective, Frame, Made, climb, evaluation, make_images, making, preset
from networks import smooth_model, tiny_model

RECIPE = dataclasses.replace(preset("default"), iterations=8, view=32)
LABELS = ("bee eater", "wombat", "hay", "snail")


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(cache=tmp_path, quiet=True)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, session: Session) -> VisionModel:
        return dataclasses.replace(tiny_model(seed=len(name)), name=name)

    monkeypatch.setattr(visualize, "load_model", load)
    monkeypatch.setattr(evaluation, "load_model", load)


def make(session: Session, *, labels: tuple[str, ...] = LABELS, batch_size: int = 2, keep: bool = False) -> Made:
    targets = torch.tensor([LABELS.index(label) for label in labels])
    objective = ClassObjective(tiny_model(), targets)
    return make_images(objective, RECIPE, labels, session, batch_size=batch_size, frame_steps=range(9), keep=keep)


def interrupt_after(frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """ctrl-C comes in place of the frame after so many."""
    left = frames

    def interrupted(*arguments: Any, **settings: Any) -> Iterator[Frame]:
        nonlocal left
        for frame in climb(*arguments, **settings):
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            yield frame

    monkeypatch.setattr(making, "climb", interrupted)


def test_what_ctrl_c_stops_is_kept_and_goes_on_to_the_same_bits(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = make(session)
    assert whole.complete
    assert not any((tmp_path / "visualize").rglob("*.kept"))

    with monkeypatch.context() as patch:
        interrupt_after(9 + 5, patch)  # in the second of two batches, after its frame 4
        stopped = make(session)
    assert not stopped.complete
    assert stopped.pixels.shape == whole.pixels.shape
    assert torch.equal(stopped.pixels[:2], whole.pixels[:2])
    assert torch.isfinite(stopped.watched).sum(0).tolist() == [9, 9, 5, 5]
    assert torch.equal(stopped.frames[:5], whole.frames[:5])

    with monkeypatch.context() as patch:
        interrupt_after(2 + 4, patch)  # the last frames of the first batch and of the second one are looked at again
        continued = make(session)
    assert continued.complete
    for part in ("pixels", "watched", "frames"):
        assert torch.equal(getattr(continued, part), getattr(whole, part))
    assert not any((tmp_path / "visualize").rglob("*.kept"))


def test_statistics_are_shared_by_parts_of_equal_size_whatever_the_batch(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "_SHARED", 3)
    objective, recipe = (
        ClassObjective(smooth_model(batch_norm=True), torch.arange(4)),
        dataclasses.replace(RECIPE, batch_norm=1),
    )
    objective.model.network.float()
    sizes = []

    def counted(part: ClassObjective, *arguments: Any, **settings: Any) -> Iterator[Frame]:
        sizes.append(len(part))
        return climb(part, *arguments, **settings)

    monkeypatch.setattr(making, "climb", counted)
    one, four = (make_images(objective, recipe, LABELS, session, batch_size=size).pixels for size in (1, 4))
    assert torch.equal(one, four)
    assert sizes == [2, 2, 2, 2]


def test_ctrl_c_in_the_first_batch_leaves_out_the_others(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_after(3, monkeypatch)
    assert len(make(session).pixels) == 2
    interrupt_after(0, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        make(dataclasses.replace(session, seed=1))


def test_what_is_kept_is_given_again_without_a_step(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(session, keep=True)
    steps = []

    def counted(*arguments: Any, **settings: Any) -> Iterator[Frame]:
        for frame in climb(*arguments, **settings):
            steps.append(frame.step)
            yield frame

    monkeypatch.setattr(making, "climb", counted)
    again = make(session, keep=True)
    assert steps == [8, 8]
    for part in ("pixels", "watched", "frames"):
        assert torch.equal(getattr(again, part), getattr(first, part))
    assert again.kept.is_dir()


def test_a_damaged_file_of_the_cache_costs_time_only(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        interrupt_after(3, patch)
        make(session)
    wanted, (path,) = make(dataclasses.replace(session, cache=Path("/dev/null/none"))), session.cache.rglob("*.kept")
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for at in [*range(0, 100, 7), *rng.integers(len(whole), size=6)]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 64]) + whole[at + 1 :])
        assert torch.equal(make(session).pixels, wanted.pixels)


@pytest.mark.parametrize("fits", [1, 2])
def test_a_batch_that_does_not_fit_is_halved(session: Session, monkeypatch: pytest.MonkeyPatch, fits: int) -> None:
    wanted, sizes = make(dataclasses.replace(session, cache=Path("/dev/null/none")), batch_size=fits), []

    def short(part: ClassObjective, *arguments: Any, **settings: Any) -> Iterator[Frame]:
        sizes.append(len(part))
        if len(part) > fits:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes.")
        return climb(part, *arguments, **settings)

    monkeypatch.setattr(making, "climb", short)
    assert torch.equal(make(session, batch_size=4).pixels, wanted.pixels)
    assert sizes == {2: [4, 2, 2], 1: [4, 2, 1, 1, 1, 1]}[fits]
    fits = 0
    with pytest.raises(SettingError, match="not enough memory for 1 image") as caught:
        make(dataclasses.replace(session, seed=1))
    assert caught.value.setting == "view"


def test_an_image_depends_on_its_label_and_the_seed_alone(session: Session) -> None:
    together = make(session)
    alone = make(session, labels=("hay",))
    torch.testing.assert_close(alone.pixels[0], together.pixels[2], atol=2e-3, rtol=0)
    assert not torch.allclose(make(dataclasses.replace(session, seed=1)).pixels, together.pixels, atol=0.05)


@pytest.mark.usefixtures("models")
def test_the_result_shows_images_quality_curves_and_animations(session: Session) -> None:
    result = Visualize(("wombat", "hay"), recipe={"iterations": 5, "view": 32}, seeds=2, animate=True).run(session)
    kinds = [type(block) for block in result.blocks]
    assert kinds == [ImageGrid, Table, Curves, *[Animation] * 4]
    assert result.arrays["images"].shape == (4, 16, 16, 3)
    animation = result.blocks[3]
    assert isinstance(animation, Animation)
    assert animation.frames.shape == (6, 16, 16, 3)
    assert np.array_equal(animation.frames[-1], result.arrays["images"][0])
    seen = tiny_model(seed=len("efficientnet_lite0"))(torch.from_numpy(animation.frames[3:4]).permute(0, 3, 1, 2) / 255)
    assert animation.captions[3] == f"wombat #1: iteration 3, probability {float(seen.softmax(1)[0, 1]):.2f}"
    evaluator = tiny_model(seed=len("squeezenet1_0"))
    pixels = torch.from_numpy(result.arrays["images"]).permute(0, 3, 1, 2).float() / 255
    recognised = evaluator(pixels).argmax(1) == torch.tensor([1, 1, 2, 2])
    assert result.metrics["recognised/squeezenet1_0/top1"] == pytest.approx(float(recognised.float().mean()))
    assert {"total-variation", "saturation", "diversity", "diversity/low", "seconds-per-image"} <= set(result.metrics)
    assert result.config["iterations"] == 5
    assert result.config["canvas"] == "fourier"


@pytest.mark.usefixtures("models")
def test_several_networks_evaluate(session: Session) -> None:
    result = Visualize(("wombat",), recipe={"iterations": 2, "view": 32}, evaluators=("one", "number two")).run(session)
    assert {f"recognised/{name}/top1" for name in ("efficientnet_lite0", "one", "number two")} <= set(result.metrics)


@pytest.mark.usefixtures("models")
def test_a_stopped_job_still_gives_its_result(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_after(4, monkeypatch)
    result = Visualize(("wombat",), recipe={"iterations": 9, "view": 32}, animate=True).run(session)
    assert isinstance(result.blocks[0], Note)
    animation = result.blocks[-1]
    assert isinstance(animation, Animation)
    assert len(animation.frames) == 4
    assert result.metrics["images"] == 1


@pytest.mark.usefixtures("models")
def test_it_starts_from_a_picture_or_excites_a_layer(session: Session, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), (200, 40, 40)).save(tmp_path / "red.png")
    unmoved = {"iterations": 1, "learning_rate": 0.0, "blur_every": 0}
    still = Visualize(("hay",), preset="report", recipe=unmoved, start=str(tmp_path / "red.png")).run(session)
    assert still.arrays["images"][0, 8, 8].tolist() == [200, 40, 40]
    channels = Visualize(layer="0", channel=(1, 4), recipe={"iterations": 3, "view": 32}).run(session)
    assert channels.arrays["images"].shape[0] == 2
    assert not any(name.startswith("recognised") for name in channels.metrics)
    assert Visualize(layer="3", recipe={"iterations": 3, "view": 32}).run(session).metrics["images"] == 1


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("command", "message"),
    [
        (Visualize(), "at least one class"),
        (Visualize(("wombat",), layer="0"), "not both"),
        (Visualize(channel=(1,)), "needs a layer"),
        (Visualize(("wombatt",)), "did you mean 'wombat'"),
        (Visualize(("wombat",), preset="best"), "preset must be one of default, statistics, report"),
        (Visualize(layer="9"), "no layer"),
        (Visualize(layer="0", channel=(99,)), r"channel does not exist: 0 has channels 0 to 5 \(got 99\)"),
        (Visualize(layer="0", evaluators=("squeezenet1_0",)), "evaluators recognise classes"),
        (Visualize(("wombat",), start="missing.jpg"), "missing.jpg"),
        (Visualize(("wombat",), preset="statistics"), "no batch normalisation"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_done_is_said_in_one_line(command: Visualize, message: str, session: Session) -> None:
    with pytest.raises(DeepscopeError, match=message):
        command.run(session)


@pytest.mark.real
def test_squeezenet_recognises_what_it_was_asked_for(home: Path, tmp_path: Path) -> None:
    session = Session(home=home, cache=tmp_path, quiet=True)
    command = Visualize(("pug", "gondola"), model="squeezenet1_0", recipe={"iterations": 80, "view": 96})
    assert command.run(session).metrics["recognised/squeezenet1_0/top1"] == 1

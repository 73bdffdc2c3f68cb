"""Commands on networks of every layout: what cannot be done on one is said, and the rest is done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.models.mlp_mixer import MlpMixer
from torch import nn

from deepscope.checks import explanations, held_out
from deepscope.checks.class_images import ClassImages
from deepscope.checks.explanations import Explanations
from deepscope.commands import activations, explain_compare, visualize
from deepscope.commands.activations import Activations
from deepscope.commands.explain_compare import ExplainCompare
from deepscope.commands.visualize import Visualize
from deepscope.errors import DeepscopeError
from deepscope.models import Preprocessing, VisionModel
from deepscope.results import Heatmap, ImageGrid, Note, Table
from deepscope.session import Session
from deepscope.visualization import evaluation, preset, suited
from networks import linear_model, tiny_model
from painted import CLASSES, paint_folder


def _tiny_transformer(name: str) -> VisionModel:
    """A timm network with random weights, made small; it takes images of its own size alone."""
    small = {
        "vit_tiny_patch16_224": {"img_size": 48, "depth": 2, "embed_dim": 24, "num_heads": 2},
        "swin_tiny_patch4_window7_224": {"img_size": 56, "depths": (1, 1), "embed_dim": 12, "num_heads": (1, 2)},
        "mixer_s32_224": {"img_size": 64, "num_blocks": 2, "embed_dim": 16, "patch_size": 16},
    }[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        make = MlpMixer if name.startswith("mixer") else lambda **size: timm.create_model(name, **size)
        network = make(num_classes=3, **small)
    side = int(small["img_size"])
    return VisionModel(name, network, Preprocessing(resize=side, crop=side), CLASSES)


_REFUSED: dict[str, list[str]] = {
    "vit_tiny_patch16_224": [],
    "swin_tiny_patch4_window7_224": ["attention-rollout"],  # attends within windows
    "mixer_s32_224": ["attention-rollout", "grad-cam"],  # no layer of it has positions that the score rests on
}
NETWORKS = tuple(_REFUSED)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(cache=tmp_path / "cache", quiet=True)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return paint_folder(tmp_path / "data", train=2, test=2)


@pytest.fixture(params=NETWORKS)
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> VisionModel:
    made = _tiny_transformer(request.param)
    for command in (explain_compare, visualize, activations, held_out):
        monkeypatch.setattr(command, "load_model", lambda name, session: made)
    return made


def test_every_method_is_compared_or_its_column_says_why_not(model: VisionModel, data: Path, session: Session) -> None:
    result = ExplainCompare((data / "test",), methods=("saliency", "attention-rollout", "grad-cam"), figures=2).run(
        session
    )
    figure = next(block for block in result.blocks if isinstance(block, ImageGrid))
    assert figure.columns == ("image", "saliency", "attention-rollout", "grad-cam")
    left_out = [name for name in figure.columns[1:] if name not in result.arrays]
    assert left_out == _REFUSED[model.name]
    reasons = [row for block in result.blocks if isinstance(block, Table) for row in block.rows]
    assert [row[0] for row in reasons] == left_out
    assert all(row[1] for row in reasons)
    for row in figure.rows:
        for name, cell in zip(figure.columns[1:], row[1:]):
            assert isinstance(cell, Heatmap)
            assert bool(np.isnan(cell.values).all()) == (name in left_out)


@pytest.mark.parametrize("model", [name for name in NETWORKS if _REFUSED[name]], indirect=True)
def test_where_no_method_applies_it_is_one_line(model: VisionModel, data: Path, session: Session) -> None:
    with pytest.raises(DeepscopeError, match="no method applies"):
        ExplainCompare((data / "test",), methods=tuple(_REFUSED[model.name])).run(session)


def test_class_images_of_networks_of_one_input_size(model: VisionModel, session: Session) -> None:
    side = model.preprocessing.size[0]
    assert suited(preset("default"), model).view == side
    for name in ("default", "report"):
        result = Visualize((CLASSES[0],), preset=name, recipe={"iterations": 2}).run(session)
        assert result.arrays["images"].shape == (1, side, side, 3)
    with pytest.raises(DeepscopeError, match=f"accepts only {side} x {side} pixels"):
        Visualize((CLASSES[0],), recipe={"iterations": 2, "view": 32}).run(session)


def test_networks_that_take_any_size_keep_their_views() -> None:
    assert suited(preset("default"), tiny_model()) == preset("default")
    assert suited(replace(preset("default"), view=0), _tiny_transformer(NETWORKS[0])).view == 0


def test_checks_work_on_every_layout(model: VisionModel, data: Path, session: Session) -> None:
    made = ClassImages(str(data), model="x", classes=2, iterations=2).run(session)
    assert made.metrics["classes"] == 2
    found = Explanations(str(data), model="x", limit=4, search=6, steps=2).run(session)
    said = " ".join(block.title for block in found.blocks if isinstance(block, Note))
    for name in explanations.Explanations.methods:
        assert (f"faithfulness/{name}/wrong" in found.metrics) != (f"{name} does not apply" in said)


def test_a_class_that_no_other_network_knows_is_shown_with_a_note(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(tiny_model(classes=3), name="own", categories=("bee eater", "my cat", "3"))
    models = {"own": own, "squeezenet1_0": replace(tiny_model(), name="squeezenet1_0")}
    for module in (visualize, evaluation):
        monkeypatch.setattr(module, "load_model", lambda name, session: models.get(name, models["squeezenet1_0"]))
    alone = Visualize(("my cat",), model="own", recipe={"iterations": 1}).run(session)
    assert "no class is named 'my cat'" in next(b.text for b in alone.blocks if isinstance(b, Note))
    assert not any("squeezenet" in name for name in alone.metrics)
    digit = Visualize(("2",), model="own", recipe={"iterations": 1}).run(
        session
    )  # class 3 of another network is no "3"
    assert not any("squeezenet" in name for name in digit.metrics)
    some = Visualize(("my cat", "bee eater"), model="own", recipe={"iterations": 1}).run(session)
    (table,) = (block for block in some.blocks if isinstance(block, Table))
    assert [row[2] is None for row in table.rows] == [True, False]
    assert some.metrics["images"] == 2
    with pytest.raises(DeepscopeError, match="my cat"):
        Visualize(("my cat", "bee eater"), model="own", recipe={"iterations": 1}, evaluators=("squeezenet1_0",)).run(
            session
        )


def test_activations_of_several_images_are_those_of_each(session: Session, tmp_path: Path) -> None:
    model = tiny_model()
    first = next(model.network.children())
    assert isinstance(first, nn.Conv2d)
    assert first.bias is not None
    first.weight.data[2], first.bias.data[2] = 0, 0  # a dead channel
    first.weight.data[4], first.bias.data[4] = 1, -20.0
    rng = np.random.default_rng(0)
    for name, high in (("a", 256), ("b", 40)):  # channel 4 lets only the bright picture through
        Image.fromarray(rng.integers(high // 2, high, (16, 16, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "c.png").write_bytes(b"no image")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(activations, "load_model", lambda name, session: model)
        both = Activations((tmp_path,), layer="1").run(session)
        one = Activations((tmp_path / "b.png",), layer="1").run(session)
    pixels = model.read([tmp_path / "a.png", tmp_path / "b.png"])
    expected = first(model.normalise(pixels)).relu().detach().numpy()
    np.testing.assert_allclose(both.arrays["activations"], expected, atol=1e-5)
    np.testing.assert_allclose(one.arrays["activations"], expected[1], atol=1e-5)
    assert both.metrics["images"] == 2
    figure = next(block for block in both.blocks if isinstance(block, ImageGrid))
    captions = [[cell.caption for cell in row] for row in figure.rows]
    assert [row[0] for row in captions] == ["a.png", "b.png"]
    assert all(row[3] == "2 dead" for row in captions)
    for row, values in zip(captions, expected):
        assert [text.endswith((" dead", " all 0")) for text in row[1:]] == [not one.any() for one in values]
    square = [block for block in one.blocks if isinstance(block, ImageGrid)][1]
    assert "2 dead" in [cell.caption for row in square.rows for cell in row]
    assert "dead" in square.caption


def test_a_map_of_zeros_says_so(session: Session, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flat = linear_model(torch.zeros(3, 3 * 16 * 16), size=16)
    monkeypatch.setattr(explain_compare, "load_model", lambda name, session: flat)
    result = ExplainCompare((data / "test",), methods=("saliency",), figures=1).run(session)
    figure = next(block for block in result.blocks if isinstance(block, ImageGrid))
    assert figure.rows[0][1].caption == "0 everywhere"
    assert ".png" in figure.rows[0][0].caption

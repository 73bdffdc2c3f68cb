"""A method that does not apply to a network leaves an empty column, and never ends a comparison."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from architectures import ARCHITECTURES
from deepscope.attributions import RISE, AttentionRollout, IntegratedGradients, Saliency, compare, evaluate
from deepscope.errors import SettingError, UnsupportedError
from deepscope.models import VisionModel
from deepscope.results import Heatmap, ImageGrid, Note, Result, Table
from deepscope.session import Session

METHODS = [Saliency(), AttentionRollout(), IntegratedGradients(steps=4), RISE(masks=4)]
APPLY = ["saliency", "integrated-gradients", "rise"]


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True)


@pytest.fixture(params=["ConvNeXt", "Swin v2", "MaxViT", "XCiT"])
def model(request: pytest.FixtureRequest) -> VisionModel:
    return single(request.param)


def single(name: str) -> VisionModel:
    """The network of that name in float32."""
    (architecture,) = (one for one in ARCHITECTURES if one.name == name)
    made = architecture.model()
    return replace(made, network=made.network.float())


def images(model: VisionModel) -> torch.Tensor:
    return torch.rand(2, 3, *model.preprocessing.size, generator=torch.Generator().manual_seed(0))


def table(result: Result, title: str) -> Table:
    (found,) = (block for block in result.blocks if isinstance(block, Table) and block.title.startswith(title))
    return found


def test_compare_shows_an_empty_column(model: VisionModel, session: Session) -> None:
    found = compare(model, images(model), METHODS, session=session)
    assert list(found.maps) == APPLY and list(found.refused) == ["attention-rollout"]
    result = found.result()
    assert [row[0] for row in table(result, "Methods that do not apply").rows] == ["attention-rollout"]
    (grid,) = (block for block in result.blocks if isinstance(block, ImageGrid))
    cells = grid.rows[0]
    empty = [isinstance(cell, Heatmap) and bool(np.isnan(cell.values).all()) for cell in cells]
    assert empty == [False, False, True, False, False]


def test_evaluate_names_the_method_and_measures_the_others(model: VisionModel, session: Session) -> None:
    found = evaluate(model, images(model), METHODS, measures=["roughness"], sanity=1, session=session)
    (network,) = found.networks
    assert list(network.values) == [*APPLY, "random"] and list(network.refused) == ["attention-rollout"]
    assert network.sanity is not None and list(network.sanity.survived) == APPLY
    result = found.result()
    rows = {row[0]: row[1:] for row in table(result, "Measures").rows}
    assert rows["attention-rollout"] == ("not applicable",)
    assert [row[0] for row in table(result, "Methods that do not apply").rows] == ["attention-rollout"]
    assert not any("attention-rollout" in name for name in result.metrics)


def test_against_a_network_that_another_method_refuses(session: Session) -> None:
    other = single("ViT, class token")
    model = replace(single("ConvNeXt"), preprocessing=other.preprocessing)
    found = evaluate(
        other, images(model), METHODS[:2], measures=["roughness"], sanity=0, against=model, session=session
    )
    assert [list(network.refused) for network in found.networks] == [[], ["attention-rollout"]]
    compared = {name for name in found.result().metrics if name.startswith("difference/")}
    assert any("saliency" in name for name in compared) and not any("rollout" in name for name in compared)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_has_no_layers_to_read(session: Session) -> None:
    (plain,) = (one.model() for one in ARCHITECTURES if one.name == "VGG")
    network = plain.network.float()
    example = torch.rand(1, 3, *plain.preprocessing.size)
    for script in (torch.jit.trace(network, example), torch.jit.script(network)):  # pyright: ignore[reportArgumentType]
        model = replace(plain, network=script)  # pyright: ignore[reportArgumentType]
        found = compare(model, images(model), ["saliency", "grad-cam", "score-cam"], session=session)
        assert list(found.maps) == ["saliency"]
        assert all("is TorchScript" in reason and "integrated-gradients" in reason for reason in found.refused.values())
        measured = evaluate(model, images(model), ["saliency"], measures=["roughness"], sanity=1, session=session)
        assert measured.networks[0].sanity is None
        assert "TorchScript, whose layers cannot be shuffled" in measured.networks[0].unchecked
        notes = [block for block in measured.result().blocks if isinstance(block, Note)]
        assert any(measured.networks[0].unchecked in note.text for note in notes)


def test_where_no_method_applies_that_is_the_error(model: VisionModel, session: Session) -> None:
    with pytest.raises(UnsupportedError, match=f"no method applies to {model.name}; .*attention between all tokens"):
        evaluate(model, images(model), ["attention-rollout"], measures=["roughness"], sanity=0, session=session)


def test_a_second_network_is_refused_before_the_first_is_measured(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, model = single("ViT, class token"), single("ConvNeXt")
    model = replace(model, preprocessing=other.preprocessing)
    measured: list[str] = []
    module = sys.modules["deepscope.attributions.evaluate"]  # in the package, the function has its name
    monkeypatch.setattr(module, "measure_batch", lambda *given: measured.append(given[1].photos.model.name))
    with pytest.raises(UnsupportedError, match=f"no method applies to {model.name}; .*attention between all tokens"):
        evaluate(other, images(model), ["attention-rollout"], sanity=0, against=model, session=session)
    stacks = replace(model, preprocessing=replace(model.preprocessing, mean=(0.5,) * 5, std=(1.0,) * 5))
    with pytest.raises(SettingError, match="against must take images of as many channels"):
        evaluate(other, images(model), ["saliency"], sanity=0, against=stacks, session=session)
    assert measured == []

"""Attribution methods that only use scores run on an inference engine, with the same maps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from deepscope import explain, wrap
from deepscope.attributions import RISE, Occlusion, Saliency, ScoreCAM, evaluate
from deepscope.models import Preprocessing, VisionModel, served
from deepscope.models.engines import ENGINES
from deepscope.session import Session


def _model() -> VisionModel:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    return wrap(network, categories=list("abcd"), preprocessing=Preprocessing(24, 24))


@pytest.mark.parametrize("method", [RISE(masks=20), Occlusion(window=8, stride=8), ScoreCAM(), Saliency()], ids=repr)
def test_maps_on_an_engine_are_those_of_pytorch(method: RISE | Occlusion | ScoreCAM | Saliency, tmp_path: Path) -> None:
    if not ENGINES["onnxruntime"].here():
        pytest.skip("onnxruntime is not installed")
    model = _model()
    pixels = torch.rand(2, 3, 24, 24)
    maps = []
    for engine in ("torch", "onnxruntime"):
        session = Session.open(device="cpu", engine=engine, cache=tmp_path, quiet=True)
        maps.append(explain(model, pixels, method, session=session).maps)
    assert session.engines == {"onnxruntime"}  # at least for the predictions
    torch.testing.assert_close(maps[1], maps[0], atol=1e-5, rtol=1e-3)


def test_measures_on_an_engine_have_the_values_of_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not ENGINES["onnxruntime"].here():
        pytest.skip("onnxruntime is not installed")
    runs: list[int] = []
    called = served.Served.__call__

    def counted(self: served.Served, inputs: torch.Tensor) -> torch.Tensor:
        runs.append(len(inputs))
        return called(self, inputs)

    monkeypatch.setattr(served.Served, "__call__", counted)
    model, pixels, values = _model(), torch.rand(2, 3, 24, 24), []
    for engine in ("torch", "onnxruntime"):
        runs.clear()
        session = Session.open(device="cpu", engine=engine, cache=tmp_path, quiet=True)
        measures = ["deletion", "insertion", "infidelity"]
        values.append(evaluate(model, pixels, "saliency", measures=measures, sanity=0, session=session).values)
    assert sum(runs) > 2 * 2 * 2 * 20, "images of two curves of two maps each, of two images"
    for name in values[0]:
        for measure, found in values[0][name].items():
            torch.testing.assert_close(values[1][name][measure], found, atol=1e-5, rtol=1e-4)

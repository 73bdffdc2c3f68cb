"""Attribution methods that only use scores run on an inference engine, with the same maps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from deepscope import explain, wrap
from deepscope.attributions import RISE, Occlusion, Saliency, ScoreCAM
from deepscope.models import Preprocessing
from deepscope.models.engines import ENGINES
from deepscope.session import Session


@pytest.mark.parametrize("method", [RISE(masks=20), Occlusion(window=8, stride=8), ScoreCAM(), Saliency()], ids=repr)
def test_maps_on_an_engine_are_those_of_pytorch(method: RISE | Occlusion | ScoreCAM | Saliency, tmp_path: Path) -> None:
    if not ENGINES["onnxruntime"].here():
        pytest.skip("onnxruntime is not installed")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    model = wrap(network, categories=list("abcd"), preprocessing=Preprocessing(24, 24))
    pixels = torch.rand(2, 3, 24, 24)
    maps = []
    for engine in ("torch", "onnxruntime"):
        session = Session.open(device="cpu", engine=engine, cache=tmp_path, quiet=True)
        maps.append(explain(model, pixels, method, session=session).maps)
    assert session.engines == {"onnxruntime"}  # at least for the predictions
    torch.testing.assert_close(maps[1], maps[0], atol=1e-5, rtol=1e-3)

"""A folded first convolution."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torchvision
from torch import nn

from deepscope.errors import DeepscopeError
from deepscope.models import Preprocessing, VisionModel, load_model
from deepscope.transfer.greyscale import fold_greyscale


@pytest.fixture(params=["squeezenet1_1", "bundled"])
def model(request: pytest.FixtureRequest) -> VisionModel:
    if request.param == "bundled":
        return load_model()
    torch.manual_seed(0)
    statistics = Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
    network = torchvision.models.squeezenet1_1(weights=None)
    first = network.features[0]
    assert isinstance(first, nn.Conv2d)
    network.features[0] = nn.Conv2d(3, 64, 3, stride=2, padding=1)  # padding is where a careless fold goes wrong
    return VisionModel("squeeze", network, statistics, tuple(map(str, range(1000))))


def test_summing_gives_the_same_features_and_averaging_does_not(model: VisionModel) -> None:
    grey = torch.rand(2, 1, 64, 64).expand(-1, 3, -1, -1)
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    folded, averaged = fold_greyscale(model, "fold"), fold_greyscale(model, "average")
    with torch.no_grad():
        wanted = model(grey)
        torch.testing.assert_close(folded(grey), wanted, rtol=1e-3, atol=1e-3)
        assert (averaged(grey) - wanted).abs().max() > 0.05 * wanted.abs().max()
        colour = grey * torch.tensor([1.0, 0.2, 0.7]).view(3, 1, 1)
        torch.testing.assert_close(folded(colour), wanted, rtol=1e-3, atol=1e-3)  # only one channel is read
    assert all(torch.equal(value, before[key]) for key, value in model.network.state_dict().items())


def test_only_three_channels_fold(model: VisionModel) -> None:
    assert fold_greyscale(model, "replicate") is model
    with pytest.raises(DeepscopeError, match="three channels"):
        fold_greyscale(replace(model, network=nn.Sequential(nn.Flatten(), nn.Linear(12, 3))), "fold")

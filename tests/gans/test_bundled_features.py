"""The features behind the Frechet distance of photographs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscope.gans.quality import bundled_features
from deepscope.models import DEFAULT, load_model
from deepscope.session import Session


def _plainly(images: Tensor, session: Session) -> Tensor:
    """What the class layer reads, image by image, from the network as it is."""
    model = load_model(DEFAULT, session)
    head = [module for module in model.network.modules() if isinstance(module, nn.Linear)][-1]
    found: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    with torch.no_grad():
        for image in images:
            pixels = image.expand(3, -1, -1)[None].float() / 255
            model(functional.interpolate(pixels, model.preprocessing.size, mode="bilinear", antialias=True))
    hook.remove()
    return torch.cat(found)


@pytest.mark.parametrize(("count", "channels", "side"), [(1, 3, 32), (3, 1, 64), (33, 3, 16)])
def test_features_are_those_of_the_network_whatever_the_number_of_images(count: int, channels: int, side: int) -> None:
    session = Session(quiet=True)
    images = torch.randint(0, 256, (count, channels, side, side), generator=torch.Generator().manual_seed(0)).byte()
    found = bundled_features(session)(images)
    torch.testing.assert_close(found, _plainly(images, session), rtol=1e-4, atol=1e-4)

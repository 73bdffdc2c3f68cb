"""Features by an inference engine, where one is quicker than PyTorch for that many images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepscope.features.inference import accelerated
from deepscope.features.ladder import Ladder
from deepscope.models import Preprocessing
from deepscope.models.agreement import features_agree
from deepscope.models.batching import in_parts
from deepscope.models.classifier import Backbone
from deepscope.models.engines import Engine, Export, Run
from deepscope.models.measured import Kept
from deepscope.models.preprocessing import from_levels
from deepscope.models.serving import may_serve, not_used, quickest
from deepscope.session import Session


@dataclass(frozen=True)
class FeatureEngine:
    """An engine that gives the vectors of all layers of a backbone.

    Attributes:
        name: of the engine.
        run: the backbone, on any number of images up to a batch.
        widths: of the vectors.
    """

    name: str
    run: Ladder
    widths: tuple[int, ...]

    def __call__(self, pixels: Tensor) -> list[NDArray[np.float32]]:
        """One (N, D) array per layer, for (N, 3, H, W) pixels or uint8 levels, N at most a batch."""
        return np.split(self.run(pixels).numpy(), np.cumsum(self.widths)[:-1], axis=1)


def engine_of(
    backbone: Backbone, geometry: Preprocessing, session: Session, *, images: int, batch: int
) -> FeatureEngine | None:
    """What runs the backbone over that many images of one size; None for PyTorch."""
    if not may_serve(backbone.network, session, images):
        return None
    if geometry.crop is None and isinstance(geometry.resize, int):
        return not_used(session, "images that are not cropped have many sizes")
    pixels = torch.rand(8, 3, *geometry.size, generator=torch.Generator().manual_seed(0))
    padded = -(-images // batch) * batch
    with torch.no_grad():
        widths = tuple(vector.shape[1] for vector in backbone(pixels[:1]))
    reference = _reference(backbone, bfloat16=session.precision == "bfloat16")
    joined = _Joined(backbone).eval()
    also = Halved(backbone) if session.may_halve else None
    agree = features_agree(widths)
    chosen = quickest(joined, pixels, session, images=padded, agree=agree, reference=reference, also=also)
    if chosen is None:
        return None

    def run(some: Tensor) -> Tensor:
        return in_parts(lambda part: chosen.run(floats(part)), some)

    kept = Kept(joined, pixels, session, network=chosen.network)
    return FeatureEngine(chosen.name, Ladder(run, batch, kept, of=chosen.name), widths)


def floats(pixels: Tensor) -> Tensor:
    """Pixels in [0, 1], of uint8 levels or of such pixels."""
    return from_levels(pixels) if pixels.dtype == torch.uint8 else pixels


def _reference(backbone: Backbone, *, bfloat16: bool) -> Run:
    quick: list[Backbone] = []

    def run(pixels: Tensor) -> Tensor:
        quick[:] = quick or [accelerated(backbone, pixels[:1], bfloat16=bfloat16)]
        return _joined(quick[0], pixels)

    return run


def _joined(quick: Backbone, pixels: Tensor) -> Tensor:
    return torch.cat(quick(pixels.contiguous(memory_format=torch.channels_last)), 1)


class Halved(Engine):
    """PyTorch in bfloat16."""

    name = "torch-bfloat16"
    packages = ()
    extra = ""
    first_use = 6

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone

    def build(self, module: nn.Module, example: Tensor, export: Export) -> Run:
        """The backbone in bfloat16, channels last, with its batch norms folded."""
        quick = accelerated(self._backbone, example[:1], bfloat16=True)  # a copy: the network itself may go

        def without_graph(pixels: Tensor) -> Tensor:
            with torch.no_grad():
                return _joined(quick, pixels)

        return without_graph


class _Joined(nn.Module):
    """A backbone whose vectors are one (N, K) tensor."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) pixels in [0, 1] -> (N, K)."""
        return torch.cat(self.backbone(pixels), 1)

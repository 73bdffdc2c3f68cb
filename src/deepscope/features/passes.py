"""The network of one view of the images, and what is kept of it: missing features are computed batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from deepscope.features.engine import FeatureEngine, floats
from deepscope.features.inference import accelerated
from deepscope.features.ladder import Ladder
from deepscope.features.store import Store
from deepscope.kept import code_of
from deepscope.models.batching import in_parts
from deepscope.models.classifier import Backbone, Pooling
from deepscope.models.identity import network_sha256
from deepscope.models.measured import Kept
from deepscope.session import Session

BATCH = 8
"""Images of every batch on a CPU; smaller ones have its bits (`ladder`), so features do not depend on the batch.

Processor time per image of 8 and of 32, on one thread of an AMD EPYC with AVX-512: 19 and 18 ms with EfficientNet-Lite0
(5 and 7 in bfloat16), 11 and 16 with SqueezeNet, 29 and 28 with ViT-Tiny, 159 and 156 with VGG16.
"""
GPU_BATCH = 128
"""Images of every batch away from the CPU: 4 % faster than 32 with VGG16 on an H200, and 256 no faster."""

Layer: TypeAlias = "tuple[str, Pooling]"
"""A layer's name and how its maps become a vector."""


def batch_size(device: torch.device) -> int:
    """Images of every batch on a device."""
    return BATCH if device.type == "cpu" else GPU_BATCH


def vectors_of(backbone: Backbone, pixels: Tensor, device: torch.device) -> list[Tensor]:
    """(N, D) of each layer, on the device. Levels go there as they are: a quarter of the bytes."""
    with torch.inference_mode():
        moved = pixels.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        return backbone(floats(moved))


class Quick:
    """A backbone on PyTorch, optimised. An image's features have the same bits whichever images are beside it.

    On a CPU, small batches climb a `Ladder`. Elsewhere they are filled up: there, a batch costs hardly more than an
    image, and kernels change with every size.

    Args:
        backbone: is left as it is.
        example: (1, 3, H, W) pixels or uint8 levels.
        session: device, precision and cache.
    """

    def __init__(self, backbone: Backbone, example: Tensor, session: Session) -> None:
        self._backbone, self._session = backbone, session
        pixels = floats(example.to(session.device))
        self._quick = accelerated(backbone, pixels, bfloat16=session.precision == "bfloat16")
        self._widths: list[int] = []
        self._network = ""
        self._ladders: dict[tuple[int, ...], Ladder] = {}

    def __call__(self, pixels: Tensor) -> list[NDArray[np.float32]]:
        """One (N, D) array per layer, for (N, 3, H, W) pixels or uint8 levels, N at most a batch."""
        missing = batch_size(self._session.device) - len(pixels)
        if missing and self._session.device.type == "cpu":
            found = self._ladder(pixels)(pixels)
        else:
            found = self._run(functional.pad(pixels, (0, 0, 0, 0, 0, 0, 0, missing)))[: len(pixels)]
        return np.split(found.numpy(), np.cumsum(self._widths)[:-1], axis=1)

    def _run(self, pixels: Tensor) -> Tensor:
        return in_parts(self._part, pixels)

    def _part(self, pixels: Tensor) -> Tensor:
        vectors = vectors_of(self._quick, pixels, self._session.device)
        self._widths[:] = [vector.shape[1] for vector in vectors]
        return torch.cat(vectors, 1).cpu()

    def _ladder(self, pixels: Tensor) -> Ladder:
        """The ladder of this shape of images."""
        shape = tuple(pixels.shape[1:])
        if shape not in self._ladders:
            self._network = self._network or f"{network_sha256(self._backbone)} {code_of(__name__)}"
            kept = Kept(self._backbone, pixels, self._session, network=self._network)
            self._ladders[shape] = Ladder(self._run, BATCH, kept, of="torch")
        return self._ladders[shape]


@dataclass(eq=False)
class ViewPass:
    """One view of the images: the network for this view, and what is stored of it.

    Attributes:
        backbone: gives a vector for each of its layers.
        stores: what is kept of each layer.
        engine: runs the network, all its layers together; None leaves that to PyTorch.
        missing: images of which some layer was not kept.
        quick: networks on PyTorch, by the layers that they give.
    """

    backbone: Backbone
    stores: Mapping[Layer, Store]
    engine: FeatureEngine | None = None
    missing: set[bytes] = field(default_factory=set[bytes])
    quick: dict[tuple[Layer, ...], Quick] = field(default_factory=dict[tuple[Layer, ...], Quick])

    def lacks(self, key: bytes) -> bool:
        """Whether some layer of this image is not kept."""
        return any(key not in store for store in self.stores.values())

    def add(self, keys: Sequence[bytes], pixels: Tensor, session: Session) -> None:
        """Compute and keep what is missing of (N, 3, H, W) pixels."""
        rows = [row for row, key in enumerate(keys) if self.lacks(key)]
        wanted = tuple(layer for layer, store in self.stores.items() if any(keys[row] not in store for row in rows))
        if not wanted:
            return
        part = pixels if len(rows) == len(pixels) else pixels[rows]
        names = [keys[row] for row in rows]
        if self.engine:
            self._keep(names, self.stores, self.engine(part))
            return
        if wanted not in self.quick:
            whole = self.backbone
            alone = Backbone(whole.network, whole.mean.flatten(), whole.std.flatten(), wanted, whole.views)
            self.quick[wanted] = Quick(alone, part[:1], session)
        self._keep(names, wanted, self.quick[wanted](part))

    def _keep(self, names: Sequence[bytes], layers: Iterable[Layer], found: Sequence[NDArray[np.float32]]) -> None:
        for layer, vectors in zip(layers, found, strict=True):
            fresh = [row for row, name in enumerate(names) if name not in self.stores[layer]]
            if fresh:
                self.stores[layer].add([names[row] for row in fresh], vectors[fresh])

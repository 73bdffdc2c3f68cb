"""The feature engine: images in, one vector an image and layer out, each computed once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import __version__ as pillow_version
from PIL import features as pillow
from torch import Tensor
from torch.nn import functional

from deepscope import images
from deepscope.errors import DeepscopeError
from deepscope.kept import Cache
from deepscope.models import Preprocessing, VisionModel
from deepscope.models.classifier import Backbone, Pooling, View
from deepscope.models.prediction import in_parts, nothing_readable
from deepscope.models.preprocessing import from_levels
from deepscope.models.vision_model import weights_sha256
from deepscope.session import Session
from deepscope.transfer.cache import Store
from deepscope.transfer.inference import accelerated

BATCH = 32
"""Every batch has this size, the last one filled up with black: an image's features do not depend on its company."""
GPU_BATCH = 128
"""The same away from the CPU: 4 % faster than 32 with VGG16 on an H200, and 256 no faster."""

_ENGINE = 2
"""Raised whenever this code changes what features are."""


Layer: TypeAlias = "tuple[str, Pooling]"
"""A layer's name and how its maps become a vector."""


@dataclass(frozen=True, eq=False)
class Features:
    """Features of a list of images.

    Attributes:
        rows: (n,) places in the list of the images that could be read.
        vectors: for each layer asked for, (n, D) float32.
        skipped: the images that could not be read, and why.
        computed: images that went through the network now; the others were in the cache.
    """

    rows: NDArray[np.int64]
    vectors: tuple[NDArray[np.float32], ...]
    skipped: tuple[images.Skipped, ...]
    computed: int


def extract(
    model: VisionModel,
    layers: Sequence[Layer],
    sources: Sequence[images.Source],
    session: Session,
    *,
    views: Sequence[View] = (View(),),
    preprocessing: Preprocessing | None = None,
) -> Features:
    """Features of images, from the session's cache where they are in it.

    What is missing or damaged is computed in one pass for all layers that lack it, and kept batch by batch: a process
    that is killed loses at most one batch, and the next one resumes with bit-identical features. Under `torchrun` each
    process computes the images whose digest falls to it, and all return the same. Where the cache cannot be used,
    each process computes all images.

    Args:
        model: any network; class layers are not needed.
        layers: (layer as `VisionModel.layer` takes it, pooling).
        sources: images; one that cannot be read is skipped and listed.
        session: precision "bfloat16" is quicker on processors that have it.
        views: features are the mean over these; each is kept on its own.
        preprocessing: makes the pixels; None takes the model's own. Its mean and std are not used.

    Raises:
        DeepscopeError: no layer has that name, its weights are not here, or no image could be read.
    """
    cache = Cache(session, session.cache / "features")
    geometry = preprocessing or model.preprocessing
    identity = {**_identity(model, session), "pixels": replace(geometry, mean=(0.0,) * 3, std=(1.0,) * 3).to_json()}
    keys = [images.digest(source) for source in session.track(sources, "looking for known images")]
    passes: list[tuple[Backbone, dict[Layer, Store]]] = []
    for view in views:
        backbone = backbone_of(model, layers, (view,))
        about = {layer: {**identity, **view.key, "layer": layer[0], "pooling": layer[1]} for layer in backbone.layers}
        passes.append((backbone, {layer: Store(cache, said) for layer, said in about.items()}))
    unread: dict[bytes, str] = {}
    computed, alone = 0, False
    while True:
        for backbone, stores in passes:
            missing = {
                key: source
                for key, source in zip(keys, sources, strict=True)
                if key not in unread and any(key not in store for store in stores.values())
            }
            unread |= _fill(backbone, stores, missing, geometry, session, alone=alone)
            computed += len(missing.keys() - unread.keys())
        rows = [row for row, key in enumerate(keys) if key not in unread]
        skipped = tuple(images.Skipped(_label(sources[r], r), unread[k]) for r, k in enumerate(keys) if k in unread)
        if not rows:
            raise DeepscopeError(nothing_readable(skipped))
        vectors = _vectors(passes, [keys[row] for row in rows])
        if len(vectors) == len(passes[0][1]):
            return Features(np.array(rows), vectors, skipped, computed)
        alone = True  # the cache has lost some, or what another process computed could not be written
        for _, stores in passes:
            for store in stores.values():
                store.hold = True


def batch_size(device: torch.device) -> int:
    """Images of every batch on a device."""
    return BATCH if device.type == "cpu" else GPU_BATCH


def _vectors(
    passes: Sequence[tuple[Backbone, Mapping[Layer, Store]]], keys: Sequence[bytes]
) -> tuple[NDArray[np.float32], ...]:
    """(n, D) for each layer, the mean over views; without the layers of which the cache has lost some."""
    found = []
    for layer in passes[0][1]:
        views = [vectors for _, stores in passes if (vectors := stores[layer].read(keys)) is not None]
        if len(views) == len(passes):
            found.append(_mean(views))
    return tuple(found)


def backbone_of(model: VisionModel, layers: Sequence[Layer], views: Sequence[View] = (View(),)) -> Backbone:
    """The model's network as a module from pixels to feature vectors.

    Raises:
        DeepscopeError: no layer has that name.
    """
    for layer, _ in layers:
        model.layer(layer)
    named: list[Layer] = [(model.aliases.get(layer, layer), pooling) for layer, pooling in layers]
    backbone = Backbone(model.network, model.preprocessing.mean, model.preprocessing.std, named, views)
    return backbone.to(model.device).eval()


def _fill(
    backbone: Backbone,
    stores: Mapping[Layer, Store],
    missing: Mapping[bytes, images.Source],
    geometry: Preprocessing,
    session: Session,
    *,
    alone: bool,
) -> dict[bytes, str]:
    """Compute what is missing, each process its share unless `alone`. Returns what could not be read, and why."""
    from accelerate import PartialState
    from accelerate.utils import gather_object

    keys, together = list(missing), False
    if not alone:
        world = PartialState(cpu=session.device.type == "cpu")
        together = world.num_processes > 1
        world.wait_for_everyone()  # all have seen the same stores, and miss the same images, before any is added
        keys = [key for key in missing if _shard(key, world.num_processes) == world.process_index]
    wanted = [layer for layer, store in stores.items() if any(key not in store for key in missing)]
    backbone = Backbone(backbone.network, backbone.mean.flatten(), backbone.std.flatten(), wanted, backbone.views)
    quick: Backbone | None = None
    found: set[int] = set()
    skipped: list[images.Skipped] = []

    def read(key: images.Source) -> Tensor:
        assert isinstance(key, bytes)
        return _levels(missing[key], key, geometry)

    size, pinned = batch_size(session.device), session.device.type == "cuda"
    with session.progress("features", total=len(keys)) as advance:
        for batch in images.stream(keys, read, batch_size=size, pinned=pinned):
            skipped.extend(batch.skipped)
            found.update(batch.rows)
            if batch.rows:
                if quick is None:
                    first = from_levels(batch.pixels[:1].to(session.device))
                    quick = accelerated(backbone, first, bfloat16=session.precision == "bfloat16")
                names = [keys[row] for row in batch.rows]
                for layer, vectors in zip(wanted, _forward(quick, batch.pixels, session.device), strict=True):
                    fresh = [row for row, name in enumerate(names) if name not in stores[layer]]
                    if fresh:
                        stores[layer].add([names[row] for row in fresh], vectors[fresh])
            advance(len(batch.rows) + len(batch.skipped))
    refused = (key for row, key in enumerate(keys) if row not in found)
    reasons = {key: bad.reason for key, bad in zip(refused, skipped, strict=True)}
    if together:
        reasons = dict(gather_object(list(reasons.items())))  # waits until every process has added its share
    for store in stores.values():
        store.refresh()
    return reasons


def _levels(source: images.Source, key: bytes, geometry: Preprocessing) -> Tensor:
    """An image's levels, from the same bytes as its digest: what is kept under it is never of another image.

    Raises:
        UnreadableImage: it cannot be read, or is another one by now.
    """
    if not isinstance(source, (str, os.PathLike)):
        return geometry.levels(source)
    content = images.content(source)
    levels = geometry.levels(content)
    if hashlib.sha256(content).digest() != key:
        raise images.UnreadableImage(str(source), "it changed while it was read: run again")
    return levels


def _forward(backbone: Backbone, levels: Tensor, device: torch.device) -> list[NDArray[np.float32]]:
    """One (N, D) array per layer, for (N, 3, H, W) uint8 levels: a quarter of the bytes of pixels on the way there."""
    widths: list[int] = []

    def run(part: Tensor) -> Tensor:
        with torch.inference_mode():
            pixels = from_levels(part.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last))
            vectors = backbone(pixels)
        widths[:] = [vector.shape[1] for vector in vectors]
        return torch.cat(vectors, 1).cpu()

    missing = batch_size(device) - len(levels)
    filled = functional.pad(levels, (0, 0, 0, 0, 0, 0, 0, missing)) if missing else levels
    together = in_parts(run, filled)[: len(levels)].numpy()
    return np.split(together, np.cumsum(widths)[:-1], axis=1)


def _identity(model: VisionModel, session: Session) -> dict[str, Any]:
    """All that features depend on besides image, geometry, view and layer."""
    libraries = {name: pillow.version(name) for name in ("jpg", "zlib", "webp", "libtiff", "jpg_2000", "avif")}
    away = {} if session.device.type == "cpu" else {"batch": batch_size(session.device)}
    return {
        **away,
        "engine": _ENGINE,
        "network": hashlib.sha256(f"{model.network} {weights_sha256(model.network)}".encode()).hexdigest(),
        "mean": model.preprocessing.mean,
        "std": model.preprocessing.std,
        "precision": session.precision,
        "device": session.device.type,
        "decoder": {"pillow": pillow_version, **libraries},
    }


def _mean(views: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return views[0] if len(views) == 1 else torch.from_numpy(np.stack(views)).mean(0).numpy()


def _shard(key: bytes, processes: int) -> int:
    return int.from_bytes(key[:8], "little") % processes


def _label(source: images.Source, row: int) -> str:
    return str(source) if isinstance(source, (str, os.PathLike)) else f"image {row}"

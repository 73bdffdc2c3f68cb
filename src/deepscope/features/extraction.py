"""The feature engine: images in, one vector per image and layer out, each computed once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import __version__ as pillow_version
from PIL import features as pillow
from torch import Tensor
from torch.nn import functional

from deepscope import images
from deepscope.devices import wait_for_others
from deepscope.errors import DataError
from deepscope.features.engine import FeatureEngine, engine_of, floats
from deepscope.features.inference import accelerated
from deepscope.features.reading import Reader
from deepscope.features.store import Store
from deepscope.inputs import nothing_readable
from deepscope.inputs.examples import Source
from deepscope.kept import Cache, code_of
from deepscope.models import Preprocessing, VisionModel
from deepscope.models.batching import in_parts
from deepscope.models.classifier import Backbone, BackboneOrigin, Pooling, View
from deepscope.models.identity import network_sha256
from deepscope.models.serving import not_used
from deepscope.session import Session

BATCH = 32
"""Every batch has this size, the last one padded with black images, so that features do not depend on the batch."""
GPU_BATCH = 128
"""The same away from the CPU: 4 % faster than 32 with VGG16 on an H200, and 256 no faster."""

Layer: TypeAlias = "tuple[str, Pooling]"
"""A layer's name and how its maps become a vector."""


@dataclass(frozen=True, eq=False)
class Features:
    """Features of a list of images.

    Attributes:
        rows: (n,) places in the list of the images that could be read.
        vectors: for each layer asked for, (n, D) float32.
        skipped: the images that could not be read, and why.
        digests: SHA-256 of every image in the list; of its name where it cannot be opened.
        computed: images that went through the network now; the others were in the cache.
    """

    rows: NDArray[np.int64]
    vectors: tuple[NDArray[np.float32], ...]
    skipped: tuple[images.Skipped, ...]
    digests: tuple[bytes, ...]
    computed: int


def extract(
    model: VisionModel,
    layers: Sequence[Layer],
    sources: Sequence[Source],
    session: Session,
    *,
    views: Sequence[View] = (View(),),
    preprocessing: Preprocessing | None = None,
    digests: Sequence[bytes] | None = None,
) -> Features:
    """Features of images, from the session's cache where they are in it.

    Each image is opened once: its bytes are hashed, and decoded only where some of its features are missing. What is
    missing or damaged is computed in one pass for all layers and views that lack it, and kept batch by batch: a process
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
        digests: of the images, as an earlier call returned them: one whose features are kept is not opened again.

    Raises:
        ModelError: no layer has that name, or its weights are missing.
        DataError: no image could be read.
    """
    session = replace(session, device=model.device)  # a network that the caller holds may be elsewhere
    cache = Cache(session, session.cache / "features")
    geometry = preprocessing or model.preprocessing
    identity = {**_identity(model, session), "pixels": replace(geometry, mean=(0.0,) * 3, std=(1.0,) * 3).to_json()}
    levels = not any(isinstance(source, Tensor) for source in sources)
    passes: list[_Pass] = []
    if not levels:
        not_used(session, "some images are given as tensors")
    for view in views:
        backbone = backbone_of(model, layers, (view,))
        engine = engine_of(backbone, geometry, session, images=len(sources), batch=BATCH) if levels else None
        session.engines.update({engine.chosen.name} if engine else ())
        run_by = {"engine": engine.chosen.name} if engine else {}
        about = {
            layer: {**identity, **run_by, **view.key, "layer": layer[0], "pooling": layer[1]}
            for layer in backbone.layers
        }
        passes.append(_Pass(backbone, {layer: Store(cache, said) for layer, said in about.items()}, engine))
    reader, alone = Reader(geometry, passes, list(digests or [b""] * len(sources)), levels), False
    rows = [row for row, key in enumerate(reader.keys) if not key or any(each.lacks(key) for each in passes)]
    while True:
        _fill(passes, reader, sources, rows, session, of=model.name, alone=alone)
        unread = reader.unread
        found = [row for row, key in enumerate(reader.keys) if key not in unread]
        skipped = tuple(
            images.Skipped(_label(sources[row], row), unread[key])
            for row, key in enumerate(reader.keys)
            if key in unread
        )
        if not found:
            raise DataError(nothing_readable(skipped))
        vectors = _vectors(passes, [reader.keys[row] for row in found])
        if len(vectors) == len(passes[0].stores):
            computed = sum(len(each.missing - unread.keys()) for each in passes)
            return Features(np.array(found), vectors, skipped, tuple(reader.keys), computed)
        alone = True  # the cache has lost some, or what another process computed could not be written
        for each in passes:
            for store in each.stores.values():
                store.hold = True
        rows = [row for row in found if any(each.lacks(reader.keys[row]) for each in passes)]


def batch_size(device: torch.device) -> int:
    """Images of every batch on a device."""
    return BATCH if device.type == "cpu" else GPU_BATCH


@dataclass(eq=False)
class _Pass:
    """One view of the images: the network for this view, and what is stored of it.

    Attributes:
        backbone: gives a vector for each of its layers.
        stores: what is kept of each layer.
        engine: runs the network, all its layers together; None leaves that to PyTorch.
        missing: images of which some layer was not kept.
        quick: accelerated networks, by the layers that they give.
    """

    backbone: Backbone
    stores: Mapping[Layer, Store]
    engine: FeatureEngine | None = None
    missing: set[bytes] = field(default_factory=set[bytes])
    quick: dict[tuple[Layer, ...], Backbone] = field(default_factory=dict[tuple[Layer, ...], Backbone])

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
            self.quick[wanted] = accelerated(
                alone, floats(part[:1].to(session.device)), bfloat16=session.precision == "bfloat16"
            )
        self._keep(names, wanted, _forward(self.quick[wanted], part, session.device))

    def _keep(self, names: Sequence[bytes], layers: Iterable[Layer], found: Sequence[NDArray[np.float32]]) -> None:
        for layer, vectors in zip(layers, found, strict=True):
            fresh = [row for row, name in enumerate(names) if name not in self.stores[layer]]
            if fresh:
                self.stores[layer].add([names[row] for row in fresh], vectors[fresh])


def _fill(
    passes: Sequence[_Pass],
    reader: Reader,
    sources: Sequence[Source],
    rows: Sequence[int],
    session: Session,
    *,
    of: str,
    alone: bool,
) -> None:
    """Compute and keep what is missing of these rows of the images, each process its share unless `alone`.

    The bar says of which network.
    """
    from accelerate import PartialState
    from accelerate.utils import gather_object

    reader.seen.clear()
    reader.share, together = (0, 1), False
    if not alone:
        world = PartialState(cpu=session.device.type == "cpu")
        together = world.num_processes > 1
        wait_for_others()  # all have seen the same stores, and miss the same images, before any is added
        reader.share = (world.process_index, world.num_processes)
    numbered = session.track(((row, sources[row]) for row in rows), f"features of {of}", total=len(rows))
    size, pinned = batch_size(session.device), session.device.type == "cuda"
    for batch in images.stream(
        numbered, reader, batch_size=size, name=lambda one: _label(one[1], one[0]), pinned=pinned
    ):
        if batch.rows:
            keys = [reader.keys[rows[row]] for row in batch.rows]
            for each in passes:
                each.add(keys, batch.pixels, session)
    if together:
        reader.unread = dict(
            gather_object(list(reader.unread.items()))
        )  # waits until every process has added its share
    reader.seen.clear()
    for each in passes:
        for store in each.stores.values():
            store.refresh()


def _vectors(passes: Sequence[_Pass], keys: Sequence[bytes]) -> tuple[NDArray[np.float32], ...]:
    """(n, D) for each layer, the mean over views; without the layers of which the cache has lost some."""
    found = []
    for layer in passes[0].stores:
        views = [vectors for each in passes if (vectors := each.stores[layer].read(keys)) is not None]
        if len(views) == len(passes):
            found.append(_mean(views))
    return tuple(found)


def backbone_of(model: VisionModel, layers: Sequence[Layer], views: Sequence[View] = (View(),)) -> Backbone:
    """The model's network as a module from pixels to feature vectors.

    Raises:
        UnknownNameError: no layer has that name.
    """
    for layer, _ in layers:
        model.layer(layer)
    named: list[Layer] = [(model.aliases.get(layer, layer), pooling) for layer, pooling in layers]
    origin = BackboneOrigin(model.name, model.architecture, len(model.categories) or None)
    backbone = Backbone(model.network, model.preprocessing.mean, model.preprocessing.std, named, views, origin)
    return backbone.to(model.device).eval()


def _forward(backbone: Backbone, pixels: Tensor, device: torch.device) -> list[NDArray[np.float32]]:
    """One (N, D) array per layer, for (N, 3, H, W) pixels or uint8 levels: a quarter of the bytes on the way there."""
    widths: list[int] = []

    def run(part: Tensor) -> Tensor:
        with torch.inference_mode():
            moved = part.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
            vectors = backbone(floats(moved))
        widths[:] = [vector.shape[1] for vector in vectors]
        return torch.cat(vectors, 1).cpu()

    missing = batch_size(device) - len(pixels)
    filled = functional.pad(pixels, (0, 0, 0, 0, 0, 0, 0, missing)) if missing else pixels
    together = in_parts(run, filled)[: len(pixels)].numpy()
    return np.split(together, np.cumsum(widths)[:-1], axis=1)


def _identity(model: VisionModel, session: Session) -> dict[str, Any]:
    """All that features depend on besides image, geometry, view and layer."""
    libraries = {name: pillow.version(name) for name in ("jpg", "zlib", "webp", "libtiff", "jpg_2000", "avif")}
    away = {} if session.device.type == "cpu" else {"batch": batch_size(session.device)}
    return {
        **away,
        "code": code_of(__name__),
        "network": network_sha256(model.network),
        "weights": model.origin.sha256,  # of a program's file, which holds code, too
        "mean": model.preprocessing.mean,
        "std": model.preprocessing.std,
        "precision": session.precision,
        "device": session.device.type,
        "decoder": {"pillow": pillow_version, **libraries},
    }


def _mean(views: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return views[0] if len(views) == 1 else torch.from_numpy(np.stack(views)).mean(0).numpy()


def _label(source: Source, row: int) -> str:
    return str(source) if isinstance(source, (str, os.PathLike)) else f"image {row}"

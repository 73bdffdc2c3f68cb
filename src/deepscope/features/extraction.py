"""The feature engine: images in, one vector per image and layer out, each computed once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import __version__ as pillow_version
from PIL import features as pillow
from torch import Tensor

from deepscope import images
from deepscope.devices import processes, wait_for_others
from deepscope.errors import DataError
from deepscope.features.engine import engine_of
from deepscope.features.passes import BATCH, Layer, ViewPass, batch_size
from deepscope.features.reading import Reader
from deepscope.features.store import Store
from deepscope.inputs import nothing_readable
from deepscope.inputs.examples import Source
from deepscope.kept import Cache, code_of
from deepscope.models import Preprocessing, VisionModel
from deepscope.models.classifier import Backbone, BackboneOrigin, View
from deepscope.models.identity import network_sha256
from deepscope.models.serving import not_used
from deepscope.session import Session


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
    if session.engine == "auto" and processes() > 1:
        session = replace(session, engine="torch")  # each could choose another one
    cache = Cache(session, session.cache / "features")
    geometry = preprocessing or model.preprocessing
    identity = {**_identity(model, session), "pixels": replace(geometry, mean=(0.0,) * 3, std=(1.0,) * 3).to_json()}
    levels = not any(isinstance(source, Tensor) for source in sources)
    passes: list[ViewPass] = []
    if not levels:
        not_used(session, "some images are given as tensors")
    for view in views:
        backbone = backbone_of(model, layers, (view,))
        engine = engine_of(backbone, geometry, session, images=len(sources), batch=BATCH) if levels else None
        session.engines.update({engine.name} if engine else ())
        run_by = {"engine": engine.name} if engine else {}
        about = {
            layer: {**identity, **run_by, **view.key, "layer": layer[0], "pooling": layer[1]}
            for layer in backbone.layers
        }
        passes.append(ViewPass(backbone, {layer: Store(cache, said) for layer, said in about.items()}, engine))
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


def _fill(
    passes: Sequence[ViewPass],
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


def _vectors(passes: Sequence[ViewPass], keys: Sequence[bytes]) -> tuple[NDArray[np.float32], ...]:
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


def _identity(model: VisionModel, session: Session) -> dict[str, Any]:
    """All that features depend on besides image, geometry, view and layer."""
    libraries = {name: pillow.version(name) for name in ("jpg", "zlib", "webp", "libtiff", "jpg_2000", "avif")}
    return {
        "batch": batch_size(session.device),
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

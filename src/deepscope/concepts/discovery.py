"""Find the concepts by which a network recognises a class, without naming any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.concepts.factors import Factors, factorise, total_indices
from deepscope.concepts.patches import Patch, position_vectors
from deepscope.concepts.removal import Removal
from deepscope.concepts.subject import chosen
from deepscope.errors import DataError, SettingError, UnsupportedError
from deepscope.images import Skipped
from deepscope.inputs import Images, Photos, read_photos
from deepscope.models import VisionModel
from deepscope.models.capabilities import LAYERS, SCORES, require
from deepscope.models.feature_map import feature_layer, require_layers
from deepscope.render import Presented
from deepscope.session import Session
from deepscope.statistics import Estimate, difference, mean

_DESIGNS = 32
"""Points of each of the two designs per image that total indices are estimated from."""
_ORDERS = 8
"""Random orders per image."""
_PATCHES = 8
"""Images per concept."""


@dataclass(frozen=True, eq=False)
class Concept:
    """A part of the activations of a class.

    Attributes:
        importance: total Sobol index: the share of the class score's variance that varying the concept explains, mean
            over images.
        effect: how far the class score falls where the concept alone is removed, mean over images.
        patches: of the images that show it most, one per image, around the position that does.
    """

    importance: float
    effect: Estimate
    patches: tuple[Patch, ...]


@dataclass(frozen=True, eq=False)
class Concepts(Presented):
    """k concepts of the N images that a model classifies as one class.

    Attributes:
        model: the classifier.
        target: the class.
        layer: whose activations were factorised.
        concepts: those that raise the class score first, the most important ones at the front; then those that
            lower it.
        bank: (k, C) directions in the layer's channels.
        maps: (N, k, h, w) how much of each concept each position of each image shows.
        explained: the share of the activations, of their sum of squares, that the concepts explain.
        shifted: whether the layer has negative values, so that its channels were shifted by their lowest ones.
        fitted: rows of the images that concepts and importance come from.
        checked: rows of the images that deletion was measured on.
        deletion: (k + 1,) mean class score after the first 0 to k concepts were removed, in order.
        random: (k + 1,) the same in random order.
        gain: how far the ordered curve lies below the random one: mean over concepts removed and images.
        pictures: pixels of the images with patches, by row.
        paths, digests: of the N images.
        skipped: what could not be read.
    """

    model: VisionModel
    target: str
    layer: str
    concepts: tuple[Concept, ...]
    bank: NDArray[np.float32]
    maps: NDArray[np.float32]
    explained: float
    shifted: bool
    fitted: tuple[int, ...]
    checked: tuple[int, ...]
    deletion: NDArray[np.float64]
    random: NDArray[np.float64]
    gain: Estimate
    pictures: Mapping[int, Tensor]
    paths: tuple[Path, ...]
    digests: tuple[bytes, ...]
    skipped: tuple[Skipped, ...]

    def __len__(self) -> int:
        return len(self.concepts)

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per concept, in order."""
        return {
            "concept": list(range(1, len(self) + 1)),
            "importance": [one.importance for one in self.concepts],
            "effect": [one.effect.value for one in self.concepts],
            "effect/low": [one.effect.low for one in self.concepts],
            "effect/high": [one.effect.high for one in self.concepts],
        }


def find(  # noqa: PLR0913 - its settings are keywords
    model: VisionModel,
    images: Images,
    target: str | int | None = None,
    *,
    layer: str | None = None,
    concepts: int = 10,
    patch: float = 0.3,
    limit: int | None = 200,
    evaluated: int = 40,
    seed: int = 0,
    session: Session | None = None,
) -> Concepts:
    """Find the concepts by which a network recognises a class (CRAFT, Fel et al. 2023).

    The activations at all positions of one half of the images are factorised into non-negative parts, which are the
    concepts. The importance of each for the class score is its total Sobol index. The other half checks the order:
    removing concepts in order of importance must lower the class score faster than removing them in random order.
    CRAFT factorises means over enlarged crops; positions need no further passes, and find small concepts more often.

    Args:
        model: a classifier with visible layers.
        images: see `Images`; those that the model classifies as the class are used.
        target: the class, by name or number; the one predicted most often by default.
        layer: whose activations are factorised; by default the last feature map.
        concepts: how many parts.
        patch: side of the patches that are shown, as a share of the image's.
        limit: most images to read, drawn at random.
        evaluated: most images that importance is computed on, and most that deletion is measured on.
        seed: of the draw, the factorisation and the designs.
        session: device and progress; its own seed counts where it is given.

    Raises:
        SettingError: a setting is out of range, or the layer gives no feature map.
        UnsupportedError: the model shows no layers.
        UnknownNameError: no class or layer has that name.
        DataError: no image could be read, or fewer than 4 are classified as the class.
    """
    _check(concepts=concepts, evaluated=evaluated)
    if not 0 < patch <= 1:
        raise SettingError("patch", "must be above 0 and at most 1", got=patch)
    require(model, "finding concepts", LAYERS | SCORES)
    require_layers(model)
    session = Session.of(session, device=model.device, seed=seed)
    photos = read_photos(model, images, session, limit=limit, text="classifying")
    label, rows = chosen(photos, target)
    name = model.categories[label]
    if len(rows) < 4:
        raise DataError(f"concepts need at least 4 images that {model.name} classifies as {name} (got {len(rows)})")
    skipped, photos = photos.skipped, photos[rows]
    layer = layer or feature_layer(model, photos.pixels[:1].to(model.device))
    order = torch.randperm(len(photos), generator=session.rng("halves")).tolist()
    first, second = sorted(order[: len(order) // 2]), sorted(order[len(order) // 2 :])
    vectors = position_vectors(model, layer, photos.pixels, first, session)
    factors = _factors(vectors, concepts, layer, model, session)
    removal = Removal(model, layer, label, factors)
    maps = np.concatenate([removal.maps(pixels[None]) for pixels in session.track(photos.pixels, "concept maps")])
    importance, effects = _importance(removal, photos, first[:evaluated], maps, session)
    ranks = _order(importance, effects.mean(0))
    curves = _deletion(removal, photos, second[:evaluated], maps, ranks, session)
    size = photos.pixels.shape[-2:]
    found = tuple(
        Concept(
            float(importance[column]),
            mean(effects[:, column]),
            tuple(Patch.at(row, maps[row, column], size, patch) for row in _top(maps[:, column].max((1, 2)))),
        )
        for column in ranks
    )
    shown = {one.image: photos.pixels[one.image].clone() for concept in found for one in concept.patches}
    ordered, random = curves
    return Concepts(
        model=model,
        target=name,
        layer=layer,
        concepts=found,
        bank=factors.bank[ranks],
        maps=maps[:, ranks],
        explained=factors.explained,
        shifted=bool(factors.floor.any()),
        fitted=tuple(first),
        checked=tuple(second[:evaluated]),
        deletion=ordered.mean(0),
        random=random.mean(0),
        gain=difference(random[:, 1:-1].mean(1), ordered[:, 1:-1].mean(1), seed=session.seed),
        pictures=shown,
        paths=photos.paths,
        digests=photos.digests,
        skipped=skipped,
    )


def _check(**counts: int) -> None:
    for name, value in counts.items():
        if not isinstance(value, int) or value < 2:
            raise SettingError(name, "must be a whole number, and at least 2", got=value)


def _factors(vectors: NDArray[np.float32], concepts: int, layer: str, model: VisionModel, session: Session) -> Factors:
    if concepts > min(vectors.shape):
        most = f"{len(vectors)} positions and {vectors.shape[1]} channels"
        raise SettingError("concepts", f"must be at most {min(vectors.shape)}, as there are {most}", got=concepts)
    if not np.ptp(vectors, axis=0).any():
        raise UnsupportedError(
            f"layer {layer!r} of {model.name} is the same at all positions: choose another", what=layer
        )
    return factorise(vectors, concepts, seed=session.seed)


def _importance(
    removal: Removal, photos: Photos, rows: Sequence[int], maps: NDArray[np.float32], session: Session
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(k,) total indices, mean over images; (images, k) how far the score falls where one concept is removed."""
    count = maps.shape[1]
    indices, effects = [], []
    without_one = np.concatenate([np.ones((1, count)), 1 - np.eye(count)]).astype(np.float32)
    for row in session.track(rows, "importance"):
        score = removal.of(photos.pixels[row][None], maps[row])
        indices.append(total_indices(score, count, designs=_DESIGNS, seed=session.seed))
        values = score(without_one)
        effects.append(values[0] - values[1:])
    return np.mean(indices, axis=0), np.array(effects)


def _order(importance: NDArray[np.float64], effect: NDArray[np.float64]) -> list[int]:
    """Those that raise the score, the most important first; then those that lower it, the most important last."""
    return np.argsort(-importance * np.where(effect < 0, -1, 1), kind="stable").tolist()


def _deletion(
    removal: Removal,
    photos: Photos,
    rows: Sequence[int],
    maps: NDArray[np.float32],
    ranks: Sequence[int],
    session: Session,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(images, k + 1) scores after the first 0 to k concepts were removed: in order, and mean over random orders."""
    count, rng = len(ranks), session.rng("orders")
    ordered, random = [], []
    for row in session.track(rows, "deletion"):
        orders = [list(ranks), *(torch.randperm(count, generator=rng).tolist() for _ in range(_ORDERS))]
        kept = np.ones((len(orders), count + 1, count), np.float32)
        for number, order in enumerate(orders):
            for step, column in enumerate(order):
                kept[number, step + 1 :, column] = 0
        values = removal.of(photos.pixels[row][None], maps[row])(kept.reshape(-1, count)).reshape(len(orders), -1)
        ordered.append(values[0])
        random.append(values[1:].mean(0))
    return np.array(ordered), np.array(random)


def _top(values: NDArray[np.float32]) -> list[int]:
    return np.argsort(-values, kind="stable")[:_PATCHES].tolist()

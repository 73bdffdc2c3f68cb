"""Test whether a class score depends on concepts that are given as images (TCAV)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.concepts.directions import Sensitivity, sensitivities
from deepscope.concepts.subject import chosen
from deepscope.errors import DataError, SettingError
from deepscope.features import extract
from deepscope.images import Skipped
from deepscope.inputs import Images, Photos, gather, nothing_readable, read_photos
from deepscope.inputs.examples import Source, thumbnail_of
from deepscope.models import VisionModel
from deepscope.models.batching import batches
from deepscope.models.capabilities import GRADIENTS_OF_LAYERS, SCORES, require
from deepscope.models.differentiable import differentiable
from deepscope.models.feature_map import feature_layer, gradient_at, require_layers
from deepscope.models.layouts import layout
from deepscope.render import Presented
from deepscope.session import Session
from deepscope.statistics import holm

LEVEL = 0.05
_PER_COMPARISON = 40
"""Random sets per comparison, where their number is not given: twice what the smallest adjusted p-value needs."""
_FEWEST = 5
"""Images of a concept."""
_PICTURES = 4
_BATCH = 16

ConceptImages: TypeAlias = "Mapping[str, Images] | Sequence[str | Path] | str | Path"
"""Images of each concept by its name, or folders that are named after concepts."""


@dataclass(frozen=True)
class ConceptTest:
    """How a class score depends on a concept, at a layer.

    Attributes:
        concept, layer, target: their names.
        found: score, effect and p-value.
        adjusted: the p-value, adjusted for all tests (Holm 1979).
    """

    concept: str
    layer: str
    target: str
    found: Sensitivity
    adjusted: float

    @property
    def significant(self) -> bool:
        """Whether the class score depends on the concept, at 5 % over all tests."""
        return self.adjusted <= LEVEL


@dataclass(frozen=True, eq=False)
class ConceptTests(Presented):
    """Tests of all concepts, layers and classes, those with the smallest p-value first.

    Attributes:
        model: the classifier.
        tests: one per concept, layer and class.
        concepts: how many images each has.
        images: how many images the model classifies as each of the classes.
        pool: how many images random sets are drawn from.
        random_sets: per concept.
        counterparts: sets that every concept is told from.
        pictures: of images of each concept.
        paths, digests: of the classified images.
        skipped: what could not be read.
    """

    model: VisionModel
    tests: tuple[ConceptTest, ...]
    concepts: Mapping[str, int]
    images: Mapping[str, int]
    pool: int
    random_sets: int
    counterparts: int
    pictures: Mapping[str, tuple[Tensor, ...]]
    paths: tuple[Path, ...]
    digests: tuple[bytes, ...]
    skipped: tuple[Skipped, ...]

    def __len__(self) -> int:
        return len(self.tests)

    @property
    def needed(self) -> int:
        """The fewest random sets with which a test can be significant after the adjustment for all."""
        return needed_sets(len(self.tests))

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per test."""
        return {
            "concept": [one.concept for one in self.tests],
            "layer": [one.layer for one in self.tests],
            "class": [one.target for one in self.tests],
            "score": [one.found.score for one in self.tests],
            "random score": [one.found.random_score for one in self.tests],
            "effect": [one.found.effect for one in self.tests],
            "accuracy": [one.found.accuracy for one in self.tests],
            "p": [one.found.p_value for one in self.tests],
            "adjusted p": [one.adjusted for one in self.tests],
        }


def needed_sets(tests: int) -> int:
    """The fewest random sets with which the smallest of several p-values can be 0.05 after Holm's adjustment."""
    return round(tests / LEVEL) - 1


@differentiable
def tcav(  # noqa: PLR0913 - its settings are keywords
    model: VisionModel,
    images: Images,
    concepts: ConceptImages,
    pool: Images,
    *,
    targets: str | int | Sequence[str | int] | None = None,
    layers: str | Sequence[str] | None = None,
    random_sets: int | None = None,
    counterparts: int = 3,
    limit: int | None = 200,
    seed: int = 0,
    session: Session | None = None,
) -> ConceptTests:
    """Test whether class scores depend on concepts: TCAV (Kim et al. 2018) with a test against random concepts.

    A concept is a set of images. Its direction in the channels of a layer is that of a linear classifier between the
    concept and images of a pool; the TCAV score is the share of the class's images whose class score rises in this
    direction. Random sets of images take the concept's role, and the concept is significant where the class score
    changes towards it more than towards these. p-values are adjusted for all concepts, layers and classes together.

    Args:
        model: a classifier with visible layers and gradients.
        images: see `Images`; those that the model classifies as a target class are used.
        concepts: images of each concept by its name, or folders that are named after concepts.
        pool: images that have nothing to do with the concepts, at least twice as many as of any concept.
        targets: classes, by name or number; by default the one that is predicted most often.
        layers: names of layers; by default the last feature map.
        random_sets: per concept; by default 40 per test. With fewer than 20 per test, less 1, no p-value can be
            significant after the adjustment.
        counterparts: sets from the pool that each set is told from.
        limit: most images to read of each of `images`, `pool` and the concepts, drawn at random.
        seed: of all draws.
        session: device, cache and progress; its own seed counts where it is given.

    Raises:
        SettingError: a setting is out of range, or a layer has no influence on the class score.
        UnsupportedError: the model shows no layers or has no gradients.
        UnknownNameError: no class or layer has that name.
        DataError: a concept has too few images, the pool is too small, or no image is classified as a class.
    """
    for name, value in (("random_sets", random_sets), ("counterparts", counterparts)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise SettingError(name, "must be a whole number, and at least 1", got=value)
    require(model, "tcav", GRADIENTS_OF_LAYERS | SCORES)
    require_layers(model)
    session = Session.of(session, device=model.device, seed=seed)
    named = {name: _sources(model, given, limit, session) for name, given in _named(concepts).items()}
    photos = read_photos(model, images, session, limit=limit, text="classifying")
    given = [targets] if targets is None or isinstance(targets, (str, int)) else list(targets)
    classes = dict(chosen(photos, target) for target in given)
    names = [layers] if isinstance(layers, str) else list(layers or [])
    names = list(dict.fromkeys(names)) or [feature_layer(model, photos.pixels[:1].to(model.device))]
    gradients = {layer: [_gradients(model, layer, photos, *one, session) for one in classes.items()] for layer in names}
    tests = len(named) * len(names) * len(classes)
    sets = random_sets or _PER_COMPARISON * tests - 1
    vectors = _Vectors(model, names, session)
    others = vectors(_sources(model, pool, limit, session))
    keys: list[tuple[str, str, int]] = []
    found: list[Sensitivity] = []
    counts: dict[str, int] = {}
    rng = np.random.default_rng(session.rng("tcav").initial_seed())
    with session.progress("testing concepts", total=len(named) * len(names)) as advance:
        for concept, sources in named.items():
            own = vectors(sources)
            counts[concept] = len(own[0])
            free, against = _divided(len(others[0]), counts[concept], concept, counterparts, rng)
            for place, layer in enumerate(names):
                ours, theirs = own[place].astype(np.float64), others[place].astype(np.float64)
                found += sensitivities(
                    ours,
                    theirs[free],
                    [theirs[rows] for rows in against],
                    gradients[layer],
                    random_sets=sets,
                    rng=rng,
                )
                keys += [(concept, layer, label) for label in classes]
                advance(1)
    adjusted = holm([one.p_value for one in found])
    made = [
        ConceptTest(concept, layer, model.categories[label], one, p)
        for (concept, layer, label), one, p in zip(keys, found, adjusted)
    ]
    return ConceptTests(
        model=model,
        tests=tuple(sorted(made, key=lambda one: (one.found.p_value, -abs(one.found.effect)))),
        concepts=counts,
        images={model.categories[label]: len(rows) for label, rows in classes.items()},
        pool=len(others[0]),
        random_sets=sets,
        counterparts=counterparts,
        pictures={name: _pictures(sources) for name, sources in named.items()},
        paths=photos.paths,
        digests=photos.digests,
        skipped=(*photos.skipped, *vectors.skipped),
    )


def _named(concepts: ConceptImages) -> Mapping[str, Images]:
    if isinstance(concepts, (str, Path)):
        concepts = [concepts]
    if not isinstance(concepts, Mapping):
        given = cast("object", concepts)
        if not isinstance(given, Sequence) or not all(isinstance(one, (str, Path)) for one in given):
            raise SettingError("concepts", "must be folders, or images by the concept's name", got=concepts)
        paths = [Path(one) for one in concepts]
        concepts = {path.resolve().name: path for path in paths}
        if len(concepts) < len(paths):
            raise SettingError("concepts", "must be folders of different names, which name the concepts")
    if not concepts:
        raise SettingError("concepts", "must name at least one concept")
    return concepts


def _sources(model: VisionModel, given: Images, limit: int | None, session: Session) -> list[Source]:
    """At most `limit` images. Raises DataError where there is none."""
    found = gather(given, channels=model.planes).some(limit, session)
    sources = [item.source for item in found.items]
    if not sources:
        raise DataError(nothing_readable(found.skipped))
    return sources


def _pictures(sources: Sequence[Source]) -> tuple[Tensor, ...]:
    found = (thumbnail_of(source) for source in sources[:_PICTURES])
    return tuple(pixels for pixels in found if pixels is not None)


def _divided(
    pool: int, count: int, concept: str, counterparts: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Rows of the pool for random sets, and disjoint from them those of each counterpart.

    Raises:
        DataError: the concept has too few images, or the pool does.
    """
    if count < _FEWEST:
        raise DataError(f"concept {concept} has {count} images, and needs at least {_FEWEST}", data=concept)
    if pool < 2 * count:
        raise DataError(
            f"the pool holds {pool} images, and concept {concept} {count}: give a pool of at least {2 * count}"
        )
    order = rng.permutation(pool)
    half = order[pool // 2 :]
    return order[: pool // 2], [rng.permutation(half)[:count] for _ in range(counterparts)]


class _Vectors:
    """Vectors of images at several layers, from the cache of features where they are in it."""

    def __init__(self, model: VisionModel, layers: Sequence[str], session: Session) -> None:
        self._model, self._layers, self._session = model, layers, session
        self.skipped: tuple[Skipped, ...] = ()

    def __call__(self, sources: Sequence[Source]) -> Sequence[NDArray[np.float32]]:
        """For each layer (n, C), the mean over positions. Raises DataError where no image could be read."""
        found = extract(self._model, [(layer, "mean") for layer in self._layers], sources, self._session)
        self.skipped += found.skipped
        return found.vectors


def _gradients(
    model: VisionModel, layer: str, photos: Photos, label: int, rows: Sequence[int], session: Session
) -> NDArray[np.float64]:
    """(images, C) gradients of the class score with respect to a change of a channel at all positions."""

    def run(part: slice) -> Tensor:
        pixels = photos.pixels[list(rows[part])].to(model.device)
        labels = torch.full((len(pixels),), label, device=model.device)
        _, found = gradient_at(model, layer, pixels, lambda logits: model.objective(logits, labels))
        known = layout(model, layer, pixels)
        if known is None:
            raise SettingError("layers", f"{layer!r} of {model.name} does not give one output per image")
        return found.movedim(known.channels, 1).reshape(*_first_two(found, known.channels), -1).sum(2).double().cpu()

    parts = []
    with session.progress(f"gradients at {layer}", total=len(rows)) as advance:
        for part, values in batches(len(rows), run, size=_BATCH):
            parts.append(values)
            advance(part.stop - part.start)
    return torch.cat(parts).numpy()


def _first_two(output: Tensor, channels: int) -> tuple[int, int]:
    return output.shape[0], output.shape[channels]

"""What `model.json` of a saved classifier may say: types and ranges, checked before anything is built from it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, cast, get_args

from deepscope.models.classifier import HeadFit, NormalisationKind, Pooling, View
from deepscope.models.documents import boolean, choice, integer, integers, mapping, number, numbers, sequence, text
from deepscope.models.preprocessing import MOST_PIXELS, Preprocessing

_MOST_CATEGORIES = 50_000
_MOST_BACKBONES = 16
_MOST_LAYERS = 64
_MOST_VIEWS = 64
_MOST_IMAGES = 2**19
_MOST_MOVED = 64
"""Pixels that a view may move an image by."""
_SMALLEST_SCALE, _LARGEST_SCALE = 0.1, 10.0
_MOST_WORK = 16 * MOST_PIXELS
"""Pixels that all views of an image may have together."""


@dataclass(frozen=True)
class BackboneDescription:
    """A pretrained network, and what is read from it.

    Attributes:
        architecture: `LIBRARY:NAME`.
        classes: number of categories of its own class layer; None for the architecture's number.
        mean, std: per channel.
        layers: each layer's name and pooling.
        views: over which its features are averaged.
    """

    architecture: str
    classes: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layers: tuple[tuple[str, Pooling], ...]
    views: tuple[View, ...]


@dataclass(frozen=True)
class Description:
    """A saved classifier without its weights.

    Attributes:
        source: in words, what it was fitted on.
        categories: one per class.
        preprocessing: its geometry; mean 0 and deviation 1, because the backbones normalise.
        backbones: at least one, each with at least one layer.
        normalisations: one for each layer of all backbones.
        head: outputs and inputs of the linear layer.
        weights_sha256: of the weights' file.
        fit: how the linear layer was fitted; None where nothing says so.
        abstain_below: the confidence below which it gives no answer.
    """

    source: str
    categories: tuple[str, ...]
    preprocessing: Preprocessing
    backbones: tuple[BackboneDescription, ...]
    normalisations: tuple[NormalisationKind, ...]
    head: tuple[int, int]
    weights_sha256: str
    fit: HeadFit | None
    abstain_below: float


def described(about: Any) -> Description:
    """The description that a JSON document holds. Raises ValueError where a value has another type or range."""
    top = {field.name: None for field in fields(Description)}
    about = mapping(about, "it", optional={**top, "format": None, "version": None, "abstain_below": 0.0})
    categories = sequence(about["categories"], "categories", low=1, high=_MOST_CATEGORIES)
    geometry = mapping(about["preprocessing"], "preprocessing")
    try:
        preprocessing = Preprocessing.from_fields({**geometry, "mean": [0.0] * 3, "std": [1.0] * 3})
    except ValueError as error:
        raise ValueError(f"not a description of preprocessing: {error}") from None
    kinds = sequence(about["normalisations"], "normalisations", low=1, high=_MOST_BACKBONES * _MOST_LAYERS)
    made = Description(
        source=text(about["source"], "source"),
        categories=tuple(text(name, "a category") for name in categories),
        preprocessing=preprocessing,
        backbones=tuple(_backbone(item) for item in sequence(about["backbones"], "backbones", high=_MOST_BACKBONES)),
        normalisations=tuple(
            cast(NormalisationKind, choice(kind, "normalisation", get_args(NormalisationKind))) for kind in kinds
        ),
        head=cast("tuple[int, int]", integers(about["head"], "head", low=1, high=2**31, count=2)),
        weights_sha256=text(about["weights_sha256"], "weights_sha256"),
        fit=None if about["fit"] is None else _fit(about["fit"]),
        abstain_below=number(about["abstain_below"], "abstain_below", low=0, high=1),
    )
    if len(set(made.categories)) != len(made.categories):
        raise ValueError("a category occurs twice")
    blocks = sum(len(backbone.layers) for backbone in made.backbones)
    if blocks != len(made.normalisations):
        raise ValueError(f"{len(made.normalisations)} normalisations for {blocks} layers")
    if made.head[0] != len(made.categories):
        raise ValueError(f"{made.head[0]} outputs for {len(made.categories)} categories")
    _require_bounded(made)
    return made


def _backbone(about: Any) -> BackboneDescription:
    names = (*(field.name for field in fields(BackboneDescription)), "name")
    about = mapping(about, "a backbone", optional=dict.fromkeys(names))
    classes = about["classes"]
    mean, std = (numbers(about[name], name, low=-1e3, high=1e3) for name in ("mean", "std"))
    if len(mean) not in (1, 3) or len(std) != len(mean) or min(std) < 1e-4:
        raise ValueError("a backbone's mean and std need 3 numbers each, or 1 for grey images, std above 0")
    return BackboneDescription(
        architecture=text(about["architecture"], "architecture"),
        classes=None if classes is None else integer(classes, "classes", low=1, high=_MOST_CATEGORIES),
        mean=mean,
        std=std,
        layers=tuple(_layer(item) for item in sequence(about["layers"], "layers", low=1, high=_MOST_LAYERS)),
        views=tuple(_view(item) for item in sequence(about["views"], "views", low=1, high=_MOST_VIEWS)),
    )


def _fit(about: Any) -> HeadFit:
    about = mapping(about, "fit", optional=dict.fromkeys(field.name for field in fields(HeadFit)))
    return HeadFit(
        head=text(about["head"], "a head's name"),
        regularisation=number(about["regularisation"], "regularisation", low=1e-12, high=1e12),
        temperature=number(about["temperature"], "temperature", low=1e-12, high=1e12),
        images=tuple(
            text(each, "an image's digest") for each in sequence(about["images"], "images", high=_MOST_IMAGES)
        ),
    )


def _layer(about: Any) -> tuple[str, Pooling]:
    name, pooling = sequence(about, "a layer", low=2, high=2)
    return text(name, "a layer's name"), cast(Pooling, choice(pooling, "a layer's pooling", get_args(Pooling)))


def _view(about: Any) -> View:
    about = mapping(about, "a view", optional=asdict(View()))
    moved = {name: integer(about[name], name, low=-_MOST_MOVED, high=_MOST_MOVED) for name in ("down", "right")}
    flags = {name: boolean(about[name], name) for name in ("mirrored", "negative")}
    return View(scale=number(about["scale"], "scale", low=_SMALLEST_SCALE, high=_LARGEST_SCALE), **moved, **flags)


def _require_bounded(made: Description) -> None:
    """What a description asks for must fit into memory, and end soon."""
    pixels = math.prod(made.preprocessing.size)
    work = [pixels * view.scale**2 for backbone in made.backbones for view in backbone.views]
    if max(work) > MOST_PIXELS or sum(work) > _MOST_WORK:
        raise ValueError(f"views of {sum(work):.0f} pixels in all, the largest of {max(work):.0f}: too many")
